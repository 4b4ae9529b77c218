//! Replaces spans of a text and leaves the rest alone.

use bytes::BufMut;
use std::io::Write;
use std::ops::Range;

/// Appends `body` to `out` with every span of `edits` replaced. Spans are in order and don't overlap; an empty span
/// inserts.
pub fn splice(body: &[u8], edits: &[(Range<usize>, &[u8])], out: &mut Vec<u8>) {
    splice_owned(body, edits, out);
}

/// The same whatever holds the texts.
pub(crate) fn splice_owned<T: AsRef<[u8]>>(body: &[u8], edits: &[(Range<usize>, T)], out: &mut impl BufMut) {
    let mut from = 0;
    for (span, text) in edits {
        debug_assert!(from <= span.start && span.start <= span.end && span.end <= body.len());
        out.put_slice(body.get(from..span.start).unwrap_or_default());
        out.put_slice(text.as_ref());
        from = span.end;
    }
    out.put_slice(body.get(from..).unwrap_or_default());
}

/// Appends `text` to `out` as a JSON string.
pub fn quote(text: &str, out: &mut impl Write) {
    serde_json::to_writer(out, text).expect("memory takes every string");
}
