//! What a shard remembers of its targets: names it can't derive, the last good lists, capabilities.
//!
//! Nothing here is needed to serve a plain name; it is what lets an unusual one be resolved, and what a client is shown
//! of a target that is late.

mod lists;

pub(crate) use lists::{List, Shown};

use crate::Limits;
use crate::jsonrpc::list::Kind;
use crate::jsonrpc::mirror::Mirror;
use lists::Lists;
use routing::{BackendName, Routes, TargetId, TargetName};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Longer names are not remembered: no model API takes them, and a target could fill the memory with one.
const LONGEST_NAME: usize = 1 << 10;

/// A target and a kind of list.
type Place = (TargetId, &'static str);

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    names: BTreeMap<Place, BTreeSet<String>>,
    irregular: BTreeMap<(BackendName, &'static str, String), (TargetName, String)>,
    pub(crate) lists: Lists,
    /// Which arguments tools want repeated in header fields, of those that want any.
    mirrors: BTreeMap<TargetId, BTreeMap<String, Vec<Mirror>>>,
    capabilities: BTreeMap<TargetId, Map<String, Value>>,
}

impl Catalogue {
    /// Whether a target's names have been listed.
    pub(crate) fn knows(&self, target: &TargetId, kind: Kind) -> bool {
        self.names.contains_key(&(target.clone(), kind.key()))
    }

    /// Whether a target has `name`, as far as is known.
    pub(crate) fn has(&self, target: &TargetId, kind: Kind, name: &str) -> bool {
        self.names.get(&(target.clone(), kind.key())).is_some_and(|names| names.contains(name))
    }

    /// What a shortened or cleaned name stands for.
    pub(crate) fn irregular(
        &self,
        backend: &BackendName,
        kind: Kind,
        federated: &str,
    ) -> Option<(&TargetName, &str)> {
        if self.irregular.is_empty() {
            return None;
        }
        let (target, original) = self.irregular.get(&(backend.clone(), kind.key(), federated.to_owned()))?;
        Some((target, original))
    }

    /// Remembers what irregular names stand for.
    pub(crate) fn learn_irregular(
        &mut self,
        target: &TargetId,
        kind: Kind,
        names: &[(String, String)],
        limits: &Limits,
    ) {
        for (federated, original) in names.iter().filter(|(_, original)| original.len() <= LONGEST_NAME) {
            let key = (target.backend.clone(), kind.key(), federated.clone());
            if self.irregular.len() >= limits.names && !self.irregular.contains_key(&key) {
                self.irregular.pop_first();
            }
            self.irregular.insert(key, (target.name.clone(), original.clone()));
        }
    }

    /// Remembers a target's names; the first page of a list replaces what was known.
    pub(crate) fn learn_names(
        &mut self,
        target: &TargetId,
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

    /// Remembers which arguments of a target's tools are repeated; the first page of a list replaces what was known.
    pub(crate) fn learn_mirrors(
        &mut self,
        target: &TargetId,
        tools: &[(String, Vec<Mirror>)],
        first: bool,
        limits: &Limits,
    ) {
        if first && let Some(known) = self.mirrors.get_mut(target) {
            // Nearly always it is the list of before.
            if known.len() == tools.len()
                && tools.iter().all(|(name, mirrors)| known.get(name) == Some(mirrors))
            {
                return;
            }
            known.clear();
        }
        if tools.is_empty() {
            return;
        }
        let known = self.mirrors.entry(target.clone()).or_default();
        let room = limits.names.saturating_sub(known.len());
        known.extend(tools.iter().filter(|(name, _)| name.len() <= LONGEST_NAME).take(room).cloned());
    }

    /// Which arguments of a tool are repeated; `None` when none is, or the tool is not known.
    pub(crate) fn mirrors(&self, target: &TargetId, tool: &str) -> Option<&[Mirror]> {
        self.mirrors.get(target)?.get(tool).map(Vec::as_slice)
    }

    /// A list changed: what is remembered of it is no longer good.
    pub(crate) fn forget(&mut self, target: &TargetId, kind: Kind) {
        self.names.remove(&(target.clone(), kind.key()));
        self.lists.forget(target, kind);
    }

    /// Forgets targets that are served no more.
    pub(crate) fn retain(&mut self, routes: &Routes) {
        let stays = |target: &TargetId| routes.find(target).is_some();
        self.names.retain(|(target, _), _| stays(target));
        self.irregular.retain(|(backend, ..), (name, _)| {
            routes.backend(backend).is_some_and(|backend| backend.target(name.as_str()).is_some())
        });
        self.lists.retain(routes);
        self.mirrors.retain(|target, _| stays(target));
        self.capabilities.retain(|target, _| stays(target));
    }

    pub(crate) fn learn_capabilities(&mut self, target: &TargetId, capabilities: Map<String, Value>) {
        self.capabilities.insert(target.clone(), capabilities);
    }

    pub(crate) fn capabilities(&self, target: &TargetId) -> Option<&Map<String, Value>> {
        self.capabilities.get(target)
    }
}
