//! The shard from outside: bytes and time in, bytes and actions out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod calls;
mod lists;
mod regressions;
mod sessions;
mod support;
