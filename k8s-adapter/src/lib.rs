//! Kubernetes objects in, routing snapshots out.
//!
//! ```text
//! Gateway, HTTPRoute, Backend, Service, EndpointSlice ─► (pure function) ─► routing::Routes, wanted statuses
//! ```
//!
//! The crate's place in the house: it depends on `routing` alone and runs on the control thread, so no Kubernetes type
//! reaches a shard. It translates nothing yet; the command has no Kubernetes mode.
