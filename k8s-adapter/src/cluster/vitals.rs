//! How the cluster's side is doing: numbers for metrics, and words for whoever asks why nothing is served yet.

use super::item;
use super::kind::Kind;
use crate::objects::Objects;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How things stand with the cluster. Written by the tasks of a [`Cluster`](super::Cluster), read at any time.
#[derive(Debug, Default)]
pub struct Vitals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    scopes: Vec<Scope>,
    published: Option<Instant>,
    publications: u64,
    counts: BTreeMap<Kind, usize>,
    statuses: StatusVitals,
    leader: bool,
    missing_rights: BTreeSet<String>,
}

/// A type in one namespace, or in all.
#[derive(Debug)]
struct Scope {
    kind: Kind,
    namespace: Option<String>,
    connected: bool,
    synced: bool,
    absent: bool,
    heard: Option<Instant>,
    resyncs: u64,
    decode_errors: u64,
    problem: Option<String>,
}

/// All vitals at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// One for each type.
    pub kinds: Vec<KindVitals>,
    /// How old the published objects are. None: nothing is published yet.
    pub age: Option<Duration>,
    /// How often objects were published.
    pub publications: u64,
    /// What became of statuses.
    pub statuses: StatusVitals,
    /// Whether this replica writes statuses.
    pub leader: bool,
    /// Rights that the cluster does not give, and what does not work without them.
    pub missing_rights: Vec<String>,
}

impl Board {
    /// Why nothing is published yet: the types that have not been read, and what is in the way. Empty when all are there.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        let missing = self.kinds.iter().filter(|kind| !kind.synced);
        missing
            .map(|kind| match &kind.problem {
                Some(problem) => format!("{}: {problem}", kind.name),
                None => format!("{}: being read", kind.name),
            })
            .collect()
    }
}

/// How things stand with one type of object. Where several namespaces are watched, the worst of them.
#[derive(Clone, Debug, PartialEq)]
pub struct KindVitals {
    /// The type: `Gateway`.
    pub name: &'static str,
    /// Whether a watch, or a list, is being answered.
    pub connected: bool,
    /// Whether it was read completely once. What was read stays, also when the connection is lost.
    pub synced: bool,
    /// Whether the cluster does not know the type, or does not show it to us, and that is all right.
    pub absent: bool,
    /// Since the server last said something about the type. None: never.
    pub silent: Option<Duration>,
    /// How often it was listed, the first time included.
    pub resyncs: u64,
    /// Objects that could not be read, counted each time they came.
    pub decode_errors: u64,
    /// How many objects are published.
    pub objects: usize,
    /// What is wrong now.
    pub problem: Option<String>,
}

/// What became of statuses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StatusVitals {
    /// Statuses written.
    pub writes: u64,
    /// Writes that came too late, because somebody else had written in between.
    pub conflicts: u64,
    /// Writes that failed in any other way.
    pub failures: u64,
}

/// Names a [`Scope`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

impl Vitals {
    /// All vitals as they are now.
    #[must_use]
    pub fn board(&self) -> Board {
        let state = self.state();
        let now = Instant::now();
        Board {
            kinds: Kind::ALL.into_iter().filter_map(|kind| state.kind(kind, now)).collect(),
            age: state.published.map(|published| now - published),
            publications: state.publications,
            statuses: state.statuses,
            leader: state.leader,
            missing_rights: state.missing_rights.iter().cloned().collect(),
        }
    }

    pub(super) fn add(&self, kind: Kind, namespace: Option<String>) -> Place {
        let mut state = self.state();
        state.scopes.push(Scope {
            kind,
            namespace,
            connected: false,
            synced: false,
            absent: false,
            heard: None,
            resyncs: 0,
            decode_errors: 0,
            problem: None,
        });
        Place(state.scopes.len() - 1)
    }

    /// The server answers. Tells what the problem was.
    pub(super) fn connected(&self, place: Place) -> Option<String> {
        let mut problem = None;
        self.with(place, |scope| {
            scope.connected = true;
            problem = scope.problem.take();
        });
        problem
    }

    /// The server has said something about the type.
    pub(super) fn heard(&self, place: Place) {
        self.with(place, |scope| scope.heard = Some(Instant::now()));
    }

    /// The type has been listed.
    pub(super) fn synced(&self, place: Place) {
        self.with(place, |scope| {
            scope.synced = true;
            scope.absent = false;
            scope.resyncs += 1;
        });
        self.heard(place);
    }

    /// There is nothing to read of the type, and that is all right. Tells whether that is news.
    pub(super) fn absent(&self, place: Place) -> bool {
        let mut news = false;
        self.with(place, |scope| {
            scope.synced = true;
            news = !std::mem::replace(&mut scope.absent, true);
            scope.problem = None;
        });
        news
    }

    /// The connection is over. Tells whether the problem is another one than before: what stays as it is need not be
    /// logged again.
    pub(super) fn disconnected(&self, place: Place, problem: &str) -> bool {
        let mut news = false;
        self.with(place, |scope| {
            scope.connected = false;
            news = scope.problem.as_deref() != Some(problem);
            scope.problem = Some(problem.to_owned());
        });
        news
    }

    pub(super) fn undecodable(&self, place: Place) {
        self.with(place, |scope| scope.decode_errors += 1);
    }

    /// Whether everything that must be there has been read once.
    pub(super) fn all_synced(&self) -> bool {
        self.state().scopes.iter().all(|scope| scope.synced)
    }

    pub(super) fn published(&self, objects: &Objects) {
        let mut state = self.state();
        state.counts = Kind::ALL.into_iter().map(|kind| (kind, item::count(kind, objects))).collect();
        state.published = Some(Instant::now());
        state.publications += 1;
    }

    pub(super) fn lead(&self, leader: bool) {
        self.state().leader = leader;
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut StatusVitals)) {
        count(&mut self.state().statuses);
    }

    pub(super) fn missing_right(&self, text: String) {
        self.state().missing_rights.insert(text);
    }

    fn with(&self, Place(place): Place, change: impl FnOnce(&mut Scope)) {
        if let Some(scope) = self.state().scopes.get_mut(place) {
            change(scope);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A state whose writer panicked is still a state: each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kind(&self, kind: Kind, now: Instant) -> Option<KindVitals> {
        let mut scopes = self.scopes.iter().filter(|scope| scope.kind == kind);
        let mut vitals = scopes.next()?.vitals(now);
        for scope in scopes {
            let other = scope.vitals(now);
            vitals.connected &= other.connected;
            vitals.synced &= other.synced;
            vitals.absent &= other.absent;
            vitals.silent = vitals.silent.zip(other.silent).map(|(one, other)| one.max(other));
            vitals.resyncs += other.resyncs;
            vitals.decode_errors += other.decode_errors;
            vitals.problem = vitals.problem.or(other.problem);
        }
        vitals.objects = self.counts.get(&kind).copied().unwrap_or_default();
        Some(vitals)
    }
}

impl Scope {
    fn vitals(&self, now: Instant) -> KindVitals {
        let problem = self.problem.as_ref().map(|problem| match &self.namespace {
            Some(namespace) => format!("in {namespace}: {problem}"),
            None => problem.clone(),
        });
        KindVitals {
            name: self.kind.name(),
            connected: self.connected,
            synced: self.synced,
            absent: self.absent,
            silent: self.heard.map(|heard| now - heard),
            resyncs: self.resyncs,
            decode_errors: self.decode_errors,
            objects: 0,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_namespaces_the_worst_is_shown() {
        let vitals = Vitals::default();
        let one = vitals.add(Kind::Gateway, Some("one".to_owned()));
        let two = vitals.add(Kind::Gateway, Some("two".to_owned()));
        assert_eq!(vitals.connected(one), None);
        vitals.synced(one);
        assert!(vitals.disconnected(two, "forbidden"));
        assert!(!vitals.disconnected(two, "forbidden"), "the same again is no news");
        assert!(!vitals.all_synced());
        let board = vitals.board();
        assert_eq!(board.waiting_for(), ["Gateway: in two: forbidden"]);
        assert_eq!(board.kinds[0].silent, None);
        assert!(!board.kinds[0].connected);

        assert_eq!(vitals.connected(two).as_deref(), Some("forbidden"));
        vitals.synced(two);
        let board = vitals.board();
        assert_eq!(board.waiting_for(), [""; 0]);
        assert!(board.kinds[0].silent.is_some() && board.kinds[0].connected && vitals.all_synced());
        assert_eq!(board.kinds[0].resyncs, 2);
    }
}
