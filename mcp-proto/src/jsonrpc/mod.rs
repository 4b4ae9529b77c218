//! JSON-RPC 2.0 text, found and edited without building a tree.
//!
//! ```text
//! whole body  ─► envelope::body ─► envelope::Envelope (spans) ─► splice ─► the same body with a few values replaced
//! message     ─► params ─► the same message with what the other era wants, and without what it doesn't know
//! list answer ─► list::federate ─► its items under their federated names, ready to be joined with others
//! tool schema ─► mirror::mirrors ─► the arguments of its calls that are repeated in the HTTP head
//! notice      ─► notice ─► edits of the few places where its client sees something else
//! stream      ─► rewrite::Rewriter, by a Plan ─► the same stream as its client expects it, in bounded memory
//! ```
//!
//! Whatever is not edited leaves byte for byte as it came: number spelling, key order, escapes, unknown members.

mod depth;
pub mod envelope;
pub(crate) mod known;
pub mod list;
pub mod members;
pub mod mirror;
pub(crate) mod notice;
pub mod params;
pub mod rewrite;
pub mod skim;
pub mod splice;
mod structured;
mod walk;
