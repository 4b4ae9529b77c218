//! HTTP/1.1 on both sides of the gateway: bytes in, events by value out.
//!
//! ```text
//! client  --bytes-->  ServerCodec  --RequestEvent-->   shard  --write::*-->  client
//! target  --bytes-->  ClientCodec  --ResponseEvent-->  shard  --write::*-->  target
//! ```
//!
//! A codec holds what was fed and not consumed, finds the end of a head without looking at a byte twice
//! (`lines`), parses it once and decides there and then how its body is framed (`head`), and hands the body out in
//! the pieces it came in (`body`). Heads and bodies are slices of what was fed, never copies.
//!
//! Both directions are strict: what two parsers could read in two ways is refused, not repaired. On the client's
//! side that is a [`Refusal`], an answer with a status and then a close; on the target's side it is [`Malformed`], the
//! failure of that request and the end of that connection. Heads are never forwarded as they came: [`mod@write`] makes new
//! ones from parsed fields.
//!
//! ```
//! use mcp_proto::http::{RequestEvent, ServerCodec};
//!
//! let mut codec = ServerCodec::new(&mcp_proto::Limits::default());
//! codec.feed(b"POST /mcp?a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"[..].into());
//! let Ok(Some(RequestEvent::Head(request))) = codec.next() else { panic!() };
//! assert_eq!((request.path(), request.query(), request.authority()), ("/mcp", Some("a"), "a"));
//! let Ok(Some(RequestEvent::Body(body))) = codec.next() else { panic!() };
//! assert_eq!(body, "{}");
//! assert!(matches!(codec.next(), Ok(Some(RequestEvent::End))));
//! ```

mod body;
mod codec;
mod fields;
mod head;
mod lines;
pub mod write;

pub use codec::{ClientCodec, RequestEvent, ResponseEvent, ServerCodec};
pub use fields::Fields;
pub(crate) use fields::is_of_connection;
pub use head::{Framing, Method, Request, Response, Token};

/// The client's fault: answer with `status`, then close.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Status of the answer.
    pub status: u16,
    /// What was wrong, in words.
    pub reason: &'static str,
}

/// The target's fault: the request fails, and the connection is not used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed(pub &'static str);

impl Refusal {
    /// 400: a message that can't be read in exactly one way.
    const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

/// Both sides share their parsers; what is a status for a client is only a reason for a target.
impl From<Refusal> for Malformed {
    fn from(refusal: Refusal) -> Self {
        Self(refusal.reason)
    }
}
