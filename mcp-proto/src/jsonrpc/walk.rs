//! One pass over a JSON text that checks its grammar (RFC 8259) and tells where the values of interest stand.
//!
//! ```text
//! text ─► value ─┬─ of interest: looked into, by recursion ─► member, element ─► value
//!                └─ else: passed over, however deep it is ─► found, with its span
//! ```
//!
//! Nothing is decoded but keys of objects that are looked into, and those only when they are written with escapes.

use memchr::memchr2;
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// So deep a text is looked into, however much of it is of interest: this takes the stack.
const DEEPEST: usize = 127;

/// Which values are of interest.
pub(super) trait Shape {
    /// A place in the text, `Copy` and small.
    type Field: Copy;
    /// The place of a member of the object at `parent`.
    fn member(&mut self, parent: Self::Field, key: &[u8]) -> Self::Field;
    /// The place of an element of the array at `parent`.
    fn element(&mut self, parent: Self::Field) -> Self::Field;
    /// Whether to look into the object (`{`) or array (`[`) at `field`.
    fn opens(&self, field: Self::Field, bracket: u8) -> bool;
    /// The value at `field` stands at `span` of `text`; called when it ends.
    fn found(&mut self, field: Self::Field, text: &str, span: Range<usize>);
}

/// The text is no JSON, or is looked into too deep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// Walks `text`, whose first value is at `field`.
pub(super) fn walk<S: Shape>(text: &str, field: S::Field, shape: &mut S) -> Result<(), Malformed> {
    let mut walk = Walk { text, cursor: Cursor { bytes: text.as_bytes(), at: 0 }, shape };
    walk.cursor.skip_space();
    walk.value(field, 0)?;
    walk.cursor.end()
}

/// Whether `text` is JSON.
pub(super) fn is_json(text: &str) -> bool {
    Cursor { bytes: text.as_bytes(), at: 0 }.skip_text(usize::MAX, |_| true).is_ok()
}

/// Whether `text` is JSON, but for what its strings are in UTF-8, nests at most `depth` objects and arrays, and has no
/// key but such as are `known`. A key that is written with escapes is not.
pub(super) fn is_json_of(text: &[u8], depth: usize, known: impl Fn(&[u8]) -> bool) -> bool {
    let known = |key: &Key| {
        let inside = || text.get(key.span.start + 1..key.span.end - 1).unwrap_or_default();
        !key.is_escaped && known(inside())
    };
    Cursor { bytes: text, at: 0 }.skip_text(depth, known).is_ok()
}

struct Walk<'a, 's, S> {
    text: &'a str,
    cursor: Cursor<'a>,
    shape: &'s mut S,
}

impl<S: Shape> Walk<'_, '_, S> {
    /// The value that begins here.
    fn value(&mut self, field: S::Field, depth: usize) -> Result<(), Malformed> {
        let start = self.cursor.at;
        match self.cursor.peek() {
            bracket @ (b'{' | b'[') if self.shape.opens(field, bracket) => {
                if depth == DEEPEST {
                    return Err(Malformed);
                }
                self.cursor.at += 1;
                match bracket {
                    b'{' => self.members(field, depth + 1)?,
                    _ => self.elements(field, depth + 1)?,
                }
            }
            b'{' | b'[' => self.cursor.skip_value(usize::MAX, |_| true)?,
            _ => self.cursor.skip_scalar()?,
        }
        self.shape.found(field, self.text, start..self.cursor.at);
        Ok(())
    }

    /// Behind the opening bracket of an object.
    fn members(&mut self, parent: S::Field, depth: usize) -> Result<(), Malformed> {
        let mut more = self.cursor.has_more(b'}', true)?;
        while more {
            let key = self.cursor.skip_key()?;
            let field = self.shape.member(parent, &key.decoded(self.text)?);
            self.value(field, depth)?;
            more = self.cursor.has_more(b'}', false)?;
        }
        Ok(())
    }

    /// Behind the opening bracket of an array.
    fn elements(&mut self, parent: S::Field, depth: usize) -> Result<(), Malformed> {
        let mut more = self.cursor.has_more(b']', true)?;
        while more {
            let field = self.shape.element(parent);
            self.value(field, depth)?;
            more = self.cursor.has_more(b']', false)?;
        }
        Ok(())
    }
}

/// A place in a text that is good so far.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// The byte here; behind the end one that means nothing in JSON.
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Whether another member or element comes, and where it begins; else behind `bracket`, which ends them.
    fn has_more(&mut self, bracket: u8, first: bool) -> Result<bool, Malformed> {
        self.skip_space();
        match self.peek() {
            b',' if !first => self.at += 1,
            byte if byte == bracket => {
                self.at += 1;
                return Ok(false);
            }
            _ if first => {}
            _ => return Err(Malformed),
        }
        self.skip_space();
        Ok(true)
    }

    /// From a key to its value.
    fn skip_key(&mut self) -> Result<Key, Malformed> {
        if self.peek() != b'"' {
            return Err(Malformed);
        }
        let start = self.at;
        let is_escaped = self.skip_string()?;
        let span = start..self.at;
        self.skip_space();
        if self.peek() != b':' {
            return Err(Malformed);
        }
        self.at += 1;
        self.skip_space();
        Ok(Key { span, is_escaped })
    }

    /// Behind the whole text, which is one value.
    fn skip_text(&mut self, depth: usize, pass: impl Fn(&Key) -> bool) -> Result<(), Malformed> {
        self.skip_space();
        self.skip_value(depth, pass)?;
        self.end()
    }

    /// Behind the value that begins here, of at most that `depth`, with keys that `pass`.
    fn skip_value(&mut self, depth: usize, pass: impl Fn(&Key) -> bool) -> Result<(), Malformed> {
        let mut around = Brackets::new();
        let mut left = depth;
        loop {
            let bracket = self.peek();
            let mut first = matches!(bracket, b'{' | b'[');
            if first {
                self.at += 1;
                left = left.checked_sub(1).ok_or(Malformed)?;
                around.push(bracket == b'{');
            } else {
                self.skip_scalar()?;
            }
            // What ends here, the value itself or more of what is around it.
            loop {
                let Some(object) = around.last() else { return Ok(()) };
                if self.has_more(closing(object), first)? {
                    if object && !pass(&self.skip_key()?) {
                        return Err(Malformed);
                    }
                    break;
                }
                around.pop();
                left += 1;
                first = false;
            }
        }
    }

    fn skip_scalar(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            b'"' => self.skip_string().map(drop),
            b'-' | b'0'..=b'9' => self.skip_number(),
            b't' => self.skip_word(b"true"),
            b'f' => self.skip_word(b"false"),
            b'n' => self.skip_word(b"null"),
            _ => Err(Malformed),
        }
    }

    /// Behind the string that begins here: whether anything in it is escaped.
    fn skip_string(&mut self) -> Result<bool, Malformed> {
        let mut is_escaped = false;
        self.at += 1;
        loop {
            self.skip_plain();
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(is_escaped);
                }
                b'\\' => {
                    is_escaped = true;
                    self.skip_escape()?;
                }
                // A control character, or the end.
                _ => return Err(Malformed),
            }
        }
    }

    /// To the next quote, backslash or control character.
    fn skip_plain(&mut self) {
        let short = self.at + SHORT;
        while let Some(word) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
            match telling(*word) {
                Some(index) => return self.at += index,
                None => self.at += word.len(),
            }
            if self.at == short {
                return self.at += plain_of_long(self.bytes.get(short..).unwrap_or_default());
            }
        }
        // What is behind the end tells as well.
        while !matches!(self.peek(), b'"' | b'\\' | ..b' ') {
            self.at += 1;
        }
    }

    fn skip_escape(&mut self) -> Result<(), Malformed> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).ok_or(Malformed)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(Malformed);
                }
                self.at += 6;
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn skip_number(&mut self) -> Result<(), Malformed> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            _ => self.skip_digits()?,
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.skip_digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Behind the digits here, of which there is at least one.
    fn skip_digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { Err(Malformed) } else { Ok(()) }
    }

    fn skip_word(&mut self, word: &[u8]) -> Result<(), Malformed> {
        if !self.bytes.get(self.at..).unwrap_or_default().starts_with(word) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(())
    }

    /// Nothing but white space is left.
    fn end(&mut self) -> Result<(), Malformed> {
        self.skip_space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Malformed) }
    }
}

/// A key that was passed.
struct Key {
    /// With its quotes.
    span: Range<usize>,
    is_escaped: bool,
}

impl Key {
    /// What it says.
    fn decoded<'a>(&self, text: &'a str) -> Result<Cow<'a, [u8]>, Malformed> {
        if self.is_escaped {
            return unescaped(text.get(self.span.clone()).unwrap_or_default()).map(Cow::Owned);
        }
        let inside = text.as_bytes().get(self.span.start + 1..self.span.end - 1);
        Ok(Cow::Borrowed(inside.unwrap_or_default()))
    }
}

/// The brackets around a place, the innermost last. The first 63 take no memory of their own.
struct Brackets {
    /// The innermost, a bit each, set for objects; in front of them a bit that says where they begin.
    inner: u64,
    outer: Vec<u64>,
}

impl Brackets {
    const NONE: u64 = 1;

    fn new() -> Self {
        Self { inner: Self::NONE, outer: Vec::new() }
    }

    fn push(&mut self, object: bool) {
        if self.inner.leading_zeros() == 0 {
            self.outer.push(std::mem::replace(&mut self.inner, Self::NONE));
        }
        self.inner = self.inner << 1 | u64::from(object);
    }

    fn pop(&mut self) {
        self.inner >>= 1;
        if self.inner == Self::NONE
            && let Some(outer) = self.outer.pop()
        {
            self.inner = outer;
        }
    }

    /// Whether the innermost is an object; `None` when there is none.
    fn last(&self) -> Option<bool> {
        (self.inner != Self::NONE).then_some(self.inner & 1 == 1)
    }
}

fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// So far a string is looked at word by word: most end before.
const SHORT: usize = 64;

/// Where in eight bytes the first quote, backslash or control character is.
fn telling(word: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The highest bit of a byte is set where it is below `least` or not ASCII, at least in the lowest such byte.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least));
    let word = u64::from_le_bytes(word);
    let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
    let slashes = below(word ^ (ONES * u64::from(b'\\')), 1);
    let found = (below(word, b' ') | quotes | slashes) & !word & (ONES << 7);
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

/// How many bytes come before such a one where it pays to look for one thing after the other.
fn plain_of_long(bytes: &[u8]) -> usize {
    let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let text = bytes.get(..end).unwrap_or_default();
    // All of it, since that takes no branches.
    if !text.iter().fold(false, |found, byte| found | (*byte < b' ')) {
        return end;
    }
    text.iter().position(|byte| *byte < b' ').unwrap_or(end)
}

/// What a string with escapes says. As bytes: as text, a lone surrogate in a key of no interest would refuse the whole
/// message.
#[cold]
fn unescaped(literal: &str) -> Result<Vec<u8>, Malformed> {
    struct Said;

    impl Visitor<'_> for Said {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: Error>(self, text: &[u8]) -> Result<Vec<u8>, E> {
            Ok(text.to_vec())
        }
    }

    serde_json::Deserializer::from_str(literal).deserialize_bytes(Said).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    /// Looks into everything.
    struct All;

    impl Shape for All {
        type Field = ();

        fn member(&mut self, _: (), _: &[u8]) {}

        fn element(&mut self, _: ()) {}

        fn opens(&self, _: (), _: u8) -> bool {
            true
        }

        fn found(&mut self, _: (), text: &str, span: Range<usize>) {
            assert!(serde_json::from_str::<IgnoredAny>(&text[span]).is_ok());
        }
    }

    fn agrees(text: &str) {
        let json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        assert_eq!(is_json(text), json, "{text:?}");
        assert_eq!(walk(text, (), &mut All).is_ok(), json, "{text:?}");
    }

    #[test]
    fn the_grammar_is_that_of_serde_json() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            " [ ] ",
            "{ }",
            "[1,2]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1",
            "[",
            "]",
            "{",
            "}",
            "[}",
            "{]",
            r#"{"a":1,"b":[{}]}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a" : 1 }"#,
            "{1:2}",
            r#"{a:1}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":1]"#,
            r#"[{"a":[]},{}]"#,
            r#"[[],[[]]]"#,
            "[[]",
            "[]]",
            "1 1",
            "0",
            "-0",
            "01",
            "-",
            "-1.5e+3",
            "1.",
            ".1",
            "1e",
            "1E-2",
            "1e+",
            "+1",
            "0x1",
            "00",
            "1.0.0",
            "-a",
            "0e0",
            "true",
            "tru",
            "truex",
            "false",
            "null",
            "nul",
            "True",
            "[true,false,null]",
            "nulll",
            r#""""#,
            r#"""#,
            r#""a\"b""#,
            r#""\u00e9""#,
            r#""\u00g0""#,
            r#""\u12""#,
            r#""\x""#,
            r#""\ud800""#,
            r#"{"\ud800":1}"#,
            r#"{"\n\u0041":1}"#,
            "\"\n\"",
            "\"\t\"",
            "\"\u{0}\"",
            "{\"\n\":1}",
            "\"é 日本 😀\"",
            "\"\u{7f}\u{80}\"",
            r#""12345678""#,
            r#""1234567\"8""#,
            r#""1234567890123456789\n""#,
            "\u{feff}1",
            "\u{a0}1",
            "\t\r\n 1 \t\r\n",
            "\u{b}1",
            "1\u{0}",
            "{\"a\":1}\u{0}",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn depth_and_keys_can_be_limited() {
        let text = br#"{"a":[{"b":"uri"}],"c":{}}"#;
        assert!(is_json_of(text, 3, |key| key != b"uri"));
        assert!(!is_json_of(text, 2, |_| true));
        assert!(!is_json_of(text, 3, |key| key != b"b"));
        assert!(!is_json_of(br#"{"\u0062":1}"#, 3, |_| true), "it may say anything");
        assert!(!is_json_of(br#"{"a":1"#, 3, |_| true));
    }

    #[test]
    fn what_is_passed_over_may_be_deep_and_what_is_looked_into_may_not() {
        let nested = |deep: usize| "[".repeat(deep) + &"]".repeat(deep);
        for deep in [62, 63, 64, 65, 126, 127, 128, 129, 10_000] {
            assert!(is_json(&nested(deep)), "{deep}");
            assert!(!is_json(&nested(deep)[1..]) && !is_json(&nested(deep)[..2 * deep - 1]), "{deep}");
            assert_eq!(walk(&nested(deep), (), &mut All).is_ok(), deep <= DEEPEST, "{deep}");
            let mixed = "[{\"a\":".repeat(deep) + "1" + &"}]".repeat(deep);
            assert!(is_json(&mixed) && !is_json(&mixed.replacen("}]", "]}", 1)), "{deep}");
        }
    }

    proptest! {
        #[test]
        fn texts_of_json_s_own_letters_are_read_as_serde_json_reads_them(
            text in r#"[\[\]{},:"\\ \n0-1eu.tfn-]{0,12}|\PC{0,12}"#,
        ) {
            agrees(&text);
        }

        #[test]
        fn long_strings_are_read_as_serde_json_reads_them(
            before in 50usize..80, inside in "\\PC{0,3}|[\"\\\\\n\u{1f}\u{7f}]{0,2}", behind in 0usize..80,
        ) {
            agrees(&format!("[\"{}{inside}{}\",1]", "x".repeat(before), "y".repeat(behind)));
        }

        #[test]
        fn broken_json_is_read_as_serde_json_reads_it(at in 0usize..80, byte in any::<char>(), cut in 0usize..3) {
            let text = r#"{"jsonrpc":"2.0","id":1.5e3,"method":"a\u0062c","params":{"x":[true,null,{}]}}"#;
            let at = at.min(text.len());
            let broken = format!("{}{byte}{}", &text[..at], text.get(at + cut..).unwrap_or_default());
            agrees(&broken);
        }
    }
}
