//! What makes many targets look like one server.
//!
//! ```text
//! client message ─► route ─┬─► call:   one target, name and URI put back, answer streamed through
//!                          ├─► gather: all targets at once, one answer made of theirs
//!                          │     ├─ initialize   capabilities merged, session sealed
//!                          │     └─ lists        items renamed and joined, cursors composed
//!                          ├─► listen: a GET stream, fed from each target's
//!                          ├─► subscription: the same for a modern client
//!                          └─► reverse: an answer to a target's own request finds its way back
//! ```

mod agree;
mod asks;
mod call;
mod discover;
mod dress;
mod gather;
mod hidden;
mod initialize;
mod listen;
mod lists;
mod mail;
mod modern;
mod parked;
mod polling;
mod probe;
mod reverse;
mod route;
mod schemas;
mod sessions;
mod subscription;
mod tasks;

pub(crate) use asks::{Place, Round};
pub(crate) use call::Media;
pub(crate) use dress::Dress;
pub(crate) use hidden::Likeness;
pub(crate) use parked::{Parked, ParkedId};
pub(crate) use polling::Poll;
pub(crate) use probe::{Era, Verdict};
pub(crate) use schemas::Schemas;
pub(crate) use subscription::Subscription;
