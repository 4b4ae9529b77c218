//! Lists, whole or in pages.

use crate::cluster::{Cluster, Target, present};
use crate::parameters::{Match, Parameters};
use crate::refusal::Refusal;
use serde_json::{Value, json};
use std::sync::Arc;

impl Cluster {
    /// The objects of a type. `Err` with a 504 means: not yet.
    pub(crate) fn list(&self, target: &Target, parameters: &Parameters) -> Result<Value, Refusal> {
        let Target { kind, version, namespace, .. } = target;
        if parameters.initial.is_some() {
            return Err(Refusal::new(
                422,
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ));
        }
        let (revision, after) = self.place(parameters)?;
        let resource = Arc::from(kind.resource());
        let objects = self.store.all_at(&resource, namespace.as_deref(), revision).into_iter().filter(
            |(key, object)| {
                after.as_ref().is_none_or(|(namespace, name)| (&key.namespace, &key.name) > (namespace, name))
                    && parameters.selector.matches(object)
            },
        );
        let mut objects: Vec<_> = objects.collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if parameters.limit > 0 && objects.len() > parameters.limit {
            let left = objects.len() - parameters.limit;
            objects.truncate(parameters.limit);
            if let Some((key, _)) = objects.last() {
                let token = format!("{}.{revision}.{}.{}", self.tokens, key.namespace, key.name);
                crate::tree::set(&mut metadata, &["continue"], token.into());
            }
            if parameters.selector.is_empty() {
                crate::tree::set(&mut metadata, &["remainingItemCount"], left.into());
            }
        }
        let items: Vec<_> = objects
            .into_iter()
            .map(|(_, object)| {
                let mut item = present(kind, version, &object);
                if !kind.custom {
                    crate::tree::take(&mut item, &["kind"]);
                    crate::tree::take(&mut item, &["apiVersion"]);
                }
                item
            })
            .collect();
        Ok(json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(version),
            "metadata": metadata, "items": items,
        }))
    }

    /// The revision that is shown, and the object (namespace, name) that the page begins after.
    fn place(&self, parameters: &Parameters) -> Result<(u64, Option<(String, String)>), Refusal> {
        let current = self.store.revision();
        if !parameters.token.is_empty() {
            let mut parts = parameters.token.splitn(4, '.');
            let mut part = || parts.next().ok_or_else(|| Refusal::new(400, "continue key is not valid"));
            let (era, revision, namespace, name) = (part()?, part()?, part()?, part()?);
            if era != self.tokens.to_string() {
                return Err(Refusal::new(
                    410,
                    "The provided continue parameter is too old to display a consistent list result.",
                ));
            }
            let revision = revision.parse().map_err(|_| Refusal::new(400, "continue key is not valid"))?;
            return Ok((revision, Some((namespace.to_owned(), name.to_owned()))));
        }
        match parameters.revision()? {
            Some(wanted) if wanted > current => Err(Refusal::too_large(wanted, current)),
            Some(wanted) if parameters.matching == Some(Match::Exact) => {
                let horizon = self.store.horizon();
                if wanted < horizon { Err(Refusal::expired(wanted, horizon)) } else { Ok((wanted, None)) }
            }
            _ => Ok((current, None)),
        }
    }
}
