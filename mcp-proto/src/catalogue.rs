//! What a shard remembers of its targets: names it can't derive, the last good lists, capabilities.
//!
//! Nothing here is needed to serve a plain name; it is what lets an unusual one be resolved, and what a client is shown
//! of a target that is late.

use crate::Limits;
use crate::jsonrpc::list::Kind;
use crate::jsonrpc::mirror::Mirror;
use crate::refusal;
use bytes::Bytes;
use routing::{BackendName, Routes, TargetId, TargetName};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Longer names are not remembered: no model API takes them, and a target could fill the memory with one.
const LONGEST_NAME: usize = 1 << 10;

/// However long a target says a list holds, it is asked again after this: it may have been replaced by another.
const LONGEST_TTL: Duration = Duration::from_secs(10 * 60);

/// A target and a kind of list.
type Place = (TargetId, &'static str);

/// A whole list, as a target answered it.
pub(crate) struct List<'a> {
    pub(crate) result: &'a [u8],
    /// How long it holds.
    pub(crate) ttl: Duration,
    /// It came as an event.
    pub(crate) event: bool,
}

/// A target's last good list.
#[derive(Debug)]
struct Kept {
    /// The answer.
    body: Bytes,
    /// Since when it has been the same.
    since: Instant,
    /// As long as this the target need not be asked.
    until: Instant,
    /// It came as an event.
    event: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    names: BTreeMap<Place, BTreeSet<String>>,
    irregular: BTreeMap<(BackendName, &'static str, String), (TargetName, String)>,
    lists: BTreeMap<Place, Kept>,
    /// Which arguments tools want repeated in header fields, of those that want any.
    mirrors: BTreeMap<TargetId, BTreeMap<String, Vec<Mirror>>>,
    capabilities: BTreeMap<TargetId, Value>,
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
        names: Vec<(String, String)>,
        limits: &Limits,
    ) {
        for (federated, original) in names.into_iter().filter(|(_, original)| original.len() <= LONGEST_NAME)
        {
            let key = (target.backend.clone(), kind.key(), federated);
            if self.irregular.len() >= limits.names && !self.irregular.contains_key(&key) {
                self.irregular.pop_first();
            }
            self.irregular.insert(key, (target.name.clone(), original));
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

    /// Keeps a target's whole list, as long as it holds and for when the target is late.
    pub(crate) fn keep_list(
        &mut self,
        target: &TargetId,
        kind: Kind,
        list: &List<'_>,
        limits: &Limits,
        now: Instant,
    ) {
        let List { result, ttl, event } = *list;
        let place = (target.clone(), kind.key());
        if result.len() > limits.catalogue {
            self.lists.remove(&place);
            return;
        }
        let body: Bytes = refusal::result(b"0", result).into();
        let until = now + ttl.min(LONGEST_TTL);
        match self.lists.get_mut(&place) {
            Some(kept) if kept.body == body => kept.until = until,
            _ => _ = self.lists.insert(place, Kept { body, since: now, until, event }),
        }
    }

    /// The last good list, as an answer.
    pub(crate) fn list(&self, target: &TargetId, kind: Kind) -> Option<Bytes> {
        self.lists.get(&(target.clone(), kind.key())).map(|kept| kept.body.clone())
    }

    /// The same while it holds, and until when it does.
    pub(crate) fn fresh(&self, target: &TargetId, kind: Kind, now: Instant) -> Option<(Bytes, Instant)> {
        let kept = self.lists.get(&(target.clone(), kind.key()))?;
        (kept.until > now).then(|| (kept.body.clone(), kept.until))
    }

    /// Whether the last good list came as an event.
    pub(crate) fn came_as_event(&self, target: &TargetId, kind: Kind) -> bool {
        self.lists.get(&(target.clone(), kind.key())).is_some_and(|kept| kept.event)
    }

    /// Remembers which arguments of a target's tools are repeated; the first page of a list replaces what was known.
    pub(crate) fn learn_mirrors(
        &mut self,
        target: &TargetId,
        tools: Vec<(String, Vec<Mirror>)>,
        first: bool,
        limits: &Limits,
    ) {
        if tools.is_empty() && !first {
            return;
        }
        let known = self.mirrors.entry(target.clone()).or_default();
        if first {
            known.clear();
        }
        let room = limits.names.saturating_sub(known.len());
        known.extend(tools.into_iter().filter(|(name, _)| name.len() <= LONGEST_NAME).take(room));
    }

    /// Which arguments of a tool are repeated; `None` when none is, or the tool is not known.
    pub(crate) fn mirrors(&self, target: &TargetId, tool: &str) -> Option<&[Mirror]> {
        self.mirrors.get(target)?.get(tool).map(Vec::as_slice)
    }

    /// Whether the last good list has been the same since before `then`: who was given it then missed nothing.
    pub(crate) fn is_older(&self, target: &TargetId, kind: Kind, then: Instant) -> bool {
        self.lists.get(&(target.clone(), kind.key())).is_some_and(|kept| kept.since < then)
    }

    /// A list changed: what is remembered of it is no longer good.
    pub(crate) fn forget(&mut self, target: &TargetId, kind: Kind) {
        self.names.remove(&(target.clone(), kind.key()));
        self.lists.remove(&(target.clone(), kind.key()));
    }

    /// Forgets targets that are served no more.
    pub(crate) fn retain(&mut self, routes: &Routes) {
        let stays = |target: &TargetId| routes.find(target).is_some();
        self.names.retain(|(target, _), _| stays(target));
        self.irregular.retain(|(backend, ..), (name, _)| {
            routes.backend(backend).is_some_and(|backend| backend.target(name.as_str()).is_some())
        });
        self.lists.retain(|(target, _), _| stays(target));
        self.mirrors.retain(|target, _| stays(target));
        self.capabilities.retain(|target, _| stays(target));
    }

    pub(crate) fn learn_capabilities(&mut self, target: &TargetId, capabilities: &Value) {
        if self.capabilities.get(target) != Some(capabilities) {
            self.capabilities.insert(target.clone(), capabilities.clone());
        }
    }

    pub(crate) fn capabilities(&self, target: &TargetId) -> Option<&Value> {
        self.capabilities.get(target)
    }
}
