//! The shard from outside: bytes and time in, bytes and actions out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod asks;
mod auto_processes;
mod batches;
mod calls;
mod changes;
mod channel_listens;
mod channel_simulation;
mod faults;
mod forwarding;
mod headers;
mod intake;
mod leaks;
mod limits;
mod listens;
mod lists;
mod parked;
mod parked_ends;
mod probe;
mod process_limits;
mod process_targets;
mod regressions;
mod reverse;
mod sessions;
mod shards;
mod shared_targets;
mod simulation;
mod splits;
mod sse_clients;
mod sse_simulation;
mod sse_targets;
mod stdio_clients;
mod streams;
mod subscriptions;
mod support;
mod timeouts;
