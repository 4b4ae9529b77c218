//! Whole builds: from objects to routes, statuses and notes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

#[path = "../support/mod.rs"]
mod support;

mod backends;
mod gateways;
mod manifests;
mod names;
mod properties;
mod routes;
mod scale;
mod seed;
