//! Just enough HTTP/1.1 for the two ends of the benchmark: one message at a time, gathered whole or drained as it comes.

use std::io;
use std::mem;

/// What the ends look at in a head.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Of an answer; 0 in a request.
    pub(crate) status: u16,
    /// Of a request; empty in an answer.
    pub(crate) method: String,
    /// Of a request; empty in an answer.
    pub(crate) path: String,
    /// `Mcp-Session-Id`, or empty.
    pub(crate) session: String,
    /// Whether the body is an event stream.
    pub(crate) event_stream: bool,
}

/// Which head is expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Request,
    Response,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Head,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Done,
}

/// The message that is arriving on one connection.
#[derive(Debug)]
pub(crate) struct Incoming {
    kind: Kind,
    state: State,
    /// Bytes of the head or of a chunk-size line that is not complete.
    partial: Vec<u8>,
    /// The head; meaningful once [`has_head`](Self::has_head).
    pub(crate) head: Head,
    /// The body so far, without chunk framing.
    pub(crate) body: Vec<u8>,
}

impl Incoming {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, state: State::Head, partial: Vec::new(), head: Head::default(), body: Vec::new() }
    }

    /// Takes what was read. True once the message is complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() && self.state != State::Done {
            bytes = match self.state {
                State::Head => {
                    self.partial.extend_from_slice(bytes);
                    let gathered = mem::take(&mut self.partial);
                    match self.parse_head(&gathered)? {
                        Some(length) => self.feed(gathered.get(length..).unwrap_or_default()).map(drop)?,
                        None => self.partial = gathered,
                    }
                    &[]
                }
                State::Length(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    self.body.extend_from_slice(now);
                    self.state =
                        if now.len() == left { State::Done } else { State::Length(left - now.len()) };
                    rest
                }
                State::Chunk(left) => {
                    let (now, rest) = bytes.split_at(left.min(bytes.len()));
                    self.body.extend_from_slice(now);
                    self.state =
                        if now.len() == left { State::ChunkEnd } else { State::Chunk(left - now.len()) };
                    rest
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => self.line(bytes)?,
                State::Done => bytes,
            };
        }
        if bytes.is_empty() { Ok(self.state == State::Done) } else { Err(broken("bytes after the message")) }
    }

    pub(crate) fn has_head(&self) -> bool {
        self.state != State::Head
    }

    /// Makes room for the next message.
    pub(crate) fn next(&mut self) {
        self.state = State::Head;
        self.body.clear();
    }

    /// One line of chunk framing; returns what follows it.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.partial.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (line, rest) = bytes.split_at(end + 1);
        self.partial.extend_from_slice(line);
        let text = str::from_utf8(&self.partial).map_err(|_| broken("chunk framing"))?.trim_end();
        self.state = match self.state {
            State::ChunkSize => match usize::from_str_radix(text, 16) {
                Ok(0) => State::Trailer,
                Ok(size) => State::Chunk(size),
                Err(_) => return Err(broken("chunk size")),
            },
            State::ChunkEnd if text.is_empty() => State::ChunkSize,
            State::Trailer if text.is_empty() => State::Done,
            State::Trailer => State::Trailer,
            _ => return Err(broken("end of chunk")),
        };
        self.partial.clear();
        Ok(rest)
    }

    fn parse_head(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let mut fields = [httparse::EMPTY_HEADER; 40];
        let mut head = mem::take(&mut self.head);
        let (length, fields): (_, &[_]) = match self.kind {
            Kind::Request => {
                let mut request = httparse::Request::new(&mut fields);
                let parsed = request.parse(bytes).map_err(io::Error::other)?;
                copy(&mut head.method, request.method.unwrap_or_default());
                copy(&mut head.path, request.path.unwrap_or_default());
                (parsed, request.headers)
            }
            Kind::Response => {
                let mut response = httparse::Response::new(&mut fields);
                let parsed = response.parse(bytes).map_err(io::Error::other)?;
                head.status = response.code.unwrap_or_default();
                (parsed, response.headers)
            }
        };
        let httparse::Status::Complete(length) = length else {
            self.head = head;
            return Ok(None);
        };
        self.state = match self.kind {
            Kind::Request => State::Done,
            Kind::Response if matches!(head.status, 204 | 304) => State::Done,
            Kind::Response => State::Length(usize::MAX),
        };
        head.session.clear();
        head.event_stream = false;
        for field in fields {
            let value = str::from_utf8(field.value).map_err(io::Error::other)?;
            if field.name.eq_ignore_ascii_case("content-length") {
                let length = value.parse().map_err(io::Error::other)?;
                self.state = if length == 0 { State::Done } else { State::Length(length) };
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                self.state = State::ChunkSize;
            } else if field.name.eq_ignore_ascii_case("content-type") {
                head.event_stream = value.starts_with("text/event-stream");
            } else if field.name.eq_ignore_ascii_case("mcp-session-id") {
                head.session.push_str(value);
            }
        }
        self.head = head;
        Ok(Some(length))
    }
}

/// Overwrites `into`, keeping its allocation.
fn copy(into: &mut String, text: &str) {
    into.clear();
    into.push_str(text);
}

/// An error of a peer that does not speak HTTP as expected.
pub(crate) fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_messages_in_any_pieces() {
        let messages: [(&[u8], &[u8]); 3] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMcp-Session-Id: s\r\n\r\nhello", b"hello"),
            (b"HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
            (b"HTTP/1.1 202 Accepted\r\nmcp-session-id: s\r\ncontent-length: 0\r\n\r\n", b""),
        ];
        for (message, body) in messages {
            for size in 1..=message.len() {
                let mut incoming = Incoming::new(Kind::Response);
                let mut pieces = message.chunks(size).peekable();
                while let Some(piece) = pieces.next() {
                    assert_eq!(incoming.feed(piece).unwrap(), pieces.peek().is_none());
                }
                assert_eq!((incoming.head.session.as_str(), incoming.body.as_slice()), ("s", body));
                assert!(incoming.feed(b"x").is_err());
            }
        }
    }
}
