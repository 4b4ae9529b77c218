//! Heads: what a message is, whom it is for, and how its body is framed, decided once.
//!
//! httparse reads the grammar; what it lets pass and another parser might read differently is refused here.

use super::Refusal;
use super::fields::{Control, Fields, Span, Spare, is_token};
use bytes::Bytes;
use httparse::{Header, ParserConfig};
use memchr::memchr;
use std::fmt;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Most fields one head can have, whatever the configuration says: their spans are collected on the stack.
const MOST_FIELDS: usize = 256;

/// A request method. `CONNECT` is none here: it is refused with 405.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names of RFC 9110 9.3 and RFC 5789")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    /// Any other, which can only be passed on.
    Other(Token),
}

/// The name of a method that means nothing here: a token (RFC 9110 5.6.2) of bounded length.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Token {
    bytes: [u8; Self::LONGEST],
    length: u8,
}

impl Token {
    /// Twice as long as the longest one registered with IANA.
    const LONGEST: usize = 32;

    fn parse(token: &str) -> Option<Self> {
        let mut bytes = [0; Self::LONGEST];
        bytes.get_mut(..token.len())?.copy_from_slice(token.as_bytes());
        token.bytes().all(is_token).then_some(Self { bytes, length: token.len() as u8 })
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Method {
    /// The method as it stands on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Other(token) => token.as_str(),
        }
    }

    /// Whether it may be done twice (RFC 9110 9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        match self {
            Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace => true,
            Self::Post | Self::Patch | Self::Other(_) => false,
        }
    }

    /// Methods are case-sensitive (RFC 9110 9.1).
    fn parse(token: &str) -> Result<Self, Refusal> {
        Ok(match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            "PATCH" => Self::Patch,
            "TRACE" => Self::Trace,
            "CONNECT" => return Err(Refusal::new(405, "this is not a tunnel")),
            _ => Self::Other(Token::parse(token).ok_or(Refusal::new(501, "unknown method"))?),
        })
    }
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
    /// With the connection; answers only.
    UntilClose,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Header fields.
    pub fields: Fields,
    /// How the body is framed.
    pub framing: Framing,
    /// The client would send another request on this connection.
    pub keep_alive: bool,
    /// The client waits for a `100 Continue` before it sends the body; false when there is no body to wait for.
    pub expect_continue: bool,
    /// An HTTP/1.0 request: its answer can't be chunked.
    pub http10: bool,
    path: Span,
    query: Option<Span>,
    authority: Span,
}

impl Request {
    /// The path, as it was sent: escapes are well-formed and none is of NUL, but nothing was decoded or resolved.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.path.text(self.fields.raw()) {
            "" => "/",
            path => path,
        }
    }

    /// What follows the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.map(|query| query.text(self.fields.raw()))
    }

    /// Host and port, if any, that the request is addressed to: those of an absolute target, else those of `Host`
    /// (RFC 9112 3.2.2). Empty for an HTTP/1.0 request that names none.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.text(self.fields.raw())
    }

    /// Keeps no more of it than its path and the fields that `keeps` wants, for a request that lasts long.
    pub(crate) fn shed(&mut self, keeps: impl Fn(&str) -> bool) {
        let Self { fields, path, query, authority, .. } = self;
        (*query, *authority) = (None, Span::default());
        fields.shed([path], keeps);
    }

    /// A request that never was text: no fields, the path `/`.
    pub(crate) fn bare(method: Method) -> Self {
        Self {
            method,
            fields: Fields::default(),
            framing: Framing::None,
            keep_alive: true,
            expect_continue: false,
            http10: false,
            path: Span::default(),
            query: None,
            authority: Span::default(),
        }
    }

    /// Parses a whole head.
    pub(super) fn parse(raw: Bytes, mut spare: Spare, fields: usize) -> Result<Self, Refusal> {
        let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let room = headers.get_mut(..fields.min(MOST_FIELDS)).unwrap_or_default();
        match parsed.parse_with_uninit_headers(&raw, room) {
            Ok(httparse::Status::Complete(length)) if length == raw.len() => {}
            Ok(_) => return Err(Refusal::bad("the head has no end")),
            Err(httparse::Error::Version) if is_other_version(&raw) => {
                return Err(Refusal::new(505, "HTTP/1.0 and HTTP/1.1 only"));
            }
            Err(error) => return Err(broken(error)),
        }
        let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
            return Err(Refusal::bad("the request line is incomplete"));
        };
        let http10 = parsed.version == Some(0);
        let method = Method::parse(method)?;
        let target = Target::parse(method, target)?;
        let control = Control::read(parsed.headers, &raw, &mut spare)?;
        let host = host(&control, http10)?;
        let framing = request_framing(&control, method, http10)?;
        if control.expects_other {
            return Err(Refusal::new(417, "no expectation but 100-continue can be met"));
        }
        let waits = !matches!(framing, Framing::None | Framing::Length(0));
        Ok(Self {
            method,
            framing,
            keep_alive: persists(&control, http10),
            // An HTTP/1.0 client could not read the interim answer (RFC 9110 10.1.1).
            expect_continue: control.expects_continue && waits && !http10,
            http10,
            path: Span::of(target.path.as_bytes(), &raw),
            query: target.query.map(|query| Span::of(query.as_bytes(), &raw)),
            authority: Span::of(target.authority.map_or(host, str::as_bytes), &raw),
            fields: spare.into_fields(raw),
        })
    }
}

/// The head of an answer.
#[derive(Debug)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Header fields.
    pub fields: Fields,
    /// How the body is framed.
    pub framing: Framing,
    /// The target would take another request on this connection.
    pub keep_alive: bool,
}

impl Response {
    /// How long the target keeps the connection open without a request (`Keep-Alive: timeout=N`).
    #[must_use]
    pub fn idle_hint(&self) -> Option<Duration> {
        let parameters = self.fields.values("keep-alive").flat_map(|value| value.split(|byte| *byte == b','));
        let parameters = parameters.filter_map(|parameter| str::from_utf8(parameter).ok()?.split_once('='));
        let timeout = |(name, value): (&str, &str)| {
            name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().parse::<u32>().ok())?
        };
        parameters.filter_map(timeout).next().map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Parses a whole head, that of an interim answer included; `method` is that of the request it answers.
    pub(super) fn parse(
        raw: Bytes,
        mut spare: Spare,
        fields: usize,
        method: Method,
    ) -> Result<Self, Refusal> {
        let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let room = headers.get_mut(..fields.min(MOST_FIELDS)).unwrap_or_default();
        match ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &raw, room) {
            Ok(httparse::Status::Complete(length)) if length == raw.len() => {}
            Ok(_) => return Err(Refusal::bad("the head has no end")),
            Err(error) => return Err(broken(error)),
        }
        let Some(status @ 100..=599) = parsed.code else {
            return Err(Refusal::bad("the status is not one of HTTP"));
        };
        let http10 = parsed.version == Some(0);
        let control = Control::read(parsed.headers, &raw, &mut spare)?;
        let framing = match framing(&control, http10)? {
            // Such answers end with their head, whatever their fields announce (RFC 9112 6.3).
            _ if method == Method::Head || matches!(status, 100..=199 | 204 | 304) => Framing::None,
            Framing::None => Framing::UntilClose,
            framing => framing,
        };
        let keep_alive = persists(&control, http10) && framing != Framing::UntilClose;
        Ok(Self { status, framing, keep_alive, fields: spare.into_fields(raw) })
    }
}

/// Framing as the fields tell it, the same on both sides: one length, or chunks, or nothing.
fn framing(control: &Control<'_>, http10: bool) -> Result<Framing, Refusal> {
    match (control.content_length, control.transfer_encoding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(Refusal::bad("Content-Length and Transfer-Encoding exclude each other")),
        (Some(value), None) => length(value).map(Framing::Length),
        (None, Some(_)) if http10 => Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding")),
        (None, Some(value)) => only_chunked(value).map(|()| Framing::Chunked),
    }
}

fn request_framing(control: &Control<'_>, method: Method, http10: bool) -> Result<Framing, Refusal> {
    match framing(control, http10)? {
        // It could only end with the connection, and then nobody could be answered (RFC 1945 8.3).
        Framing::None if http10 && matches!(method, Method::Post | Method::Put | Method::Patch) => {
            Err(Refusal::bad("an HTTP/1.0 request with a body needs a Content-Length"))
        }
        framing => Ok(framing),
    }
}

/// `Content-Length` is digits only (RFC 9110 8.6); nineteen always fit.
fn length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::bad("Content-Length is not a number"));
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// `chunked` is the one transfer coding there is; a coding that is merely unknown is 501 (RFC 9112 6.1), everything
/// that could hide a `chunked` from one of two parsers is 400.
fn only_chunked(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut ended = false;
    for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let name = coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_chunked = name.eq_ignore_ascii_case(b"chunked");
        let is_sound = !name.is_empty() && name.iter().copied().all(is_token);
        if ended || !is_sound || is_chunked && coding != name {
            return Err(Refusal::bad("Transfer-Encoding is malformed"));
        }
        ended = is_chunked;
    }
    Err(Refusal::new(501, "unknown Transfer-Encoding"))
}

/// Whether the connection outlives the message (RFC 9112 9.3).
fn persists(control: &Control<'_>, http10: bool) -> bool {
    !control.close && (!http10 || control.keep_alive)
}

/// The one `Host` a request must have (RFC 9112 3.2); HTTP/1.0 knew none.
fn host<'h>(control: &Control<'h>, http10: bool) -> Result<&'h [u8], Refusal> {
    match control.hosts {
        0 if http10 => Ok(b""),
        0 => Err(Refusal::bad("Host is missing")),
        1 if is_authority(control.host) => Ok(control.host),
        1 => Err(Refusal::bad("Host is malformed")),
        _ => Err(Refusal::bad("Host is repeated")),
    }
}

/// `host [":" port]`. The host is a name of letters, digits and `-._~`, or an address in brackets: sub-delimiters and
/// escapes, which RFC 3986 3.2.2 knows as well, are in no host name and only help to confuse.
fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = if let Some(literal) = authority.strip_prefix(b"[") {
        let Some(end) = memchr(b']', literal) else { return false };
        let (address, rest) = literal.split_at(end);
        if !address.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')) {
            return false;
        }
        (address, rest.get(1..).unwrap_or_default())
    } else {
        let end = memchr(b':', authority).unwrap_or(authority.len());
        let (name, rest) = authority.split_at(end);
        if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
        {
            return false;
        }
        (name, rest)
    };
    !host.is_empty() && is_port(port)
}

/// Nothing, or a colon and at most 65535; no digits mean the scheme's own port (RFC 3986 3.2.3).
fn is_port(port: &[u8]) -> bool {
    match port {
        [] => true,
        [b':', digits @ ..] if digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().fold(0, |port, digit| port * 10 + u32::from(digit - b'0')) <= 65_535
        }
        _ => false,
    }
}

/// A request target (RFC 9112 3.2) in its parts.
struct Target<'h> {
    authority: Option<&'h str>,
    path: &'h str,
    query: Option<&'h str>,
}

impl<'h> Target<'h> {
    fn parse(method: Method, target: &'h str) -> Result<Self, Refusal> {
        if !target.is_ascii() || memchr(b'#', target.as_bytes()).is_some() {
            return Err(Refusal::bad("a byte in the request target is out of place"));
        }
        if target.starts_with('/') {
            return Self::split(None, target);
        }
        if target == "*" && method == Method::Options {
            return Ok(Self { authority: None, path: target, query: None });
        }
        let rest = match target.split_once("://") {
            Some((scheme, rest))
                if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
            {
                rest
            }
            _ => return Err(Refusal::bad("the request target has no form of HTTP")),
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if !is_authority(authority.as_bytes()) {
            return Err(Refusal::bad("the authority of the request target is malformed"));
        }
        Self::split(Some(authority), rest)
    }

    fn split(authority: Option<&'h str>, rest: &'h str) -> Result<Self, Refusal> {
        let (path, query) = match memchr(b'?', rest.as_bytes()).and_then(|at| rest.split_at_checked(at)) {
            Some((path, query)) => (path, query.get(1..)),
            None => (rest, None),
        };
        if !has_sound_escapes(path.as_bytes()) {
            return Err(Refusal::bad("an escape in the path is malformed"));
        }
        Ok(Self { authority, path, query })
    }
}

/// Every `%` begins an escape, and none is of NUL, where the path would end for some (RFC 3986 2.1).
fn has_sound_escapes(mut path: &[u8]) -> bool {
    while let Some(at) = memchr(b'%', path) {
        match path.get(at + 1..) {
            Some([b'0', b'0', ..]) => return false,
            Some([high, low, rest @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                path = rest
            }
            _ => return false,
        }
    }
    true
}

/// The first line ends in a well-formed version, though not one of ours (RFC 9110 15.6.6).
fn is_other_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(version.strip_prefix(b"HTTP/"), Some([major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'])
        if (*major, *minor) != (b'1', b'0') && (*major, *minor) != (b'1', b'1'))
}

fn broken(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::new(431, "the head has too many fields"),
        httparse::Error::HeaderName => Refusal::bad("a field name is malformed"),
        httparse::Error::HeaderValue => Refusal::bad("a field value is malformed"),
        httparse::Error::Token | httparse::Error::Version => Refusal::bad("the first line is malformed"),
        httparse::Error::Status => Refusal::bad("the status line is malformed"),
        httparse::Error::NewLine => Refusal::bad("a line has no proper end"),
    }
}
