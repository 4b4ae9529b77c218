//! The snapshot itself.

use crate::{Target, TargetName};
use std::fmt;
use std::sync::Arc;

/// Everything the gateway serves at one moment. Immutable; a change is a new snapshot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routes {
    targets: Vec<Arc<Target>>,
}

/// Two targets of one snapshot have the same name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DuplicateTarget(pub TargetName);

impl fmt::Display for DuplicateTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two targets are named \"{}\"", self.0)
    }
}

impl std::error::Error for DuplicateTarget {}

impl Routes {
    /// A snapshot of `targets`; their order is the order of merged lists.
    ///
    /// # Errors
    /// When two targets have the same name.
    pub fn new(targets: Vec<Target>) -> Result<Self, DuplicateTarget> {
        let mut names: Vec<&TargetName> = targets.iter().map(|target| &target.name).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
            return Err(DuplicateTarget((*twice).clone()));
        }
        Ok(Self { targets: targets.into_iter().map(Arc::new).collect() })
    }

    /// All targets, in the order of configuration.
    #[must_use]
    pub fn targets(&self) -> &[Arc<Target>] {
        &self.targets
    }

    /// The target called `name`.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Arc<Target>> {
        self.targets.iter().find(|target| target.name.as_str() == name)
    }

    /// The only target, when there is exactly one: then names, URIs and ids pass untouched.
    #[must_use]
    pub fn single(&self) -> Option<&Arc<Target>> {
        match self.targets.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}
