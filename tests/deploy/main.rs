//! What `deploy/` holds: the Backend's definition takes what it should, and the manifests hang together.
//!
//! That the manifests are what the chart gives is for `deploy/kubernetes/render --check`, which asks Helm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod backend;
mod manifests;
mod schema;

use serde_json::Value;
use std::path::Path;

/// The documents of a file of this repository.
fn documents(path: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(&text)
}

fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}
