//! A Kubernetes API server for tests, with faults on demand.
//!
//! ```text
//!  kube, kubectl, curl ──HTTP/1.1──► front ─► call ─┬► write ─► patch, owners (server-side apply), schema ─┐
//!                                      ▲           ├► list ◄──────────────────────────────────────────────┤ store:
//!  the test ── FakeKubernetes ──────────────────────┴► watch ◄─ log ───────────────────────────────────────┘ objects,
//!       └───── Faults ─────────────────┴─ stream: lines in chunks, until time or a fault ends them            revision, log
//! ```
//!
//! Store, verbs, and watch cursors are a state machine without I/O and clock ([`FakeKubernetes`] holds it under one lock); the
//! front is a thread with a tokio runtime of its own, so that the server works in any test, and its faults are faults of real
//! sockets.
//!
//! ```
//! use fake_kubernetes::FakeKubernetes;
//!
//! let server = FakeKubernetes::start();
//! server.apply("{apiVersion: v1, kind: Service, metadata: {name: mcp}, spec: {ports: [{port: 80}]}}");
//! // … point a client at `server.kubeconfig()`, and then:
//! server.faults().compact();
//! server.patch("services", "default/mcp", serde_json::json!({"metadata": {"labels": {"app": "mcp"}}}));
//! assert!(server.writes().is_empty(), "nobody wrote a status");
//! ```
//!
//! `cargo run -p fake-kubernetes -- --port 8001 manifests.yaml` runs it as a process, for `kubectl` or `curl`.
//!
//! # What is as on a real server
//!
//! Held against both by `tests/contract`, where `TEST_KUBECONFIG` names a real server: one counter of revisions; lists in pages
//! and at exact revisions; watches from a revision or with the state first, streaming lists, bookmarks, time limits, label and
//! field selectors, 410 as an event and as a status; merge, strategic-merge and JSON patches; server-side apply with owners,
//! conflicts, keyed and atomic lists; writes that change nothing; generations; status endpoints; stale writes; finalizers;
//! pruning, defaults and limits by the schemas of definitions, which can be created, changed and deleted; 404 as plain text for
//! what nobody defined; discovery; tables; reviews of the client's own rights.
//!
//! Known from the start are the types that a gateway and its installation touch, the Gateway API and Backend among them: with the
//! defaults, limits and merge rules that a controller meets, not with every field of the published definitions.
//!
//! # What is not
//!
//! - No controllers: no pods or slices from a Deployment, no garbage collection by owner. Names of endpoints' addresses are not
//!   refused, so that slices can point at loopback.
//! - Definitions: patterns and rules in CEL (but `self == oldSelf`) are not checked, versions are not converted.
//! - Built-in types are hardly validated or defaulted: Services get an address and their usual defaults, and nothing else does.
//!   `stringData` of Secrets stays where it is.
//! - No TLS, no authentication: everybody may do what no fault forbids. No protobuf (415), so `kubectl create` works with `-f`
//!   only; no OpenAPI, so `kubectl apply` needs `--validate=false`. Watches are not shown as tables.
//! - A revision from before a restart is too old for exact lists, too; pages that were begun can be continued.

mod built_in;
mod call;
mod cluster;
mod definitions;
mod discovery;
mod faults;
mod fields;
mod front;
mod kinds;
mod list;
mod owners;
mod parameters;
mod patch;
mod refusal;
mod reviews;
mod schema;
mod select;
mod server;
mod store;
mod stream;
mod table;
mod tree;
mod watch;
mod write;

pub use cluster::StatusWrite;
pub use definitions::BackendShape;
pub use faults::{Chunks, Faults};
pub use server::{FakeKubernetes, Timings};
pub use watch::Streaming;
