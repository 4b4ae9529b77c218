//! The ground floor: what the gateway serves, as one immutable snapshot and pure functions over it.
//!
//! ```text
//! command line ┐                                        host, path, …
//! config file  ├─► Routes (immutable, shared by Arc) ─► Port::rule ─► Rule ─► Backend ─► names::split ─► Target
//! Kubernetes   ┘
//! ```
//!
//! A source of configuration builds a [`Routes`], every shard gets the same one, and a change is a new
//! snapshot: nothing in here is ever modified in place. The crate does no I/O.
//!
//! ```
//! use routing::{Backend, BackendName, Target, TargetName, names};
//!
//! let time = Target::new(TargetName::parse("time").unwrap(), "127.0.0.1:3001".parse().unwrap(), "/mcp");
//! let files = Target::new(TargetName::parse("files").unwrap(), "127.0.0.1:3002".parse().unwrap(), "/mcp");
//! let backend = Backend::mcp(BackendName::default(), vec![time, files]).unwrap();
//!
//! assert_eq!(names::federated(backend.targets()[0].name(), "now"), "time_now");
//! let (target, name) = names::split(&backend, "time_now").unwrap();
//! assert_eq!((target.name().as_str(), name), ("time", "now"));
//! ```

mod backend;
mod endpoint;
pub mod matching;
pub mod names;
mod rule;
mod snapshot;
mod target;
pub mod uris;

pub use backend::{Backend, BackendName, DuplicateTarget, Form, TargetId, TargetNames};
pub use endpoint::{Endpoint, Serves};
pub use matching::{Facts, HostMatch, Match, PathMatch, Pattern, ValueMatch};
pub use rule::{Answer, HeaderEdits, PathEdit, Redirect, Rewrite, Rule, Share, draw};
pub use snapshot::{Entry, Listener, Port, Routes};
pub use target::{Forwarding, InvalidTargetName, Process, Protocol, Target, TargetName, Timeouts};
