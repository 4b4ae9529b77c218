//! The protocol core of `mcp-gateway`.
#![allow(dead_code, unused_imports)]
mod config;
mod counters;
mod edge;
pub mod http;
pub mod jsonrpc;
mod seal;
mod shard;
pub mod sse;

pub use config::{AccessLog, Config, Limits, Timeouts};
pub use counters::{Count, Counters, Metric, MetricKind};
pub use edge::{Action, ConnId, Fault, Mail, Parcel, Record, Refused, ShardId, Start};
pub use seal::Keys;
pub use shard::Shard;
