//! A Kubernetes API server for tests, with faults on demand.

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
