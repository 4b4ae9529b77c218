//! Bytes in any portions to lines of text of a bounded length.

/// What is kept of a line, in bytes.
const LONGEST: usize = 2048;

/// Takes bytes and gives lines to `say`.
pub(super) struct Lines<S> {
    line: Vec<u8>,
    /// The rest of the line is left out.
    cut: bool,
    say: S,
}

impl<S: FnMut(&str)> Lines<S> {
    pub(super) fn new(say: S) -> Self {
        Self { line: Vec::new(), cut: false, say }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LONGEST - self.line.len();
            self.cut |= text.len() > room;
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if ends {
                self.end();
            }
        }
    }

    /// There is no more of this line.
    pub(super) fn end(&mut self) {
        let text = String::from_utf8_lossy(&self.line);
        let text = text.trim_end();
        if !text.is_empty() {
            if self.cut { (self.say)(&format!("{text}…")) } else { (self.say)(text) }
        }
        self.line.clear();
        self.cut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(portions: &[&[u8]]) -> Vec<String> {
        let mut said = Vec::new();
        let mut lines = Lines::new(|line: &str| said.push(line.to_owned()));
        portions.iter().for_each(|portion| lines.push(portion));
        lines.end();
        said
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        assert_eq!(lines(&[b"one\r\ntw", b"o\n\n", b"", b"\nthree"]), ["one", "two", "three"]);
        assert_eq!(lines(&[b"not \xff UTF-8\n"]), ["not \u{fffd} UTF-8"]);
        assert!(lines(&[b"\n"]).is_empty());
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_not() {
        let long = [b'x'; LONGEST];
        let said = lines(&[&long, b"y\nnext\n", &long, b"\n"]);
        let whole = "x".repeat(LONGEST);
        assert_eq!(said, [format!("{whole}…"), "next".to_owned(), whole]);
    }
}
