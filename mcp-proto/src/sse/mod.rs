//! Server-sent events (WHATWG HTML, 9.2), both directions.
//!
//! ```text
//! body bytes ─► Parser ─► Item::Data … Item::Data, Item::End ─► one JSON-RPC message each
//! message    ─► write::{head, end} or write::event            ─► body bytes
//! ```
//!
//! The parser never holds data: pieces leave as slices of what came in, so an event may be larger than memory.

mod parser;
pub mod write;

pub use parser::{End, Item, LONGEST_FIELD, Parser};
