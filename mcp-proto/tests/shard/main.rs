//! The shard from outside: bytes and time in, bytes and actions out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod auto_processes;
mod batches;
mod calls;
mod channel_simulation;
mod faults;
mod intake;
mod limits;
mod lists;
mod process_limits;
mod process_targets;
mod regressions;
mod reverse;
mod sessions;
mod shards;
mod shared_targets;
mod simulation;
mod splits;
mod sse_targets;
mod streams;
mod subscriptions;
mod support;
mod timeouts;
