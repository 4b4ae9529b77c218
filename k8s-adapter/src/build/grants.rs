//! Who may refer to objects of other namespaces (Gateway API, ReferenceGrant).

use crate::objects::{Key, Objects, ReferenceGrantSpec};
use std::collections::BTreeMap;

/// All grants, by the namespace they open.
pub(super) struct Grants<'a>(BTreeMap<&'a str, Vec<&'a ReferenceGrantSpec>>);

/// Objects of a kind.
#[derive(Clone, Copy)]
pub(super) struct Kind<'a> {
    pub(super) group: &'a str,
    pub(super) kind: &'a str,
}

impl<'a> Grants<'a> {
    pub(super) fn of(objects: &'a Objects) -> Self {
        let mut grants: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (key, grant) in &objects.grants {
            grants.entry(&key.namespace).or_default().push(&grant.spec);
        }
        Self(grants)
    }

    /// Whether objects of kind `from` in `namespace` may refer to `to`: always in their own namespace.
    pub(super) fn permit(&self, from: Kind<'_>, namespace: &str, kind: Kind<'_>, to: &Key) -> bool {
        let permits = |grant: &&ReferenceGrantSpec| {
            let who = grant
                .from
                .iter()
                .any(|who| who.group == from.group && who.kind == from.kind && who.namespace == namespace);
            let what = grant.to.iter().any(|what| {
                let name = what.name.as_deref().filter(|name| !name.is_empty());
                what.group == kind.group && what.kind == kind.kind && name.is_none_or(|name| name == to.name)
            });
            who && what
        };
        namespace == to.namespace
            || self.0.get(to.namespace.as_str()).is_some_and(|grants| grants.iter().any(permits))
    }
}
