//! The reading side: bytes in any pieces become pieces of data and ends of events.

use bytes::{Buf, Bytes};
use memchr::memchr2;
use std::borrow::Cow;
use std::collections::VecDeque;

/// The longest value of an `id`, `event` or `retry` field in bytes; a field that is longer is ignored.
pub const LONGEST_FIELD: usize = 4096;

const BOM: &[u8; 3] = b"\xef\xbb\xbf";

/// What a stream is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// A piece of the current event's data, never empty. The lines of one event are joined by a piece `\n`.
    Data(Bytes),
    /// The blank line that ends an event. An event without any known field has no end.
    End(End),
}

/// What an event said besides its data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct End {
    /// Its type; `None` is `message`.
    pub event: Option<Cow<'static, str>>,
    /// The last event id from now on; may be empty.
    pub id: Option<Bytes>,
    /// The reconnection time from now on, in milliseconds.
    pub retry: Option<u64>,
    /// Whether it had a data line, even an empty one. Without one there is no event, but `id` and `retry` count.
    pub data: bool,
}

/// A stream under way. [`feed`](Self::feed) it, then take [`next`](Self::next) until `None`.
#[derive(Debug, Default)]
pub struct Parser {
    input: VecDeque<Bytes>,
    state: State,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
    /// The start of a field name, as much as tells the known ones from others.
    name: Name,
    /// The value of a field other than data, as far as it came in earlier pieces.
    value: Vec<u8>,
    /// What is known of the current event.
    event: End,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// The stream's first bytes, which may be a byte order mark.
    #[default]
    Bom,
    /// At the start of a line, or in the name.
    Name,
    /// Behind the colon, where one space is skipped.
    Space(Field),
    /// In the value.
    Value(Field),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Data,
    Event,
    Id,
    Retry,
    /// Unknown, too long, or a comment.
    Ignored,
}

/// The first bytes of a field name: one more than the longest known name has.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    bytes: [u8; 6],
    length: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.length) {
            *slot = byte;
            self.length += 1;
        }
    }

    fn is_empty(self) -> bool {
        self.length == 0
    }

    fn field(self) -> Field {
        match self.bytes.get(..self.length) {
            Some(b"data") => Field::Data,
            Some(b"event") => Field::Event,
            Some(b"id") => Field::Id,
            Some(b"retry") => Field::Retry,
            _ => Field::Ignored,
        }
    }
}

impl Parser {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What comes is no stream's beginning: a byte order mark in it would be one of its bytes.
    pub(crate) fn go_on(&mut self) {
        if self.state == State::Bom {
            self.state = State::Name;
        }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.input.push_back(bytes);
        }
    }

    /// Whether all that came belongs to events that have ended, and there was some.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        let at_start = self.state == State::Name && self.name.is_empty() && !self.after_cr;
        at_start && self.input.is_empty() && self.event == End::default()
    }

    /// The next item; `None` when more bytes are needed.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: it asks for more input")]
    pub fn next(&mut self) -> Option<Item> {
        loop {
            let piece = self.input.front_mut()?;
            let Some(&byte) = piece.first() else {
                self.input.pop_front();
                continue;
            };
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                piece.advance(1);
                continue;
            }
            let item = match self.state {
                State::Bom => {
                    self.order_mark(byte);
                    None
                }
                State::Name => self.name(byte),
                State::Space(field) => {
                    if byte == b' ' {
                        piece.advance(1);
                    }
                    self.state = State::Value(field);
                    None
                }
                State::Value(field) => self.value(field),
            };
            if item.is_some() {
                return item;
            }
        }
    }

    /// Bytes that began like a byte order mark and are none are the start of the first field name.
    fn order_mark(&mut self, byte: u8) {
        if BOM.get(self.name.length) != Some(&byte) {
            self.state = State::Name;
            return;
        }
        self.name.push(byte);
        self.skip(1);
        if self.name.length == BOM.len() {
            self.name = Name::default();
            self.state = State::Name;
        }
    }

    fn name(&mut self, byte: u8) -> Option<Item> {
        // Nearly every name comes in one piece, and is one of these two.
        let whole = match self.input.front().filter(|_| self.name.is_empty()).map(Bytes::as_ref) {
            Some([b'd', b'a', b't', b'a', b':', ..]) => Some((5, Field::Data)),
            Some([b'e', b'v', b'e', b'n', b't', b':', ..]) => Some((6, Field::Event)),
            _ => None,
        };
        if let Some((length, field)) = whole {
            self.skip(length);
            self.state = State::Space(field);
            return self.begin(field);
        }
        match byte {
            b':' => {
                self.skip(1);
                let field = self.name.field();
                self.state = State::Space(field);
                self.begin(field)
            }
            b'\r' | b'\n' if self.name.is_empty() => {
                self.end_line(byte);
                let event = std::mem::take(&mut self.event);
                (event != End::default()).then_some(Item::End(event))
            }
            // A line without a colon is a field with an empty value; the value's state takes the line's end.
            b'\r' | b'\n' => {
                let field = self.name.field();
                self.state = State::Value(field);
                self.begin(field)
            }
            _ => {
                self.skip(1);
                self.name.push(byte);
                None
            }
        }
    }

    fn begin(&mut self, field: Field) -> Option<Item> {
        self.name = Name::default();
        self.value.clear();
        let joins = field == Field::Data && std::mem::replace(&mut self.event.data, true);
        if field != Field::Data {
            return None;
        }
        joins.then(|| Item::Data(Bytes::from_static(b"\n")))
    }

    fn value(&mut self, mut field: Field) -> Option<Item> {
        let piece = self.input.front_mut()?;
        let end = memchr2(b'\r', b'\n', piece);
        let length = end.unwrap_or(piece.len());
        if field == Field::Data && length > 0 {
            return Some(Item::Data(piece.split_to(length)));
        }
        if self.value.len() + length > LONGEST_FIELD {
            field = Field::Ignored;
            self.state = State::Value(field);
        }
        let (part, behind) = piece.split_at_checked(length)?;
        match behind.first().copied() {
            Some(byte) => {
                if self.value.is_empty() {
                    self.event.learn(field, part);
                } else {
                    self.value.extend_from_slice(part);
                    self.event.learn(field, &self.value);
                }
                self.skip(length);
                self.end_line(byte);
            }
            None => {
                if field != Field::Ignored {
                    self.value.extend_from_slice(part);
                }
                self.skip(length);
            }
        }
        None
    }

    fn end_line(&mut self, byte: u8) {
        self.skip(1);
        self.after_cr = byte == b'\r';
        self.state = State::Name;
    }

    fn skip(&mut self, count: usize) {
        if let Some(piece) = self.input.front_mut() {
            piece.advance(count);
        }
    }
}

impl End {
    /// A field ended.
    fn learn(&mut self, field: Field, value: &[u8]) {
        match (field, value) {
            (Field::Event, b"") => self.event = None,
            (Field::Event, b"message") => self.event = Some(Cow::Borrowed("message")),
            (Field::Event, _) => {
                self.event = Some(Cow::Owned(String::from_utf8_lossy(value).into_owned()));
            }
            (Field::Id, _) if value.contains(&0) => {}
            (Field::Id, _) => self.id = Some(Bytes::copy_from_slice(value)),
            (Field::Retry, _) if value.iter().all(u8::is_ascii_digit) => {
                let number = str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
                self.retry = number.or(self.retry);
            }
            (Field::Retry | Field::Data | Field::Ignored, _) => {}
        }
    }
}
