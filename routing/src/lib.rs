//! The ground floor: what the gateway serves, as one immutable snapshot and pure functions over it.
//!
//! ```text
//! command line ┐
//! config file  ├─► Routes (immutable, shared by Arc) ─► names::split / names::federated ─► Target
//! Kubernetes   ┘
//! ```
//!
//! A source of configuration builds a [`Routes`], every shard gets the same one, and a change is a new
//! snapshot: nothing in here is ever modified in place. The crate has no dependency and does no I/O.
//!
//! ```
//! use routing::{Routes, Target, TargetName, names};
//!
//! let time = Target::new(TargetName::parse("time").unwrap(), "127.0.0.1:3001".parse().unwrap(), "/mcp");
//! let files = Target::new(TargetName::parse("files").unwrap(), "127.0.0.1:3002".parse().unwrap(), "/mcp");
//! let routes = Routes::new(vec![time, files]).unwrap();
//!
//! assert_eq!(names::federated(&routes.targets()[0].name, "now"), "time_now");
//! let (target, name) = names::split(&routes, "time_now").unwrap();
//! assert_eq!((target.name.as_str(), name), ("time", "now"));
//! ```

pub mod names;
mod snapshot;
mod target;
pub mod uris;

pub use snapshot::{DuplicateTarget, Routes};
pub use target::{Forwarding, InvalidTargetName, Process, Protocol, Target, TargetName, Timeouts};
