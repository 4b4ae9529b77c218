//! The core's edge: what frontends tell a [`Shard`](crate::Shard) and what it tells them.

use crate::exchange::Waiter;
use crate::federation::Place;
use crate::forward::{Forwarded, Ticket};
use crate::leg::LegId;
use crate::session::{Opened, SessionKey};
use crate::{Config, Counters};
use bytes::Bytes;
use routing::{Process, Routes, TargetId, TargetName};
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A connection of a shard. Generational: an id that outlived its connection names nothing.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// The slot in the shard's table, small and reused: an index for a frontend's own table.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

/// The number of a shard, from 0.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId(pub u16);

/// What a shard is made from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its number.
    pub id: ShardId,
    /// Settings.
    pub config: Arc<Config>,
    /// The snapshot in force.
    pub routes: Arc<Routes>,
    /// Entropy from the operating system, different for every shard ever made.
    pub seed: [u8; 32],
    /// Wall-clock time now, since the Unix epoch: session ids carry their expiry.
    pub unix: Duration,
    /// Where it counts; survives the shard.
    pub counters: Arc<Counters>,
}

#[cfg(test)]
impl Start {
    /// One of `shards` before a legacy target called `alpha`, which nobody has asked anything, and the time it begins.
    pub(crate) fn before_alpha(
        shards: u16,
        limits: crate::Limits,
        access_log: crate::AccessLog,
    ) -> (Self, std::time::Instant) {
        let config = Config {
            shards,
            limits,
            timeouts: crate::Timeouts::default(),
            access_log,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            keys: crate::Keys::new([7; 32], &[]),
        };
        let name = TargetName::parse("alpha").unwrap();
        let target = routing::Target::new(name, ([10, 0, 0, 1], 80).into(), "/mcp");
        let target = routing::Target { protocol: routing::Protocol::Legacy, ..target };
        let start = Self {
            id: ShardId(0),
            config: Arc::new(config),
            routes: Arc::new(Routes::new(vec![target]).unwrap()),
            seed: [7; 32],
            unix: Duration::ZERO,
            counters: Arc::default(),
        };
        #[expect(clippy::disallowed_methods, reason = "a test begins at some time or other")]
        let now = std::time::Instant::now();
        (start, now)
    }
}

/// The shard has as many connections as it may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused;

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nobody listens there.
    Refused,
    /// The peer closed it properly, but too early.
    Closed,
    /// The peer reset it, or vanished.
    Reset,
    /// The operating system gave up waiting.
    TimedOut,
    /// The network or host can't be reached.
    Unreachable,
    /// Anything else.
    Other,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Closed => "connection closed",
            Self::Reset => "connection reset",
            Self::TimedOut => "connection timed out",
            Self::Unreachable => "host unreachable",
            Self::Other => "connection failed",
        })
    }
}

impl From<ErrorKind> for Fault {
    /// What an error of the operating system means to the core.
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::TimedOut => Self::TimedOut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
                Self::Unreachable
            }
            _ => Self::Other,
        }
    }
}

/// What a frontend must do.
#[derive(Debug)]
pub enum Action {
    /// Connect to `address`; report `connected` or `lost`.
    Open {
        /// The id the connection will have.
        conn: ConnId,
        /// Where to.
        address: SocketAddr,
    },
    /// Start the target's child process, with the other end of a socket pair as its standard input and output; report
    /// `connected` or `lost`. Closing the connection, in whatever way, ends the process and all it has started.
    Spawn {
        /// The id the connection will have.
        conn: ConnId,
        /// Whose process it is: its standard error is logged under this name.
        target: TargetName,
        /// What to start.
        process: Arc<Process>,
    },
    /// `unsent` has bytes: write now, report `sent`; on would-block write on when the socket takes more.
    Flush {
        /// The connection.
        conn: ConnId,
    },
    /// Stop reading.
    Pause {
        /// The connection.
        conn: ConnId,
    },
    /// Read again.
    Resume {
        /// The connection.
        conn: ConnId,
    },
    /// Everything was sent: close the writing side, read and drop what still comes for at most a second, close.
    /// The id is dead already.
    Finish {
        /// The connection.
        conn: ConnId,
    },
    /// Close at once. The id is dead already.
    Abort {
        /// The connection.
        conn: ConnId,
    },
    /// Hand `parcel` to another shard, before any later action is carried out: see [`Shard::deliver`](crate::Shard::deliver).
    Post {
        /// Which one.
        shard: ShardId,
        /// What.
        parcel: Parcel,
    },
    /// A line for the access log.
    Log(Box<Record>),
    /// Something new is known of a target.
    Observed(Box<Observation>),
}

/// What a shard has found out about a target, whole: it takes the place of what the shard said of it before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Observation {
    /// Which one.
    pub target: TargetId,
    /// The newest revision it has been seen to speak.
    pub era: Option<&'static str>,
    /// Why a request to it failed, if none has gone well since.
    pub error: Option<Arc<str>>,
}

/// What one shard tells another. Plain data: it can be logged, delayed and replayed.
#[derive(Clone, Debug)]
pub struct Parcel(pub(crate) Box<Note>);

impl Parcel {
    /// Whether somebody waits for it who would wait for ever: it may be late, but not be dropped. The shard bounds how
    /// many of these there are; others are told again, or miss little.
    #[must_use]
    pub fn must_arrive(&self) -> bool {
        matches!(
            *self.0,
            Note::Forward(_)
                | Note::Answer { .. }
                | Note::Taken { .. }
                | Note::Gone { .. }
                | Note::Broken { .. }
                | Note::Lost { .. }
        )
    }
}

/// The content of a parcel.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// A session is in use; for its home.
    Touch { sealed: Bytes },
    /// A session was ended.
    Ended { key: SessionKey },
    /// A shard needs a session's session at a target and has none, or one that was lost; for the home.
    Ask { sealed: Bytes, target: TargetId, lost: Option<Opened> },
    /// The home's answer, for all.
    Opened { key: SessionKey, target: TargetId, outcome: Result<Opened, Arc<str>> },
    /// The same where the target turned out to have no sessions.
    Sessionless { key: SessionKey, target: TargetId },
    /// A client gave up a request that some other shard may be working on.
    Cancel { key: SessionKey, message: Bytes },
    /// A message for a session's GET stream, wherever that is.
    Notify { key: SessionKey, message: Bytes },
    /// What a target session must be told when it is opened anew; for the home.
    Level { sealed: Bytes, params: Bytes },
    /// About channels, and the requests on them.
    Channel(crate::channel::Mail),
    /// A target said on one shard that a list changed: what the others remember of it is no longer good.
    Changed { target: TargetId, method: Box<str> },
    /// A target lets merged answers wait.
    Slow { target: TargetId },
    /// A request that only the receiver can serve.
    Forward(Box<Forwarded>),
    /// A piece of the answer, as HTTP; the last one tells whether the client's connection outlives it.
    Answer { ticket: Ticket, bytes: Bytes, end: Option<bool> },
    /// The client took so many bytes of the answer.
    Taken { ticket: Ticket, count: usize },
    /// The client went away.
    Gone { ticket: Ticket },
    /// The answer will not be completed.
    Broken { ticket: Ticket },
    /// The sender is new: all that was served under its number before is gone.
    Lost { shard: ShardId },
    /// A client's answer to a question, or progress on it; for the shard whose call asks.
    Input { place: Place, message: Bytes },
    /// As `Level`.
    Subscribed { sealed: Bytes, target: TargetId, uri: String, on: bool },
    /// A shard has a session's GET stream and wants to know what its client subscribed to; for the home.
    Listens { sealed: Bytes, shard: ShardId },
    /// The home's answer, and later for all: subscriptions that were added or removed.
    Watches { key: SessionKey, entries: Vec<(TargetId, String)>, on: bool },
    /// A client has subscribed and is answered when its stream hears of that; for the home, and from there for all.
    Await { key: SessionKey, target: TargetId, waiter: Waiter },
    /// It does, or the sender does not have it.
    Heard { leg: LegId },
}

/// What the outside sends to a shard's thread, whichever frontend drives it.
#[derive(Clone, Debug)]
pub enum Mail {
    /// For `Shard::deliver`.
    Parcel(Parcel),
    /// For `Shard::reroute`.
    Reroute(Arc<Routes>),
    /// For `Shard::drain`: stop accepting as well.
    Drain(Duration),
}

/// One client request, as the access log shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// The client's address.
    pub client: Option<SocketAddr>,
    /// HTTP method, or `stdio`.
    pub http_method: String,
    /// The path it was for.
    pub route: String,
    /// The rule it met, if that has a name.
    pub rule: String,
    /// The backend that served it, if that has a name.
    pub backend: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// JSON-RPC method.
    pub method: String,
    /// The target that answered, or all that were asked.
    pub target: String,
    /// Tool or prompt name, or URI, as the client gave it.
    pub name: String,
    /// JSON-RPC error code, when that was the answer and the gateway saw it.
    pub code: Option<i64>,
    /// Why it failed, in words.
    pub error: String,
    /// Bytes of the request body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// From the request's first byte to the answer's last.
    pub duration: Duration,
    /// From sending to the target to the first byte of its answer.
    pub target_duration: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn errors_of_the_operating_system_become_faults() {
        // Numbers as Linux gives them.
        let table = [
            (111, Fault::Refused),
            (104, Fault::Reset),
            (103, Fault::Reset),
            (32, Fault::Reset),
            (110, Fault::TimedOut),
            (113, Fault::Unreachable),
            (101, Fault::Unreachable),
            (100, Fault::Unreachable),
            (24, Fault::Other),
            (22, Fault::Other),
        ];
        for (number, expected) in table {
            assert_eq!(Fault::from(Error::from_raw_os_error(number).kind()), expected, "errno {number}");
        }
    }
}
