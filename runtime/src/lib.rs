//! What all frontends have in common: how a worker drives its shard. The runtime beneath is a [`Net`].
//!
//! ```text
//!   listeners ─► accept tasks ─┐                        ┌──► sockets, written by whoever runs
//!   sockets ───► peer tasks ───┤  turn: tell the Shard  │
//!   clock ─────► timer task ───┼──► what happened, then ┼──► new peer tasks, dialling
//!   mailbox ───► main task ────┘  do what it asks for   ├──► mailboxes of other workers
//!                                                       ├──► child processes, started elsewhere
//!                                                       └──► access-log records, observations of targets
//! ```
//!
//! All tasks of a worker share one [`Pump`]. It moves bytes and time and knows nothing of what they mean. Mail that is
//! there goes before bytes that are: what one worker has told another comes before what a client does next. A frontend
//! is a `Net`, and a thread set up for it ([`Worker::start`]) that runs [`serve`].

mod blocks;
mod link;
mod net;
mod panics;
mod peer;
mod pump;
mod spawn;
mod wake;
mod worker;

pub use blocks::{BLOCK, Blocks};
pub use net::Net;
pub use panics::quietly;
pub use pump::Pump;
pub use spawn::{Child, Spawn};
pub use worker::{Letter, Worker, serve};
