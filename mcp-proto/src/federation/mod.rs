//! What makes many targets look like one server.
//!
//! ```text
//! client message ─► route (modern: of a message that stands for itself)
//!    ├─► call: one target, name and URI put back, answer streamed through
//!    ├─► gather: all targets at once, one answer made of theirs
//!    │     ├─ initialize, discover   capabilities merged, session sealed
//!    │     └─ lists                  items renamed and joined, cursors composed
//!    ├─► listen: a GET stream, fed from each target's; subscription: the same for a modern client; agree: what targets
//!    │   are asked for it
//!    └─► reverse: an answer to a target's own request finds its way back
//!
//! leg ─► probe: what does its target speak ─► hidden: a session, if its client has none ─► schemas: which arguments are
//!   repeated in fields ─► dress: what is sent, and what is changed in the answer
//! answer ─► polling: is there more to fetch ─► asks: is it a question ┬► rounds: legacy client, modern target
//!                                                                     └► parked: modern client, legacy target
//! sessions, mail: one session on many shards; tasks: their ids over several targets
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
