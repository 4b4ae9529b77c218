//! What makes many targets look like one server.
//!
//! ```text
//! client message ─► route ─┬─► call:   one target, name and URI put back, answer streamed through
//!                          ├─► gather: all targets at once, one answer made of theirs
//!                          │     ├─ initialize   capabilities merged, session sealed
//!                          │     └─ lists        items renamed and joined, cursors composed
//!                          ├─► listen: a GET stream, fed from each target's
//!                          └─► reverse: an answer to a target's own request finds its way back
//! ```

mod call;
mod gather;
mod initialize;
mod listen;
mod lists;
mod reverse;
mod route;
mod sessions;

pub(crate) use call::Media;
