//! What an operator can set: limits, deadlines, secrets. Everything in here is fixed for the life of a shard.

use crate::seal::Keys;
use std::time::Duration;

/// The settings of all shards of one gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many shards serve together; a session's home is one of them.
    pub shards: u16,
    /// Bounds on everything that grows with what peers send.
    pub limits: Limits,
    /// Deadlines on the client side. Those of targets stand in `routing::Timeouts`.
    pub timeouts: Timeouts,
    /// Which requests leave a [`Record`](crate::Record).
    pub access_log: AccessLog,
    /// Authorities (host, without port) a request may be addressed to, besides loopback ones. `*` allows all.
    pub allowed_hosts: Vec<String>,
    /// Origins a browser may call from, besides loopback ones. `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Keys that seal session ids, cursors and reply ids.
    pub keys: Keys,
}

/// Which requests are reported.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AccessLog {
    /// None.
    Off,
    /// Those that failed: a status from 400 on, a JSON-RPC error, or an answer cut short.
    #[default]
    Errors,
    /// All.
    All,
}

/// Bounds, with their defaults. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Head of a request or an answer.
    pub head: usize,
    /// Header fields in one head.
    pub fields: usize,
    /// Body of one client request.
    pub request: usize,
    /// One message of a target that must be seen whole: a list page, an `initialize` result, a notification or a
    /// server's request. What is only forwarded has no limit.
    pub message: usize,
    /// All parts of one merged answer together.
    pub gather: usize,
    /// Bytes waiting for one peer before the peer that feeds it is paused. Reading resumes at a quarter of it.
    pub buffer: usize,
    /// Nesting of JSON.
    pub depth: usize,
    /// Messages in one batch.
    pub batch: usize,
    /// Client connections of one shard.
    pub connections: usize,
    /// Connections to one target from one shard.
    pub target_connections: usize,
    /// Requests of one shard that wait for a connection to one target.
    pub target_waiting: usize,
    /// Requests of one shard that another one serves, and requests that one shard serves for others.
    pub forwarded: usize,
    /// Messages of a client with one stream for everything (HTTP+SSE, stdio) that are worked on at once, and POSTs of one
    /// that wait.
    pub stream_calls: usize,
    /// Processes and HTTP+SSE streams of targets, of one shard.
    pub channels: usize,
    /// Calls of one shard that wait for what their clients are asked.
    pub parked: usize,
    /// What is kept of what a target says while such a call waits.
    pub parked_bytes: usize,
    /// Sessions a shard remembers.
    pub sessions: usize,
    /// What one client may have kept in its session: capabilities, its own description, log level, subscriptions; and
    /// the URIs of one `subscriptions/listen`.
    pub session: usize,
    /// A session id in its sealed form; beyond it the parts about targets stay in the memory of the session's home.
    pub session_id: usize,
    /// Irregular names a shard remembers, of all targets; names of one list it looked up; resources that one client
    /// listens to.
    pub names: usize,
    /// Bytes of one target's last good list of one kind, as it came, and of the same as clients of either era are shown
    /// it; what is longer is not kept.
    pub catalogue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 32 << 10,
            fields: 100,
            request: 4 << 20,
            message: 4 << 20,
            gather: 16 << 20,
            buffer: 64 << 10,
            depth: 128,
            batch: 100,
            connections: 20_000,
            target_connections: 20_000,
            target_waiting: 4_096,
            forwarded: 4_096,
            stream_calls: 256,
            channels: 256,
            parked: 1_000,
            parked_bytes: 1 << 20,
            sessions: 50_000,
            session: 64 << 10,
            session_id: 2 << 10,
            names: 10_000,
            catalogue: 4 << 20,
        }
    }
}

/// Deadlines on the client side, with their defaults.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// For a whole request head, from its first byte, and for the first byte of a new connection.
    pub head: Duration,
    /// Between two bytes of a request body.
    pub body: Duration,
    /// A kept-alive connection without a request.
    pub keep_alive: Duration,
    /// A client that takes no byte of an answer.
    pub write: Duration,
    /// `initialize` is answered at the latest after this, with the targets that were ready.
    pub initialize: Duration,
    /// A session without a request, a stream or an answer.
    pub session: Duration,
    /// A session in all, however busy: its sealed id is worth nothing afterwards.
    pub session_life: Duration,
    /// Silence on an event stream before a comment is sent on it.
    pub comment: Duration,
    /// A call that waits for what its client is asked.
    pub parked: Duration,
    /// What is under way for an attached client that has ended.
    pub shutdown: Duration,
    /// An idle connection to a target, where the target names no time of its own.
    pub pool: Duration,
    /// A process that all sessions share, without a request.
    pub process: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            body: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            write: Duration::from_secs(30),
            initialize: Duration::from_secs(3),
            session: Duration::from_secs(30 * 60),
            session_life: Duration::from_secs(30 * 24 * 60 * 60),
            comment: Duration::from_secs(15),
            parked: Duration::from_secs(10 * 60),
            shutdown: Duration::from_secs(10),
            pool: Duration::from_secs(55),
            process: Duration::from_secs(10 * 60),
        }
    }
}
