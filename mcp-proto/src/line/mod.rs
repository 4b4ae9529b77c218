//! Messages on a byte stream, one a line (MCP, stdio transport), both directions.
//!
//! ```text
//! bytes   ─► Lines ─► one message each, or why one was too long
//! message ─► write ─► bytes
//! ```

use crate::jsonrpc::skim::Skim;
use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2_iter};
use std::collections::VecDeque;

/// Cuts a stream into lines. [`feed`](Self::feed) it, then take [`next`](Self::next) until `None`.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    input: VecDeque<Bytes>,
    /// The start of a line that came in several pieces.
    held: BytesMut,
    /// A line that is too long passes.
    skimmed: Option<Box<Skim>>,
}

/// A line was longer than allowed and has been skipped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TooLong {
    /// The id of the message on it, as written, if there was one.
    pub id: Option<Bytes>,
    /// Whether that message was a request or notification.
    pub has_method: bool,
}

impl Lines {
    /// For lines of at most `limit` bytes, their ends not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, input: VecDeque::new(), held: BytesMut::new(), skimmed: None }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.input.push_back(bytes);
        }
    }

    /// The next line that is not blank, without its end; `None` when more bytes are needed. A line within one piece
    /// is a slice of it.
    #[expect(clippy::should_implement_trait, reason = "None is not the end: it asks for more input")]
    pub fn next(&mut self) -> Option<Result<Bytes, TooLong>> {
        while let Some(mut piece) = self.input.pop_front() {
            let Some(end) = memchr(b'\n', &piece) else {
                self.hold(&piece);
                continue;
            };
            let part = piece.split_to(end);
            let rest = piece.split_off(1);
            if !rest.is_empty() {
                self.input.push_front(rest);
            }
            let line = self.line(part);
            if line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty()) {
                continue;
            }
            return Some(line);
        }
        None
    }

    /// What stands behind the last line end when the stream is over, as a line.
    pub fn end(&mut self) -> Option<Result<Bytes, TooLong>> {
        let line = self.line(Bytes::new());
        let blank = line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty());
        (!blank).then_some(line)
    }

    /// A piece without a line end.
    fn hold(&mut self, piece: &[u8]) {
        match &mut self.skimmed {
            Some(skimmed) => skimmed.push(piece),
            // One byte more may be the CR of the line's end.
            None if self.held.len() + piece.len() > self.limit + 1 => self.skim(piece),
            None => self.held.extend_from_slice(piece),
        }
    }

    fn skim(&mut self, piece: &[u8]) {
        let mut skimmed = Box::<Skim>::default();
        skimmed.push(&std::mem::take(&mut self.held));
        skimmed.push(piece);
        self.skimmed = Some(skimmed);
    }

    /// `part` completes a line.
    fn line(&mut self, part: Bytes) -> Result<Bytes, TooLong> {
        if self.skimmed.is_none() {
            let mut line = part.clone();
            if !self.held.is_empty() {
                self.held.extend_from_slice(&part);
                line = self.held.split().freeze();
            }
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if line.len() <= self.limit {
                return Ok(line);
            }
            self.skim(&line);
        } else if let Some(skimmed) = &mut self.skimmed {
            skimmed.push(&part);
        }
        let skimmed = self.skimmed.take().unwrap_or_default();
        Err(TooLong { id: skimmed.id().map(Bytes::copy_from_slice), has_method: skimmed.has_method() })
    }
}

/// Appends `message` and a line end. `message` is JSON: line breaks, which stand between its tokens only, are left out.
pub fn write(out: &mut Vec<u8>, message: &[u8]) {
    let mut from = 0;
    for at in memchr2_iter(b'\r', b'\n', message) {
        out.extend_from_slice(message.get(from..at).unwrap_or_default());
        from = at + 1;
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &mut Lines, pieces: &[&[u8]]) -> Vec<Result<String, TooLong>> {
        let mut all = Vec::new();
        for piece in pieces {
            lines.feed(Bytes::copy_from_slice(piece));
            while let Some(line) = lines.next() {
                all.push(line.map(|line| String::from_utf8(line.to_vec()).unwrap()));
            }
        }
        all
    }

    #[test]
    fn lines_end_with_or_without_cr_and_blank_ones_are_none() {
        let mut lines = Lines::new(100);
        let found =
            read(&mut lines, &[b"{\"a\":1}\r\n\n \t\r\n{\"b\":\"\\n\"}\n{\"c\"", b":2}\r", b"\nrest"]);
        assert_eq!(found, ["{\"a\":1}", "{\"b\":\"\\n\"}", "{\"c\":2}"].map(|line| Ok(line.to_owned())));
        assert_eq!(lines.end(), Some(Ok(Bytes::from_static(b"rest"))));
        assert_eq!(lines.end(), None);
    }

    #[test]
    fn a_line_within_one_piece_is_not_copied() {
        let mut lines = Lines::new(100);
        let piece = Bytes::from_static(b"one\ntwo\n");
        lines.feed(piece.clone());
        assert_eq!(lines.next().unwrap().unwrap().as_ptr(), piece.as_ptr());
        assert_eq!(lines.next().unwrap().unwrap().as_ptr(), piece[4..].as_ptr());
    }

    #[test]
    fn a_message_is_written_on_one_line() {
        let mut out = Vec::new();
        write(&mut out, b"{\r\n  \"a\": \"\\n\"\n}");
        assert_eq!(out, b"{  \"a\": \"\\n\"}\n");
    }

    proptest! {
        #[test]
        fn a_line_is_too_long_however_it_is_cut(
            spare in 0usize..30,
            over in any::<bool>(),
            cr in any::<bool>(),
            cuts in prop::collection::vec(0usize..80, 0..6),
        ) {
            let message = format!(r#"{{"result":"{}","id":5}}"#, "x".repeat(20 + spare));
            let limit = message.len() - usize::from(over);
            let text = format!("{message}{}\nnext\n", if cr { "\r" } else { "" });
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
            let first = match over {
                true => Err(TooLong { id: Some(Bytes::from_static(b"5")), has_method: false }),
                false => Ok(message),
            };
            prop_assert_eq!(read(&mut Lines::new(limit), &pieces), [first, Ok("next".to_owned())]);
        }
    }
}
