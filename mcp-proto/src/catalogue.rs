//! What a shard remembers of its targets: names it can't derive, the last good lists, capabilities.
//!
//! Nothing here is needed to serve a plain name; it is what lets an unusual one be resolved, and what a client is shown
//! of a target that is late.

use crate::Limits;
use crate::jsonrpc::list::Kind;
use bytes::Bytes;
use routing::{Routes, TargetName};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Longer names are not remembered: no model API takes them, and a target could fill the memory with one.
const LONGEST_NAME: usize = 1 << 10;

/// A target and a kind of list.
type Place = (TargetName, &'static str);

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    names: BTreeMap<Place, BTreeSet<String>>,
    irregular: BTreeMap<(&'static str, String), (TargetName, String)>,
    /// And since when they have been the same.
    lists: BTreeMap<Place, (Bytes, Instant)>,
    capabilities: BTreeMap<TargetName, Value>,
}

impl Catalogue {
    /// Whether a target's names have been listed.
    pub(crate) fn knows(&self, target: &TargetName, kind: Kind) -> bool {
        self.names.contains_key(&(target.clone(), kind.key()))
    }

    /// Whether a target has `name`, as far as is known.
    pub(crate) fn has(&self, target: &TargetName, kind: Kind, name: &str) -> bool {
        self.names.get(&(target.clone(), kind.key())).is_some_and(|names| names.contains(name))
    }

    /// What a shortened or cleaned name stands for.
    pub(crate) fn irregular(&self, kind: Kind, federated: &str) -> Option<(&TargetName, &str)> {
        if self.irregular.is_empty() {
            return None;
        }
        let (target, original) = self.irregular.get(&(kind.key(), federated.to_owned()))?;
        Some((target, original))
    }

    /// Remembers what irregular names stand for.
    pub(crate) fn learn_irregular(
        &mut self,
        target: &TargetName,
        kind: Kind,
        names: Vec<(String, String)>,
        limits: &Limits,
    ) {
        for (federated, original) in names.into_iter().filter(|(_, original)| original.len() <= LONGEST_NAME)
        {
            let key = (kind.key(), federated);
            if self.irregular.len() >= limits.names && !self.irregular.contains_key(&key) {
                self.irregular.pop_first();
            }
            self.irregular.insert(key, (target.clone(), original));
        }
    }

    /// Remembers a target's names; the first page of a list replaces what was known.
    pub(crate) fn learn_names(
        &mut self,
        target: &TargetName,
        kind: Kind,
        page: Vec<String>,
        first: bool,
        limits: &Limits,
    ) {
        let names = self.names.entry((target.clone(), kind.key())).or_default();
        if first {
            names.clear();
        }
        let room = limits.names.saturating_sub(names.len());
        names.extend(page.into_iter().filter(|name| name.len() <= LONGEST_NAME).take(room));
    }

    /// Keeps a target's whole list, renamed, for when it is late.
    pub(crate) fn keep_list(
        &mut self,
        target: &TargetName,
        kind: Kind,
        items: &[u8],
        limits: &Limits,
        now: Instant,
    ) {
        let place = (target.clone(), kind.key());
        if items.len() > limits.catalogue {
            self.lists.remove(&place);
        } else if self.lists.get(&place).is_none_or(|(kept, _)| kept != items) {
            self.lists.insert(place, (Bytes::copy_from_slice(items), now));
        }
    }

    /// The last good list.
    pub(crate) fn list(&self, target: &TargetName, kind: Kind) -> Option<Bytes> {
        self.lists.get(&(target.clone(), kind.key())).map(|(items, _)| items.clone())
    }

    /// Whether the last good list has been the same since before `then`: who was given it then missed nothing.
    pub(crate) fn is_older(&self, target: &TargetName, kind: Kind, then: Instant) -> bool {
        self.lists.get(&(target.clone(), kind.key())).is_some_and(|(_, since)| *since < then)
    }

    /// A list changed: what is remembered of it is no longer good.
    pub(crate) fn forget(&mut self, target: &TargetName, kind: Kind) {
        self.names.remove(&(target.clone(), kind.key()));
        self.lists.remove(&(target.clone(), kind.key()));
    }

    /// Forgets targets that are served no more.
    pub(crate) fn retain(&mut self, routes: &Routes) {
        let stays = |target: &TargetName| routes.target(target.as_str()).is_some();
        self.names.retain(|(target, _), _| stays(target));
        self.irregular.retain(|_, (target, _)| stays(target));
        self.lists.retain(|(target, _), _| stays(target));
        self.capabilities.retain(|target, _| stays(target));
    }

    pub(crate) fn learn_capabilities(&mut self, target: &TargetName, capabilities: &Value) {
        if self.capabilities.get(target) != Some(capabilities) {
            self.capabilities.insert(target.clone(), capabilities.clone());
        }
    }

    pub(crate) fn capabilities(&self, target: &TargetName) -> Option<&Value> {
        self.capabilities.get(target)
    }
}
