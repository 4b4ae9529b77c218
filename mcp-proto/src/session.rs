//! Sessions of clients that speak a handshake revision.
//!
//! The id a client holds *is* its session: [`Session::seal`] writes what any shard needs to serve it, and
//! [`Session::open`] reads it back. What a shard adds while it works (target sessions opened late, the log level,
//! subscriptions, the stream) stays in its memory; the session's home shard holds what the others may ask for.

use crate::ShardId;
use crate::endpoints::EndpointId;
use crate::exchange::ExchangeId;
use crate::leg::LegId;
use crate::seal::{Keys, Kind};
use crate::table::key;
use crate::wire::{Reader, Writer};
use bytes::Bytes;
use routing::{BackendName, Target, TargetId};
use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

key!(SessionId, "A session in a shard's memory.");

/// A session everywhere: 128 random bits.
pub(crate) type SessionKey = u128;

/// A protocol revision with a handshake, oldest first; its number is what sealed ids hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Revision {
    V2024_10_07 = 5,
    V2024_11_05 = 4,
    V2025_03_26 = 1,
    V2025_06_18 = 2,
    V2025_11_25 = 3,
}

impl Revision {
    pub(crate) const LATEST: Self = Self::V2025_11_25;
    pub(crate) const ALL: [Self; 5] =
        [Self::V2025_11_25, Self::V2025_06_18, Self::V2025_03_26, Self::V2024_11_05, Self::V2024_10_07];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V2024_10_07 => "2024-10-07",
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }

    pub(crate) fn parse(text: impl AsRef<[u8]>) -> Option<Self> {
        Self::ALL.into_iter().find(|revision| revision.as_str().as_bytes() == text.as_ref())
    }
}

impl Ord for Revision {
    /// By date.
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Revision {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) home: ShardId,
    /// What serves it: nothing else knows it.
    pub(crate) backend: BackendName,
    /// Negotiated with the client; offered to every target.
    pub(crate) revision: Revision,
    /// The client's `capabilities` and `clientInfo`, as it wrote them.
    pub(crate) capabilities: Bytes,
    pub(crate) client: Bytes,
    /// When the sealed id stops being worth anything, since the Unix epoch.
    pub(crate) expires: Duration,
    /// The id as the client holds it; empty until `initialize` was answered.
    pub(crate) sealed: Bytes,
    pub(crate) targets: Vec<TargetSession>,
    /// `params` of the last `logging/setLevel`, for targets opened later.
    pub(crate) level: Option<Bytes>,
    pub(crate) subscriptions: BTreeSet<(TargetId, String)>,
    /// The client's GET stream on this shard.
    pub(crate) listener: Option<ExchangeId>,
    /// A list changed while no stream was open: said when one opens.
    pub(crate) changed: bool,
    pub(crate) used: Instant,
    /// It began here: this gateway ends it when it is idle. One that was opened from its id may be at work elsewhere.
    pub(crate) born_here: bool,
    /// When its home was last told that it is in use.
    pub(crate) touched: Instant,
    /// Set for a session that no client knows of.
    pub(crate) hidden: Option<Box<Hidden>>,
}

/// What makes a session hidden: see [`hidden`](crate::federation).
#[derive(Debug)]
pub(crate) struct Hidden {
    /// What it is found by: all that requests must say alike to share it. Empty where only its maker uses it.
    pub(crate) key: Bytes,
    /// One request uses it at a time: that is `busy`, as long as it is in the table.
    pub(crate) exclusive: bool,
    pub(crate) busy: Option<LegId>,
}

/// A session's session at one target.
#[derive(Debug)]
pub(crate) struct TargetSession {
    pub(crate) target: TargetId,
    pub(crate) state: TargetState,
}

#[derive(Debug)]
pub(crate) enum TargetState {
    /// Not opened, as far as this shard knows.
    Absent,
    /// `initialize` is on its way, here or at the session's home.
    Opening {
        /// Requests that go on when it is open.
        waiting: Vec<LegId>,
        /// The client's `initialize` was answered without it, so its arrival is news.
        late: bool,
    },
    Ready(Opened),
    /// Not worth another try before `until`.
    Failed {
        until: Instant,
        reason: Arc<str>,
    },
}

/// What an opened session at a target is known by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Opened {
    /// `Mcp-Session-Id`, from targets that keep sessions.
    pub(crate) id: Option<OpenedId>,
    pub(crate) revision: Revision,
    /// It was opened on an event stream of its own (HTTP+SSE): every shard that uses it must go there.
    pub(crate) sse: bool,
    /// Where it lives, if it is not at home everywhere.
    pub(crate) at: Option<Box<EndpointId>>,
}

/// The id of a session at a target.
pub(crate) type OpenedId = Arc<[u8]>;

impl Session {
    /// A session of which nothing is known yet but what it is.
    pub(crate) fn new(
        key: SessionKey,
        home: ShardId,
        backend: BackendName,
        revision: Revision,
        expires: Duration,
        now: Instant,
    ) -> Self {
        Self {
            key,
            home,
            backend,
            revision,
            capabilities: Bytes::new(),
            client: Bytes::new(),
            expires,
            sealed: Bytes::new(),
            targets: Vec::new(),
            level: None,
            subscriptions: BTreeSet::new(),
            listener: None,
            changed: false,
            used: now,
            born_here: false,
            touched: now,
            hidden: None,
        }
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden.is_some()
    }

    pub(crate) fn target(&self, name: &TargetId) -> Option<&TargetState> {
        self.targets.iter().find(|entry| entry.target == *name).map(|entry| &entry.state)
    }

    /// The state at `name`; a target the session has not met yet is absent.
    pub(crate) fn target_mut(&mut self, name: &TargetId) -> &mut TargetState {
        let at = match self.targets.iter().position(|entry| entry.target == *name) {
            Some(at) => at,
            None => {
                self.targets.push(TargetSession { target: name.clone(), state: TargetState::Absent });
                self.targets.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.targets[at].state
    }

    /// Bytes kept on the client's behalf.
    pub(crate) fn kept(&self) -> usize {
        let subscriptions: usize = self.subscriptions.iter().map(|(_, uri)| uri.len()).sum();
        self.capabilities.len()
            + self.client.len()
            + self.level.as_ref().map_or(0, Bytes::len)
            + subscriptions
    }

    pub(crate) fn ready(&self, target: &Target) -> Option<&Opened> {
        match self.target(&target.id) {
            Some(TargetState::Ready(opened)) => Some(opened),
            _ => None,
        }
    }

    /// The id for the client. Beyond `longest` bytes it names only the home, which keeps the rest.
    pub(crate) fn seal(&self, keys: &Keys, nonce: [u8; 12], longest: usize) -> Bytes {
        let whole = keys.seal(Kind::Session, nonce, &self.write(true));
        if whole.len() <= longest {
            return whole.into();
        }
        keys.seal(Kind::Session, nonce, &self.write(false)).into()
    }

    fn write(&self, whole: bool) -> Vec<u8> {
        // Room for all of it, but for very long ids of targets.
        let room = 128 + self.capabilities.len() + self.client.len() + 128 * self.targets.len();
        let mut writer = Writer::behind(Vec::with_capacity(room));
        writer.u8(u8::from(whole));
        writer.u128(self.key);
        writer.u16(self.home.0);
        writer.u8(self.revision as u8);
        writer.u64(self.expires.as_secs());
        writer.bytes(self.backend.as_str().as_bytes());
        if whole {
            writer.bytes(&self.capabilities);
            writer.bytes(&self.client);
            for entry in &self.targets {
                let TargetState::Ready(opened) = &entry.state else { continue };
                writer.bytes(entry.target.name.as_str().as_bytes());
                let marks = u8::from(opened.id.is_some()) << 7 | u8::from(opened.sse) << 6;
                writer.u8(opened.revision as u8 | marks | opened.at.as_ref().map_or(0, |at| at.marks()));
                if let Some(id) = &opened.id {
                    writer.bytes(id);
                }
                if let Some(at) = &opened.at {
                    at.write(&mut writer);
                }
            }
        }
        writer.done()
    }

    /// The backend of the session behind `sealed`, if this gateway sealed it.
    pub(crate) fn backend_of(keys: &Keys, sealed: &[u8]) -> Option<BackendName> {
        let content = keys.open(Kind::Session, sealed)?;
        let mut reader = Reader::new(&content);
        _ = (reader.u8()?, reader.u128()?, reader.u16()?, reader.u8()?, reader.u64()?);
        Some(reader.text()?.into())
    }

    /// The session behind `sealed`; `None` when this gateway did not seal it or it has expired.
    pub(crate) fn open(keys: &Keys, sealed: &Bytes, unix: Duration, now: Instant) -> Option<Opening> {
        let content = keys.open(Kind::Session, sealed)?;
        let mut reader = Reader::new(&content);
        let whole = reader.u8()? == 1;
        let (key, home) = (reader.u128()?, ShardId(reader.u16()?));
        let revision_of_client = revision(reader.u8()?)?;
        let expires = Duration::from_secs(reader.u64()?);
        let backend = reader.text()?.into();
        let mut session = Self::new(key, home, backend, revision_of_client, expires, now);
        session.sealed = sealed.clone();
        if session.expires < unix {
            return None;
        }
        if whole {
            session.capabilities = Bytes::copy_from_slice(reader.bytes()?);
            session.client = Bytes::copy_from_slice(reader.bytes()?);
            while !reader.is_empty() {
                let target = TargetId::parse(&session.backend, reader.text()?).ok()?;
                let marks = reader.u8()?;
                let id = if marks & 0x80 == 0 { None } else { Some(reader.bytes()?.into()) };
                let at = EndpointId::read(marks, &mut reader)?.map(Box::new);
                let opened = Opened { id, revision: revision(marks & 0x07)?, sse: marks & 0x40 != 0, at };
                session.targets.push(TargetSession { target, state: TargetState::Ready(opened) });
            }
        }
        Some(Opening { session, whole })
    }
}

/// Sessions that were ended, so that their ids, good as they look, open no more. The oldest are forgotten first.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    keys: BTreeSet<SessionKey>,
    order: VecDeque<SessionKey>,
}

impl Ended {
    /// How many are remembered: 32 bytes each.
    const MOST: usize = 100_000;

    pub(crate) fn insert(&mut self, key: SessionKey) {
        if !self.keys.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, key: SessionKey) -> bool {
        self.keys.contains(&key)
    }
}

/// What a sealed id gave.
pub(crate) struct Opening {
    pub(crate) session: Session,
    /// Whether it was all in the id; if not, only the home's memory has the rest.
    pub(crate) whole: bool,
}

fn revision(number: u8) -> Option<Revision> {
    Revision::ALL.into_iter().find(|revision| *revision as u8 == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[expect(clippy::disallowed_methods, reason = "a test begins at some time or other")]
    fn start() -> Instant {
        Instant::now()
    }

    fn session(now: Instant) -> Session {
        let expires = Duration::from_secs(100);
        Session {
            capabilities: Bytes::from_static(b"{\"roots\":{}}"),
            client: Bytes::from_static(b"{\"name\":\"c\"}"),
            ..Session::new(7, ShardId(3), "ns/backend".into(), Revision::V2025_06_18, expires, now)
        }
    }

    fn place() -> impl Strategy<Value = Option<EndpointId>> {
        let at = (any::<std::net::SocketAddr>(), prop_oneof![Just(0), any::<u64>()]);
        prop::option::of(at.prop_map(|(mut address, occupant)| {
            // Of an address that is reached over one interface only, the interface is not written.
            if let std::net::SocketAddr::V6(address) = &mut address {
                address.set_scope_id(0);
                address.set_flowinfo(0);
            }
            EndpointId { address, occupant }
        }))
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_the_same(
            ids in prop::collection::vec((prop::option::of("[!-~]{0,60}"), any::<bool>(), place()), 0..20),
        ) {
            let now = start();
            let keys = Keys::new([1; 32], &[]);
            let mut session = session(now);
            for (number, (id, sse, at)) in ids.into_iter().enumerate() {
                let target = TargetId::parse(&session.backend, &format!("target-{number}")).unwrap();
                let id = id.map(|id| id.into_bytes().into());
                let at = at.map(Box::new);
                let opened = Opened { id, revision: Revision::V2025_11_25, sse, at };
                *session.target_mut(&target) = TargetState::Ready(opened);
            }
            let sealed = session.seal(&keys, [5; 12], 4096);
            let opening = Session::open(&keys, &sealed, Duration::from_secs(100), now).unwrap();
            prop_assert!(opening.whole);
            session.sealed = sealed.clone();
            prop_assert_eq!(format!("{:?}", opening.session), format!("{session:?}"));
            prop_assert!(Session::open(&keys, &sealed, Duration::from_secs(101), now).is_none());
        }
    }

    #[test]
    fn too_long_an_id_names_only_its_home() {
        let now = start();
        let keys = Keys::new([1; 32], &[]);
        let sealed = session(now).seal(&keys, [0; 12], 60);
        let opening = Session::open(&keys, &sealed, Duration::ZERO, now).unwrap();
        assert!(!opening.whole);
        assert_eq!((opening.session.key, opening.session.home), (7, ShardId(3)));
        assert!(opening.session.capabilities.is_empty());
    }
}
