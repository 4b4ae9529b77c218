//! Kubernetes objects in, routing snapshots out.
//!
//! ```text
//! manifests ──────┐
//! watch streams ──┴─► objects::Objects ─► build::build (pure) ─► routing::Routes, wanted statuses
//! ```
//!
//! The crate's place in the house: it depends on `routing` alone and runs on the control thread, so no Kubernetes type
//! reaches a shard.

pub mod build;
pub mod cluster;
pub mod controller;
pub mod manifests;
pub mod objects;
