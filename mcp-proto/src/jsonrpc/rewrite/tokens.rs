//! Where the tokens of JSON begin and end.

use memchr::memchr2;

/// So many bytes of a string are looked at one by one.
const NEAR: usize = 16;

/// Whether `byte` begins a value.
pub(super) fn is_start(byte: u8) -> bool {
    matches!(byte, b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')
}

/// Whether `byte` may be part of a number or word.
pub(super) fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Whether `byte` means something off the path: quotes, brackets, line breaks.
pub(super) fn tells(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b'\r' | b'\n')
}

/// The string that ends in `bytes` with nothing escaped in it, without its quote.
pub(super) fn plain(bytes: &[u8]) -> Option<&[u8]> {
    let (text, behind) = bytes.split_at_checked(quote_or_escape(bytes))?;
    behind.starts_with(b"\"").then_some(text)
}

/// Where the string that goes on in `bytes` ends, behind its quote. `escaped` lives from piece to piece.
pub(super) fn end_of_string(bytes: &[u8], escaped: &mut bool) -> Option<usize> {
    let mut at = usize::from(std::mem::take(escaped));
    // Most strings are short words, which end before a faster search for their end has begun.
    let near = bytes.get(at..bytes.len().min(at + NEAR)).unwrap_or_default();
    at += quote_or_escape(near);
    if bytes.get(at) == Some(&b'"') {
        return Some(at + 1);
    }
    while let Some(found) = memchr2(b'"', b'\\', bytes.get(at..)?) {
        at += found + 1;
        if bytes.get(at - 1) == Some(&b'"') {
            return Some(at);
        }
        if at == bytes.len() {
            *escaped = true;
            return None;
        }
        at += 1;
    }
    None
}

/// How many bytes come before the first quote or backslash.
fn quote_or_escape(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // Sets the highest bit of the first byte that is `byte`, and of none before it.
    let is = |word: u64, byte: u8| {
        let zero = word ^ (ONES * u64::from(byte));
        zero.wrapping_sub(ONES) & !zero & (ONES << 7)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = is(word, b'"') | is(word, b'\\');
        if found != 0 {
            return 8 * index + found.trailing_zeros() as usize / 8;
        }
    }
    let tells = |byte: &u8| matches!(byte, b'"' | b'\\');
    8 * words.len() + rest.iter().position(tells).unwrap_or(rest.len())
}
