//! The search for the end of a head: line by line, no byte looked at twice however the input is cut.

use super::Refusal;
use memchr::memchr_iter;

/// Longest first line of a head, without its line end.
const FIRST_LINE: usize = 8 << 10;

/// How far one head was searched.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Where the unfinished line begins.
    line: usize,
    /// Up to where no line end was left to find.
    searched: usize,
}

impl Lines {
    /// The length of the head at the front of `held`, its blank line included; `None` when the blank line has not
    /// come yet. Call it with the same bytes, and more behind them, until it has.
    ///
    /// A line may only end in CRLF: a bare LF is an end for one parser and not for the next (RFC 9112 2.2).
    ///
    /// The verdict must not depend on how the input was cut, so both length checks say the same of an unfinished
    /// line as they will of the finished one.
    pub(super) fn end(&mut self, held: &[u8], limit: usize) -> Result<Option<usize>, Refusal> {
        const LONG_LINE: Refusal = Refusal::new(414, "the first line is too long");
        const LONG_HEAD: Refusal = Refusal::new(431, "the head is too long");
        let longest = FIRST_LINE.min(limit);
        let base = self.searched;
        for at in memchr_iter(b'\n', held.get(base..).unwrap_or_default()) {
            let feed = base + at;
            let line = held.get(self.line..feed).unwrap_or_default();
            let whole = line.strip_suffix(b"\r");
            if self.line == 0 && whole.unwrap_or(line).len() > longest {
                return Err(LONG_LINE);
            }
            if feed >= limit {
                return Err(LONG_HEAD);
            }
            let Some(line) = whole else {
                return Err(Refusal::bad("a line ends without CR"));
            };
            self.line = feed + 1;
            if line.is_empty() {
                return Ok(Some(self.line));
            }
        }
        self.searched = held.len();
        match self.line {
            // One byte more than the longest line may be its CR.
            0 if held.len() > longest + 1 => Err(LONG_LINE),
            1.. if held.len() > limit => Err(LONG_HEAD),
            _ => Ok(None),
        }
    }
}
