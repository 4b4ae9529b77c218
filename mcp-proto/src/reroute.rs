//! A new snapshot. What is the same allocation as before is the same, so only what changed is looked at: a snapshot of
//! a thousand backends may be replaced often.

use crate::shard::Shard;
use routing::{Backend, BackendName, Routes, Target, TargetId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// What a snapshot changes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Targets that are new, or not what they were.
    pub(crate) targets: Vec<Arc<Target>>,
    /// Targets that are no more.
    pub(crate) gone: Vec<TargetId>,
    /// Targets that can be reached again, or for the first time.
    pub(crate) found: Vec<TargetId>,
    /// Backends that have other targets now, or the same in another order, or that can serve more of them.
    pub(crate) backends: BTreeSet<BackendName>,
}

impl Changes {
    pub(crate) fn between(before: &Routes, after: &Routes) -> Self {
        let mut changes = Self::default();
        for (name, backend) in after.backends() {
            changes.add(name, before.backend(name), Some(backend));
        }
        for (name, backend) in before.backends() {
            if after.backend(name).is_none() {
                changes.add(name, Some(backend), None);
            }
        }
        changes
    }

    fn add(&mut self, name: &BackendName, before: Option<&Arc<Backend>>, after: Option<&Arc<Backend>>) {
        if let (Some(before), Some(after)) = (before, after)
            && Arc::ptr_eq(before, after)
        {
            return;
        }
        let targets =
            |backend: Option<&Arc<Backend>>| backend.map(|it| it.targets().to_vec()).unwrap_or_default();
        let (before, after) = (targets(before), targets(after));
        if !before.iter().map(|target| &target.id).eq(after.iter().map(|target| &target.id)) {
            self.backends.insert(name.clone());
        }
        let is_gone = |old: &&Arc<Target>| after.iter().all(|new| new.id != old.id);
        self.gone.extend(before.iter().filter(is_gone).map(|old| old.id.clone()));
        let nowhere = |new: &&Arc<Target>| {
            let old = before.iter().find(|old| old.id == new.id);
            old.is_some_and(|old| old.endpoints.is_empty()) && !new.endpoints.is_empty()
        };
        self.found.extend(after.iter().filter(nowhere).map(|new| new.id.clone()));
        if self.found.iter().any(|id| id.backend == *name) {
            self.backends.insert(name.clone());
        }
        let is_same = |new: &Arc<Target>| before.iter().any(|old| Arc::ptr_eq(old, new) || old == new);
        self.targets.extend(after.into_iter().filter(|new| !is_same(new)));
    }

    fn is_empty(&self) -> bool {
        self.targets.is_empty() && self.gone.is_empty() && self.backends.is_empty()
    }
}

impl Shard {
    /// A new snapshot is in force. Sessions and streams survive.
    pub fn reroute(&mut self, routes: Arc<Routes>, now: Instant) {
        self.now = now;
        let before = std::mem::replace(&mut self.routes, routes);
        let changes = Changes::between(&before, &self.routes);
        if !changes.is_empty() {
            self.follow(&changes);
        }
        self.settle();
    }

    fn follow(&mut self, changes: &Changes) {
        let moved = self.rebuild_pools(changes);
        if !changes.gone.is_empty() {
            self.catalogue.retain(&self.routes);
        }
        self.reroute_channels();
        self.announce_changes(&changes.backends);
        for target in &changes.found {
            // What could not be opened without an endpoint need not wait for its next try.
            self.streams_by_era(target);
        }
        if moved {
            self.leave_endpoints();
        }
    }

    /// Targets that came or went change every list of their backend.
    fn announce_changes(&mut self, backends: &BTreeSet<BackendName>) {
        if backends.is_empty() {
            return;
        }
        for id in self.sessions.keys() {
            // Every shard does this for the streams it has.
            match self.sessions.get_mut(id) {
                Some(session) if !backends.contains(&session.backend) => {}
                Some(session) if session.listener.is_none() => session.changed = true,
                _ => {
                    self.lists_changed(id);
                    if let Some(listener) = self.sessions.get(id).and_then(|session| session.listener) {
                        self.reroute_streams(listener);
                    }
                    // One that comes back has its session still; a new one's stream opens with its session.
                    for (target, _) in self.open_targets(id) {
                        self.reopen_stream_of(id, &target.id);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routing::{Entry, HostMatch, Listener, Match, PathMatch, Port, Rule, TargetName};
    use std::net::SocketAddr;

    fn backend(name: &str, targets: &[(&str, u16)]) -> Arc<Backend> {
        let target = |(name, port): &(&str, u16)| {
            Target::new(TargetName::parse(name).unwrap(), ([10, 0, 0, 1], *port).into(), "/mcp")
        };
        Arc::new(Backend::mcp(name.into(), targets.iter().map(target).collect()).unwrap())
    }

    fn routes(backends: &[&Arc<Backend>]) -> Routes {
        let entry = |backend: &&Arc<Backend>| Entry {
            host: HostMatch::Any,
            on: Match { path: PathMatch::Exact(format!("/{}", backend.name())), ..Match::default() },
            rule: Arc::new(Rule::to("", Arc::clone(backend))),
        };
        let port = Port::new(vec![Listener::new(HostMatch::Any, backends.iter().map(entry).collect())]);
        Routes::at([(SocketAddr::from(([127, 0, 0, 1], 80)), port)].into())
    }

    /// Targets that are new or others, targets that are gone, backends whose lists change.
    fn between(before: &[&Arc<Backend>], after: &[&Arc<Backend>]) -> [Vec<String>; 3] {
        let changes = Changes::between(&routes(before), &routes(after));
        [
            changes.targets.iter().map(|target| target.id.to_string()).collect(),
            changes.gone.iter().map(ToString::to_string).collect(),
            changes.backends.iter().map(ToString::to_string).collect(),
        ]
    }

    #[test]
    fn only_what_is_not_the_same_is_a_change() {
        let one = backend("one", &[("a", 1), ("b", 2)]);
        let two = backend("two", &[("a", 3)]);
        let none: [&str; 0] = [];
        assert_eq!(between(&[&one, &two], &[&one, &two]), [none, none, none]);
        let same = backend("one", &[("a", 1), ("b", 2)]);
        assert_eq!(between(&[&one, &two], &[&same, &two]), [none, none, none]);
        let moved = backend("one", &[("a", 9), ("b", 2)]);
        assert_eq!(between(&[&one, &two], &[&moved, &two]), [vec!["one/a".to_owned()], vec![], vec![]]);
        let turned = backend("one", &[("b", 2), ("a", 1)]);
        assert_eq!(between(&[&one], &[&turned]), [vec![], vec![], vec!["one".to_owned()]]);
        let grown = backend("one", &[("a", 1), ("c", 4)]);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(between(&[&one], &[&grown]), [names(&["one/c"]), names(&["one/b"]), names(&["one"])]);
        assert_eq!(between(&[&one, &two], &[&one]), [names(&[]), names(&["two/a"]), names(&["two"])]);
        assert_eq!(between(&[&one], &[&one, &two]), [names(&["two/a"]), names(&[]), names(&["two"])]);
    }
}
