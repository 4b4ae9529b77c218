//! The two automata: [`ServerCodec`] reads what a client sends, [`ClientCodec`] what a target answers.
//!
//! ```text
//! server   Head --head--> Body --End--> Ended --proceed--> Head            any -> Refused, for good
//! client   Idle --expect--> Head --head--> Body --End--> Idle              any -> Broken, for good
//! ```

use super::body::{Body, Bounds, Piece, skip, take};
use super::fields::{Fields, Spare, is_token};
use super::head::{Method, Request, Response};
use super::lines::Lines;
use super::{Malformed, Refusal};
use crate::Limits;
use bytes::{Bytes, BytesMut};
use std::mem;

/// Interim answers a target may send before the one that counts.
const INTERIM: u8 = 8;

/// What a client sent.
#[derive(Debug)]
pub enum RequestEvent {
    /// A request begins.
    Head(Request),
    /// A piece of its body, as it came.
    Body(Bytes),
    /// The request is complete.
    End,
}

/// Reads the requests of one client connection.
#[derive(Debug)]
pub struct ServerCodec {
    held: BytesMut,
    state: Serving,
    lines: Lines,
    /// The one line end that may stand before a request was dropped.
    blank: bool,
    bounds: Bounds,
    spare: Spare,
}

#[derive(Debug)]
enum Serving {
    Head,
    Body(Body),
    Ended,
    Refused(Refusal),
}

impl ServerCodec {
    /// A codec for a new connection.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let bounds = Bounds { content: limits.request as u64, ..Bounds::heads(limits) };
        Self {
            held: BytesMut::new(),
            state: Serving::Head,
            lines: Lines::default(),
            blank: false,
            bounds,
            spare: Spare::default(),
        }
    }

    /// Adds what was received. Without a copy when nothing is held, or when it continues the held block.
    pub fn feed(&mut self, bytes: BytesMut) {
        if !matches!(self.state, Serving::Refused(_)) {
            self.held.unsplit(bytes);
        }
    }

    /// The next event; `None` means that more input is needed, or, after `End`, that [`proceed`](Self::proceed) is:
    /// one request is in flight at a time, and what was sent behind it is held.
    ///
    /// # Errors
    /// The input is not acceptable HTTP/1.1, or too large. From then on every call says so.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `None` is final")]
    pub fn next(&mut self) -> Result<Option<RequestEvent>, Refusal> {
        let event = self.step();
        if let Err(refusal) = event {
            self.state = Serving::Refused(refusal);
            self.held = BytesMut::new();
        }
        event
    }

    fn step(&mut self) -> Result<Option<RequestEvent>, Refusal> {
        match &mut self.state {
            Serving::Head => self.head(),
            Serving::Body(body) => Ok(match body.take(&mut self.held, &self.bounds)? {
                Piece::Data(data) => Some(RequestEvent::Body(data)),
                Piece::End => {
                    self.state = Serving::Ended;
                    Some(RequestEvent::End)
                }
                Piece::More => None,
            }),
            Serving::Ended => Ok(None),
            Serving::Refused(refusal) => Err(*refusal),
        }
    }

    fn head(&mut self) -> Result<Option<RequestEvent>, Refusal> {
        if !self.find_start()? {
            return Ok(None);
        }
        let Some(length) = self.lines.end(&self.held, self.bounds.head)? else {
            return Ok(None);
        };
        let raw = take(&mut self.held, length);
        let request = Request::parse(raw, mem::take(&mut self.spare), self.bounds.fields)?;
        self.state = Serving::Body(Body::new(request.framing, &self.bounds)?);
        self.lines = Lines::default();
        self.blank = false;
        Ok(Some(RequestEvent::Head(request)))
    }

    /// Whether a request line begins. One line end before it is dropped, as old clients send one behind a body
    /// (RFC 9112 2.2). Other protocols show by their first byte, and would never send the line end we wait for.
    fn find_start(&mut self) -> Result<bool, Refusal> {
        match *self.held {
            [] => Ok(false),
            [b'\r'] if !self.blank => Ok(false),
            [b'\r', b'\n', ..] if !self.blank => {
                skip(&mut self.held, 2);
                self.blank = true;
                self.find_start()
            }
            // The record type of a TLS handshake.
            [0x16, ..] => Err(Refusal::new(505, "TLS on a port without TLS")),
            [byte, ..] if is_token(byte) => Ok(true),
            _ => Err(Refusal::bad("no request begins like this")),
        }
    }

    /// The request was answered: go on with the next one.
    pub fn proceed(&mut self) {
        if matches!(self.state, Serving::Ended) {
            self.state = Serving::Head;
        }
    }

    /// Gives back the fields of a request that is done with, so that the next head needs no memory of its own.
    pub fn recycle(&mut self, fields: Fields) {
        self.spare = fields.into_spare();
    }

    /// Bytes that were fed and not consumed.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Between requests, and nothing is held.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, Serving::Head) && self.held.is_empty()
    }

    /// A part of a head has come, and not all of it.
    #[must_use]
    pub fn is_in_head(&self) -> bool {
        matches!(self.state, Serving::Head) && !self.held.is_empty()
    }
}

/// What a target answered.
#[derive(Debug)]
pub enum ResponseEvent {
    /// An answer begins.
    Head(Response),
    /// A piece of its body, as it came.
    Body(Bytes),
    /// The answer is complete.
    End,
}

/// Reads the answers on one connection to a target.
#[derive(Debug)]
pub struct ClientCodec {
    held: BytesMut,
    state: Calling,
    lines: Lines,
    bounds: Bounds,
    spare: Spare,
}

#[derive(Debug)]
enum Calling {
    /// No answer is due.
    Idle,
    /// An answer to `method` is due, after `interim` interim ones.
    Head {
        method: Method,
        interim: u8,
    },
    Body(Body),
    Broken(Malformed),
}

impl ClientCodec {
    /// A codec for a new connection.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            held: BytesMut::new(),
            state: Calling::Idle,
            lines: Lines::default(),
            bounds: Bounds::heads(limits),
            spare: Spare::default(),
        }
    }

    /// A request was written: one answer is due. Call it only when the last answer is complete.
    pub fn expect(&mut self, method: Method) {
        self.state = match self.state {
            Calling::Idle => Calling::Head { method, interim: 0 },
            Calling::Broken(malformed) => Calling::Broken(malformed),
            Calling::Head { .. } | Calling::Body(_) => Calling::Broken(Malformed("an answer is still due")),
        };
    }

    /// Adds what was received. Without a copy when nothing is held, or when it continues the held block.
    ///
    /// Bytes that answer nothing break the connection here and now: a later request must not find them
    /// (RFC 9112 9.2).
    pub fn feed(&mut self, bytes: BytesMut) {
        match self.state {
            Calling::Idle if !bytes.is_empty() => self.state = Calling::Broken(UNASKED),
            Calling::Broken(_) => {}
            _ => self.held.unsplit(bytes),
        }
    }

    /// The next event; `None` means that more input is needed, or that no answer is due. Interim answers are
    /// swallowed.
    ///
    /// # Errors
    /// The input is not acceptable HTTP/1.1, or answers nothing. From then on every call says so.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `None` is final")]
    pub fn next(&mut self) -> Result<Option<ResponseEvent>, Malformed> {
        let event = self.step();
        if let Err(malformed) = event {
            self.fail(malformed);
        }
        event
    }

    fn step(&mut self) -> Result<Option<ResponseEvent>, Malformed> {
        match &mut self.state {
            Calling::Idle => Ok(None),
            Calling::Head { .. } => self.head(),
            Calling::Body(body) => Ok(match body.take(&mut self.held, &self.bounds)? {
                Piece::Data(data) => Some(ResponseEvent::Body(data)),
                Piece::End => {
                    self.end();
                    Some(ResponseEvent::End)
                }
                Piece::More => None,
            }),
            Calling::Broken(malformed) => Err(*malformed),
        }
    }

    fn head(&mut self) -> Result<Option<ResponseEvent>, Malformed> {
        while let Calling::Head { method, interim } = &mut self.state {
            // What speaks another protocol may never send the line end we wait for.
            if !self.held.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected) {
                return Err(Malformed("no answer begins like this"));
            }
            let Some(length) = self.lines.end(&self.held, self.bounds.head)? else {
                return Ok(None);
            };
            let raw = take(&mut self.held, length);
            self.lines = Lines::default();
            let response = Response::parse(raw, mem::take(&mut self.spare), self.bounds.fields, *method)?;
            match response.status {
                101 => return Err(Malformed("it switched protocols unasked")),
                100..=199 if *interim == INTERIM => return Err(Malformed("too many interim answers")),
                100..=199 => {
                    *interim += 1;
                    self.recycle(response.fields);
                }
                _ => {
                    self.state = Calling::Body(Body::new(response.framing, &self.bounds)?);
                    return Ok(Some(ResponseEvent::Head(response)));
                }
            }
        }
        Ok(None)
    }

    /// The target closed its side. Feed everything it sent first, and take all events.
    ///
    /// `End` completes a body that lasts until the close; `None` says that no answer was due.
    ///
    /// # Errors
    /// An answer was cut short, or never began.
    pub fn eof(&mut self) -> Result<Option<ResponseEvent>, Malformed> {
        if let Some(event) = self.next()? {
            return Ok(Some(event));
        }
        let cut = match self.state {
            Calling::Idle => return Ok(None),
            Calling::Body(Body::UntilClose) => {
                self.end();
                return Ok(Some(ResponseEvent::End));
            }
            Calling::Broken(malformed) => malformed,
            Calling::Head { .. } => Malformed("it closed without an answer"),
            Calling::Body(_) => Malformed("it closed within an answer"),
        };
        self.fail(cut);
        Err(cut)
    }

    /// The answer is complete. What stands behind it answers nothing.
    fn end(&mut self) {
        self.state = Calling::Idle;
        if !self.held.is_empty() {
            self.fail(UNASKED);
        }
    }

    fn fail(&mut self, malformed: Malformed) {
        self.state = Calling::Broken(malformed);
        self.held = BytesMut::new();
    }

    /// Gives back the fields of an answer that is done with, so that the next head needs no memory of its own.
    pub fn recycle(&mut self, fields: Fields) {
        self.spare = fields.into_spare();
    }

    /// No answer is due, and nothing is wrong: the connection can take a request.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, Calling::Idle)
    }

    /// An answer is due, and not one byte came since the request.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        matches!(self.state, Calling::Head { interim: 0, .. }) && self.held.is_empty()
    }
}

/// Bytes where no answer is due.
const UNASKED: Malformed = Malformed("it sent bytes that answer nothing");

impl Bounds {
    /// Bounds on heads and trailers only.
    fn heads(limits: &Limits) -> Self {
        Self { content: u64::MAX, head: limits.head, fields: limits.fields }
    }
}
