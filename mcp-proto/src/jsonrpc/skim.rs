//! What can be told of a message that is too long to be kept: its id, and whether it is an answer.
//!
//! The message passes byte by byte and is not stored, so whoever waits for it can be told why it never comes. Its
//! grammar is not checked: what is found in text that is no JSON belongs to nobody.

use super::envelope::decode;

/// The longest id and the longest spelling of a key that are read.
const LONGEST: usize = 256;

/// A message that passes.
#[derive(Debug, Default)]
pub struct Skim {
    depth: usize,
    text: bool,
    escaped: bool,
    reads: Reads,
    read: Vec<u8>,
    id: Option<Vec<u8>>,
    method: bool,
    /// Two ids are none.
    twice: bool,
}

/// What the bytes at the top level belong to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Reads {
    #[default]
    Nothing,
    Key,
    Id,
}

impl Skim {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for byte in piece {
            self.byte(*byte);
        }
    }

    /// The id as it is written, if there is one and it was seen whole.
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref().filter(|id| !self.twice && !id.is_empty() && id.len() <= LONGEST)
    }

    /// Whether it has a method: it is a request or notification, not an answer.
    #[must_use]
    pub fn has_method(&self) -> bool {
        self.method
    }

    fn byte(&mut self, byte: u8) {
        if self.text {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.text = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.text = true;
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.begin(if self.depth == 1 && byte == b'{' { Reads::Key } else { Reads::Nothing });
            }
            b'}' | b']' => {
                self.end_value();
                self.depth = self.depth.saturating_sub(1);
            }
            b',' if self.depth == 1 => {
                self.end_value();
                self.begin(Reads::Key);
            }
            b':' if self.depth == 1 => {
                let key = str::from_utf8(&self.read).ok().and_then(decode);
                let reads = match key.as_deref() {
                    Some("id") => Reads::Id,
                    Some("method") => {
                        self.method = true;
                        Reads::Nothing
                    }
                    _ => Reads::Nothing,
                };
                self.begin(reads);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => self.keep(byte),
        }
    }

    fn begin(&mut self, reads: Reads) {
        self.reads = reads;
        self.read.clear();
    }

    fn keep(&mut self, byte: u8) {
        // One byte more than can be used shows that it is too long.
        if self.reads != Reads::Nothing && self.read.len() <= LONGEST {
            self.read.push(byte);
        }
    }

    fn end_value(&mut self) {
        if self.depth == 1 && self.reads == Reads::Id {
            self.twice |= self.id.replace(std::mem::take(&mut self.read)).is_some();
            self.reads = Reads::Nothing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_the_message_itself_is_found_wherever_it_stands() {
        for (message, id, method) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#, Some("7"), false),
            (r#"{"result":{"x":[{"id":8},"\"id\":9,"]},"jsonrpc":"2.0","id" : 12 }"#, Some("12"), false),
            (r#"{"result":"a\\","id":"a \"b\" , }"}"#, Some(r#""a \"b\" , }""#), false),
            (r#"{"\u0069d":-1.5e3,"method":"x"}"#, Some("-1.5e3"), true),
            (r#"{"params":{"id":1},"method":"x"}"#, None, true),
            (r#"{"id":1,"id":2}"#, None, false),
            (r#"[{"id":1}]"#, None, false),
            (r#"{"id":{"id":1}}"#, None, false),
            (r#"{"result":{"#, None, false),
            ("no JSON at all: }}}", None, false),
        ] {
            for cut in 0..message.len() {
                let mut skim = Skim::default();
                skim.push(&message.as_bytes()[..cut]);
                skim.push(&message.as_bytes()[cut..]);
                assert_eq!(skim.id(), id.map(str::as_bytes), "{message}");
                assert_eq!(skim.has_method(), method, "{message}");
            }
        }
        let mut skim = Skim::default();
        skim.push(format!(r#"{{"id":"{}"}}"#, "x".repeat(LONGEST)).as_bytes());
        assert_eq!(skim.id(), None, "longer than any that is kept");
    }
}
