//! A Kubernetes API server for tests, with faults on demand.

mod cluster;
mod definitions;
mod discovery;
mod faults;
mod front;
mod kinds;
mod list;
mod owners;
mod parameters;
mod refusal;
mod select;
mod server;
mod store;
mod stream;
mod tree;
mod watch;

pub use cluster::StatusWrite;
pub use definitions::BackendShape;
pub use faults::{Chunks, Faults};
pub use server::{FakeKubernetes, Timings};
pub use watch::Streaming;
