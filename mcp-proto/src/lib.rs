//! The protocol core of `mcp-gateway`: bytes in, events by value through pure machines, bytes out.
//!
//! A [`Shard`] holds everything one worker thread serves: connections of clients and to targets, sessions, calls in
//! flight, timers. It does no I/O, reads no clock and asks for no randomness: a frontend tells it what happened, does
//! what [`Shard::poll`] asks for, and wakes it at [`Shard::deadline`]. The same seed and the same inputs give the same
//! actions.
//!
//! ```text
//!             accepted  attached  received  ended  sent  lost  connected  tick  deliver  reroute  drain
//!                 └────────┬────────┘                                      │       └──────┬──────┘
//!                          ▼                                               ▼              ▼
//! shard ──────────────────────────────────────────────────────────────────────────────────────────
//!   bytes of a client                                                 timers, deadlines    sessions
//!     http ───────────► intake ► era ┬► jsonrpc::envelope ► federation ┬► pool ───► http ► bytes to a target
//!     line, GET /sse ─► one_stream ──┤                        ▲     ▲  └► channel ► line ► … or http
//!     parcels ────────► forward ─────┘                        │     │
//!     bytes to a client                                       │     │                    bytes of a target
//!     outbox ◄ http, sse, line ◄ answer ◄─────────────────────┘     └─ answers, events, channel ◄ http, sse, line
//! ────────────────────────────────────────────────────────────────────────────────────────────────
//!                 │
//!                 ▼ poll:   Open  Spawn  Flush  Pause  Resume  Finish  Abort  Post  Log
//! ```
//!
//! - [`http`], [`sse`], [`mod@line`] and [`jsonrpc`] are codecs: small values that are fed bytes and return events or
//!   spans. They know nothing of MCP beyond the places where names, URIs and the members of one era stand.
//! - `intake` checks a client's request and makes an *exchange* of it; `way` finds the rule it meets and the backend that
//!   serves it; `era` tells whether a message stands for itself or
//!   belongs to a session; `federation` decides which targets it is for and what it is in their era; each request to a
//!   target is a *leg*, which `pool` gives a connection and `channel` a place on the one stream of a process.
//! - `one_stream` and `forward` bring messages that came some other way than over the client's own connection, each as the
//!   exchange of a `virtual_client`.
//! - `answers` and `events` take a target's answer to whoever waits for the leg; `answer` writes to the client.
//! - `session` and `seal` keep the state of sessions in the ids that clients hold; `catalogue` remembers what targets
//!   listed; `refusal` words every no.
//!
//! A whole frontend, as far as one request needs it:
//!
//! ```
//! use mcp_proto::{AccessLog, Action, Config, Keys, Limits, Shard, ShardId, Start, Timeouts};
//! use routing::Routes;
//! use std::io::IoSlice;
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//!
//! let config = Config {
//!     shards: 1,
//!     limits: Limits::default(),
//!     timeouts: Timeouts::default(),
//!     access_log: AccessLog::Off,
//!     allowed_hosts: Vec::new(),
//!     allowed_origins: Vec::new(),
//!     keys: Keys::new([7; 32], &[]),
//! };
//! let start = Start {
//!     id: ShardId(0),
//!     config: Arc::new(config),
//!     routes: Arc::new(Routes::new(Vec::new()).unwrap()),
//!     seed: [7; 32],
//!     unix: Duration::ZERO,
//!     counters: Arc::default(),
//! };
//! let now = Instant::now();
//! let mut shard = Shard::new(start, now);
//!
//! // A client connected and sent a request.
//! let (at, peer) = ("127.0.0.1:8080".parse().unwrap(), "127.0.0.1:50000".parse().unwrap());
//! let conn = shard.accepted(at, peer, now).unwrap();
//! let request = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n\
//!     {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}";
//! shard.received(conn, request[..].into(), now);
//!
//! // All the shard wants is that its answer is written.
//! assert!(matches!(shard.poll(), Some(Action::Flush { conn: asked }) if asked == conn));
//! assert!(shard.poll().is_none());
//! let mut slices = [IoSlice::new(&[]); 4];
//! let count = shard.unsent(conn, &mut slices);
//! let answer: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
//! shard.sent(conn, answer.len(), now);
//!
//! // A ping is answered inside a session only.
//! let answer = String::from_utf8(answer).unwrap();
//! assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"));
//! assert!(answer.ends_with("\"this needs the Mcp-Session-Id that initialize gave\"}}"));
//! // What comes next: the time by which another request is due.
//! assert_eq!(shard.deadline().map(|(at, _)| at > now), Some(true));
//! ```

mod answer;
mod answers;
mod base64;
mod catalogue;
mod census;
mod channel;
mod config;
mod conn;
mod counters;
mod deadlines;
mod edge;
mod endpoints;
mod era;
mod events;
mod exchange;
mod federation;
mod forward;
pub mod http;
mod intake;
pub mod jsonrpc;
mod leg;
pub mod line;
mod observations;
mod one_stream;
mod outbox;
mod pass_through;
mod pool;
mod refusal;
mod reroute;
mod room;
pub mod seal;
mod session;
mod shard;
pub mod sse;
mod table;
mod timers;
mod virtual_client;
mod way;
mod wire;

pub use census::Census;
pub use config::{AccessLog, Config, Limits, Timeouts};
pub use counters::{Count, Counters, Metric, MetricKind};
pub use edge::{Action, ConnId, Fault, Mail, Observation, Parcel, Record, Refused, ShardId, Start};
pub use seal::Keys;
pub use shard::Shard;
