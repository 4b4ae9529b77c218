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
    let end = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (text, behind) = bytes.split_at_checked(end)?;
    behind.starts_with(b"\"").then_some(text)
}

/// Where the string that goes on in `bytes` ends, behind its quote. `escaped` lives from piece to piece.
pub(super) fn end_of_string(bytes: &[u8], escaped: &mut bool) -> Option<usize> {
    let mut at = usize::from(std::mem::take(escaped));
    // Most strings are short words, which end before a search for their end has begun.
    let near = bytes.get(at..bytes.len().min(NEAR)).unwrap_or_default();
    match near.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        Some(found) if near.get(found) == Some(&b'"') => return Some(at + found + 1),
        Some(found) => at += found,
        None => at += near.len(),
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
