//! The header fields of one head: its bytes, and where names and values stand in them.

use super::Refusal;
use bytes::Bytes;
use routing::HeaderEdits;
use std::fmt;

/// Header fields of one head. Names are compared ignoring ASCII case; values come without the blanks around them.
///
/// `Debug` shows names only: values carry credentials.
#[derive(Clone, Default)]
pub struct Fields {
    /// The whole head, first line included; behind it what was added.
    raw: Bytes,
    spans: Vec<Field>,
    /// Some were added.
    edited: bool,
}

/// One field line.
#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
    kind: Kind,
    /// Meant for this connection alone.
    hop: bool,
    /// Not the client's own: a rule of the gateway's gave it.
    given: bool,
}

/// A part of a head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Fields {
    /// The value of the first line of that name.
    #[must_use]
    #[inline]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The value of the first line of that name, when it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// How many lines of that name there are.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.values(name).count()
    }

    /// All fields, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.spans.iter().map(|field| (field.name.text(&self.raw), field.value.bytes(&self.raw)))
    }

    /// The fields whose names begin with `start`, in order.
    pub(crate) fn starting(&self, start: &str) -> impl Iterator<Item = (&str, &[u8])> {
        let begins = |field: &&Field| {
            let name = field.name.bytes(&self.raw).get(..start.len());
            name.is_some_and(|name| name.eq_ignore_ascii_case(start.as_bytes()))
        };
        let fields = self.spans.iter().filter(begins);
        fields.map(|field| (field.name.text(&self.raw), field.value.bytes(&self.raw)))
    }

    /// The fields that may travel on: all but those that belong to one connection (RFC 9110 7.6.1), the ones
    /// `Connection` names among them.
    pub fn end_to_end(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let fields = self.spans.iter().filter(|field| !field.hop);
        fields.map(|field| (field.name.text(&self.raw), field.value.bytes(&self.raw)))
    }

    /// Whether the comma-separated lists of all lines of that name contain `token`, ignoring case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name).flat_map(tokens).any(|each| each.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The values of all lines of that name.
    #[inline]
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let kind = Kind::of(name);
        let is_it = move |field: &&Field| {
            field.kind == kind
                && (kind.is_one_name() || field.name.bytes(&self.raw).eq_ignore_ascii_case(name.as_bytes()))
        };
        self.spans.iter().filter(is_it).map(|field| field.value.bytes(&self.raw))
    }

    /// Changes those of which `may` is true as a rule wants it (Gateway API v1, HTTPHeaderFilter).
    pub(crate) fn edit(&mut self, edits: &HeaderEdits, may: impl Fn(&str) -> bool) {
        for (name, _) in edits.set.iter().filter(|(name, _)| may(name)) {
            self.remove(name);
        }
        let added = edits.set.iter().chain(&edits.add).map(|(name, value)| (name.as_str(), value.as_str()));
        self.add(added.filter(|(name, _)| may(name)));
        for name in edits.remove.iter().filter(|name| may(name)) {
            self.remove(name);
        }
    }

    /// Puts a field in place of all of that name.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(std::iter::once((name, value)));
    }

    fn add<'n>(&mut self, fields: impl Iterator<Item = (&'n str, &'n str)>) {
        let mut fields = fields.peekable();
        if fields.peek().is_none() {
            return;
        }
        let mut raw = self.raw.to_vec();
        let mut append = |text: &str| {
            let start = raw.len() as u32;
            raw.extend_from_slice(text.as_bytes());
            Span { start, end: raw.len() as u32 }
        };
        let spans = fields.map(|(name, value)| Field {
            name: append(name),
            value: append(value),
            kind: Kind::of(name),
            hop: is_of_connection(name),
            given: true,
        });
        self.spans.extend(spans);
        self.raw = raw.into();
        self.edited = true;
    }

    fn remove(&mut self, name: &str) {
        let Self { raw, spans, .. } = self;
        spans.retain(|field| !field.name.bytes(raw).eq_ignore_ascii_case(name.as_bytes()));
    }

    /// Whether a rule has added any.
    pub(crate) fn is_edited(&self) -> bool {
        self.edited
    }

    /// What a rule has added.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let given = self.spans.iter().filter(|field| field.given && !field.hop);
        given.map(|field| (field.name.text(&self.raw), field.value.bytes(&self.raw)))
    }

    /// The first line of that name that the client sent itself.
    pub(crate) fn sent(&self, name: &str) -> Option<&[u8]> {
        let is_it = |field: &&Field| field.name.bytes(&self.raw).eq_ignore_ascii_case(name.as_bytes());
        self.spans.iter().find(|field| !field.given && is_it(field)).map(|field| field.value.bytes(&self.raw))
    }

    /// The head itself.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Gives up the block the head was read into, for a head that is kept for long.
    pub(crate) fn detach(&mut self) {
        self.raw = Bytes::copy_from_slice(&self.raw);
    }

    /// The same, and gives up all fields but those that `keeps` wants; of the rest of the head only `parts` stay.
    pub(super) fn shed<const PARTS: usize>(
        &mut self,
        parts: [&mut Span; PARTS],
        keeps: impl Fn(&str) -> bool,
    ) {
        let Self { raw, spans, .. } = self;
        spans.retain(|field| field.given || !field.hop && keeps(field.name.text(raw)));
        spans.shrink_to_fit();
        let fields = spans.iter_mut().flat_map(|field| [&mut field.name, &mut field.value]);
        let mut kept = Vec::new();
        for span in parts.into_iter().chain(fields) {
            let start = kept.len() as u32;
            kept.extend_from_slice(span.bytes(raw));
            *span = Span { start, end: kept.len() as u32 };
        }
        *raw = kept.into();
    }

    /// The room for spans, to be used for another head.
    pub(super) fn into_spare(mut self) -> Spare {
        self.spans.clear();
        Spare(self.spans)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Span {
    /// Where `part`, a slice of `raw`, stands in it.
    pub(super) fn of(part: &[u8], raw: &[u8]) -> Self {
        // Heads are far shorter than 4 GiB: their limit is checked before anything is parsed.
        let start = (part.as_ptr() as usize).wrapping_sub(raw.as_ptr() as usize) as u32;
        Self { start, end: start.wrapping_add(part.len() as u32) }
    }

    pub(super) fn bytes(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// For parts that were found to be ASCII.
    pub(super) fn text(self, raw: &[u8]) -> &str {
        str::from_utf8(self.bytes(raw)).unwrap_or_default()
    }
}

/// Room for the spans of the next head.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Field>);

/// What the fields say about the message that carries them, found in the one pass that also notes where they stand.
/// It borrows from the head, not from [`Fields`], so that both can be had at once.
#[derive(Default)]
pub(super) struct Control<'h> {
    pub(super) hosts: usize,
    pub(super) host: &'h [u8],
    pub(super) content_length: Option<&'h [u8]>,
    pub(super) transfer_encoding: Option<&'h [u8]>,
    /// `Connection: close`.
    pub(super) close: bool,
    /// `Connection: keep-alive`.
    pub(super) keep_alive: bool,
    /// `Expect: 100-continue`.
    pub(super) expects_continue: bool,
    /// `Expect:` anything else.
    pub(super) expects_other: bool,
    /// `Connection` names further fields.
    names: bool,
}

impl<'h> Control<'h> {
    /// Reads the fields of the head `raw`, and notes them in `spare`.
    pub(super) fn read(
        headers: &[httparse::Header<'h>],
        raw: &'h [u8],
        spare: &mut Spare,
    ) -> Result<Self, Refusal> {
        let spans = &mut spare.0;
        spans.clear();
        spans.reserve(headers.len());
        let mut control = Self::default();
        for header in headers {
            let kind = Kind::of(header.name);
            spans.push(Field {
                name: Span::of(header.name.as_bytes(), raw),
                value: Span::of(header.value, raw),
                kind,
                hop: kind.is_of_connection() && kind != Kind::ContentLength,
                given: false,
            });
            control.note(kind, header.value)?;
        }
        if control.names {
            let connection = || headers.iter().filter(|header| Kind::of(header.name) == Kind::Connection);
            for (field, header) in spans.iter_mut().zip(headers) {
                let mut named = connection().flat_map(|connection| tokens(connection.value));
                field.hop |= named.any(|token| token.eq_ignore_ascii_case(header.name.as_bytes()));
            }
        }
        Ok(control)
    }

    fn note(&mut self, kind: Kind, value: &'h [u8]) -> Result<(), Refusal> {
        match kind {
            Kind::Host => {
                self.hosts += 1;
                self.host = value;
            }
            // Equal or not, a second line has no meaning (RFC 9112 6.3).
            Kind::ContentLength if self.content_length.replace(value).is_some() => {
                return Err(Refusal::bad("Content-Length is repeated"));
            }
            Kind::TransferEncoding if self.transfer_encoding.replace(value).is_some() => {
                return Err(Refusal::bad("Transfer-Encoding is repeated"));
            }
            Kind::Connection => return self.note_connection(value),
            Kind::Expect => {
                let other = |token: &[u8]| !token.eq_ignore_ascii_case(b"100-continue");
                self.expects_continue = true;
                self.expects_other |=
                    value.is_empty() || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).any(other);
            }
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"content-length") || token.eq_ignore_ascii_case(b"host") {
                // To remove them would change what the message is, or whom it is for (RFC 9110 7.6.1).
                return Err(Refusal::bad("Connection names a field that is not its own"));
            } else {
                self.names = true;
            }
        }
        Ok(())
    }
}

impl Spare {
    /// Makes fields of the head the spans were read from.
    pub(super) fn into_fields(self, raw: Bytes) -> Fields {
        Fields { raw, spans: self.0, edited: false }
    }
}

/// Fields that are looked for in the head of every call, and those the codecs act on: told apart once, as the head is read,
/// and by length first, since most names differ from all of them by that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Host,
    Expect,
    Connection,
    KeepAlive,
    ContentLength,
    TransferEncoding,
    Accept,
    ContentType,
    Origin,
    Via,
    SessionId,
    ProtocolVersion,
    McpMethod,
    McpName,
    /// For one connection only, and of no meaning to the codecs.
    Hop,
    Other,
}

impl Kind {
    /// Of a name that is a token. Most are known where this is called from.
    #[inline]
    fn of(name: &str) -> Self {
        let name = name.as_bytes();
        match name.len() {
            2 if is(name, b"te") => Self::Hop,
            3 if is(name, b"via") => Self::Via,
            4 if is(name, b"host") => Self::Host,
            6 if is(name, b"accept") => Self::Accept,
            6 if is(name, b"origin") => Self::Origin,
            6 if is(name, b"expect") => Self::Expect,
            7 if is(name, b"trailer") || is(name, b"upgrade") => Self::Hop,
            8 if is(name, b"mcp-name") => Self::McpName,
            10 if is(name, b"connection") => Self::Connection,
            10 if is(name, b"keep-alive") => Self::KeepAlive,
            10 if is(name, b"mcp-method") => Self::McpMethod,
            12 if is(name, b"content-type") => Self::ContentType,
            14 if is(name, b"content-length") => Self::ContentLength,
            14 if is(name, b"mcp-session-id") => Self::SessionId,
            16 if is(name, b"proxy-connection") => Self::Hop,
            17 if is(name, b"transfer-encoding") => Self::TransferEncoding,
            18 if is(name, b"proxy-authenticate") => Self::Hop,
            19 if is(name, b"proxy-authorization") => Self::Hop,
            20 if is(name, b"mcp-protocol-version") => Self::ProtocolVersion,
            _ => Self::Other,
        }
    }

    /// Whether all fields of this kind have the same name.
    fn is_one_name(self) -> bool {
        !matches!(self, Self::Hop | Self::Other)
    }

    fn is_of_connection(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::KeepAlive | Self::ContentLength | Self::TransferEncoding | Self::Hop
        )
    }
}

/// Whether `name`, a token, is `known`, which is of small letters and hyphens: among the bytes of tokens only a letter's
/// other case differs from these by that bit alone.
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let same = |name: &[u8; N]| name.iter().zip(known).fold(true, |same, (a, b)| same & (a | 0x20 == *b));
    <&[u8; N]>::try_from(name).is_ok_and(same)
}

/// Whether a field is meant for one connection, or frames the message on it.
pub(crate) fn is_of_connection(name: &str) -> bool {
    Kind::of(name).is_of_connection()
}

/// The elements of a comma-separated list; empty ones don't count (RFC 9110 5.6.1.2).
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// A byte of a token (RFC 9110 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
        | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}
