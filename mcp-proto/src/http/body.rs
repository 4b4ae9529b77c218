//! Bodies: the same decoder for both directions. It takes bytes from the front of what is held and hands them out in
//! the pieces they came in; chunk framing is consumed byte by byte, so it doesn't matter where the input was cut.

use super::Refusal;
use super::head::Framing;
use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// Bytes of chunk extensions one body may carry (RFC 9112 7.1.1 asks for a limit; nobody uses them).
const EXTENSIONS: usize = 256;

/// Bounds of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of content.
    pub(super) content: u64,
    /// Bytes of a head, and once more of the trailers.
    pub(super) head: usize,
    /// Fields in either.
    pub(super) fields: usize,
}

/// Digits of a chunk size: they fill the number. More of them could only be zeros in front, to hide behind.
const DIGITS: usize = 16;

/// A body that is being read.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// Everything that comes.
    UntilClose,
}

/// What [`Body::take`] found.
#[derive(Debug)]
pub(super) enum Piece {
    Data(Bytes),
    End,
    More,
}

impl Body {
    /// Refuses at once what announces more than `bounds` allow.
    pub(super) fn new(framing: Framing, bounds: &Bounds) -> Result<Self, Refusal> {
        match framing {
            Framing::Length(length) if length > bounds.content => Err(TOO_LARGE),
            Framing::Length(length) => Ok(Self::Length(length)),
            Framing::None => Ok(Self::Length(0)),
            Framing::Chunked => Ok(Self::Chunked(Chunked::default())),
            Framing::UntilClose => Ok(Self::UntilClose),
        }
    }

    /// The next piece of it, from the front of `held`.
    pub(super) fn take(&mut self, held: &mut BytesMut, bounds: &Bounds) -> Result<Piece, Refusal> {
        match self {
            Self::Length(0) => Ok(Piece::End),
            Self::Chunked(chunked) => chunked.take(held, bounds),
            _ if held.is_empty() => Ok(Piece::More),
            Self::Length(left) => Ok(Piece::Data(take_some(held, left))),
            Self::UntilClose => Ok(Piece::Data(take(held, held.len()))),
        }
    }
}

/// A body that is bigger than it may be.
const TOO_LARGE: Refusal = Refusal::new(413, "the body is too large");

/// The first `count` bytes of `held`. What is emptied lets go of its block: an idle connection holds none.
pub(super) fn take(held: &mut BytesMut, count: usize) -> Bytes {
    if count >= held.len() { std::mem::take(held).freeze() } else { held.split_to(count).freeze() }
}

/// As much of `held` as is `left` to take.
fn take_some(held: &mut BytesMut, left: &mut u64) -> Bytes {
    let count = usize::try_from(*left).map_or(held.len(), |left| left.min(held.len()));
    *left -= count as u64;
    take(held, count)
}

/// The chunked coding (RFC 9112 7.1), read strictly.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: Part,
    /// Content so far, the chunk at hand included.
    total: u64,
    /// Bytes of extensions so far.
    extensions: usize,
    /// Bytes and lines of trailers so far.
    trailers: (usize, usize),
}

/// Where in the coding the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// In the size, after so many digits.
    Size { size: u64, digits: u8 },
    /// In an extension.
    Extension { size: u64 },
    /// Before the LF of the size line.
    SizeEnd { size: u64 },
    /// In the data, so many bytes from its end.
    Data { left: u64 },
    /// Before the CR after the data.
    DataCr,
    /// Before the LF after the data.
    DataEnd,
    /// In a trailer line, of which so many bytes have no LF.
    Trailer { searched: usize },
    /// After the last line.
    Done,
}

impl Default for Part {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    fn take(&mut self, held: &mut BytesMut, bounds: &Bounds) -> Result<Piece, Refusal> {
        loop {
            match &mut self.at {
                Part::Data { left } if *left > 0 => {
                    if held.is_empty() {
                        return Ok(Piece::More);
                    }
                    return Ok(Piece::Data(take_some(held, left)));
                }
                Part::Data { .. } if held.starts_with(b"\r\n") => {
                    self.at = Part::default();
                    skip(held, 2);
                }
                Part::Data { .. } => self.at = Part::DataCr,
                Part::Size { digits: 0, .. } if let Some((size, length)) = plain_size(held) => {
                    self.at = self.sized(size, bounds)?;
                    skip(held, length);
                }
                Part::Trailer { .. } => {
                    if !self.trailer(held, bounds)? {
                        return Ok(Piece::More);
                    }
                }
                Part::Done => return Ok(Piece::End),
                _ => {
                    let Some(&byte) = held.first() else {
                        return Ok(Piece::More);
                    };
                    self.at = self.framing_byte(byte, bounds)?;
                    skip(held, 1);
                }
            }
        }
    }

    /// One byte of a size line, or of the line end after data.
    fn framing_byte(&mut self, byte: u8, bounds: &Bounds) -> Result<Part, Refusal> {
        match (self.at, byte) {
            (Part::Size { size, digits }, _) if usize::from(digits) < DIGITS && byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Ok(Part::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
            }
            (Part::Size { size, digits: 1.. }, b'\r') => Ok(Part::SizeEnd { size }),
            (Part::Size { size, digits: 1.. }, b';') => self.extension(size),
            (Part::Size { .. }, _) => Err(Refusal::bad("a chunk size is malformed")),
            (Part::Extension { size }, b'\r') => Ok(Part::SizeEnd { size }),
            (Part::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => self.extension(size),
            (Part::Extension { .. }, _) => Err(Refusal::bad("a chunk extension is malformed")),
            (Part::SizeEnd { size }, b'\n') => self.sized(size, bounds),
            (Part::DataCr, b'\r') => Ok(Part::DataEnd),
            (Part::DataEnd, b'\n') => Ok(Part::default()),
            _ => Err(Refusal::bad("a chunk does not end in CRLF")),
        }
    }

    /// Behind a size line.
    fn sized(&mut self, size: u64, bounds: &Bounds) -> Result<Part, Refusal> {
        if size == 0 {
            return Ok(Part::Trailer { searched: 0 });
        }
        self.total = self.total.saturating_add(size);
        if self.total > bounds.content { Err(TOO_LARGE) } else { Ok(Part::Data { left: size }) }
    }

    fn extension(&mut self, size: u64) -> Result<Part, Refusal> {
        self.extensions += 1;
        if self.extensions > EXTENSIONS {
            return Err(Refusal::bad("chunk extensions are too long"));
        }
        Ok(Part::Extension { size })
    }

    /// Drops one line of the trailers, if it is whole. They are never merged into the head: what a field there
    /// would do to framing, routing or authorization is done by now (RFC 9110 6.5).
    fn trailer(&mut self, held: &mut BytesMut, bounds: &Bounds) -> Result<bool, Refusal> {
        const TOO_LONG: Refusal = Refusal::new(431, "the trailers are too long");
        let Part::Trailer { searched } = self.at else { return Ok(false) };
        let (bytes, lines) = self.trailers;
        let Some(at) = memchr(b'\n', held.get(searched..).unwrap_or_default()) else {
            if bytes + held.len() > bounds.head {
                return Err(TOO_LONG);
            }
            self.at = Part::Trailer { searched: held.len() };
            return Ok(false);
        };
        let length = searched + at + 1;
        let line = held.get(..length).unwrap_or_default();
        if bytes + length > bounds.head {
            return Err(TOO_LONG);
        }
        if line == b"\r\n" {
            self.at = Part::Done;
        } else {
            if lines >= bounds.fields {
                return Err(TOO_LONG);
            }
            // A sound line and no blank one after it: httparse asks for more.
            let mut room = [httparse::EMPTY_HEADER];
            let sound = matches!(httparse::parse_headers(line, &mut room), Ok(httparse::Status::Partial));
            if !sound || !line.ends_with(b"\r\n") {
                return Err(Refusal::bad("a trailer is malformed"));
            }
            self.trailers = (bytes + length, lines + 1);
            self.at = Part::Trailer { searched: 0 };
        }
        skip(held, length);
        Ok(true)
    }
}

/// The size in the line at the start of `held`, and how long that is, if it is there whole and says no more.
fn plain_size(held: &[u8]) -> Option<(u64, usize)> {
    let digits = held.iter().take(DIGITS).map_while(|byte| char::from(*byte).to_digit(16));
    let (size, count) = digits.fold((0, 0), |(size, count), digit| (size << 4 | u64::from(digit), count + 1));
    let is_whole = count > 0 && held.get(count..)?.starts_with(b"\r\n");
    is_whole.then_some((size, count + 2))
}

/// Drops the first `count` bytes of `held`, and its block with the last of them.
pub(super) fn skip(held: &mut BytesMut, count: usize) {
    held.advance(count.min(held.len()));
    if held.is_empty() {
        *held = BytesMut::new();
    }
}
