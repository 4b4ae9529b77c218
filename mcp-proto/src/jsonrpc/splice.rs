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

/// `body` with all edits made, in parts of which some may be empty. For edits the same holds as in [`splice`].
pub(crate) fn parts<'a, T: AsRef<[u8]>>(
    body: &'a [u8],
    edits: &'a [(Range<usize>, T)],
) -> impl Iterator<Item = &'a [u8]> {
    debug_assert!(edits.is_sorted_by_key(|(span, _)| span.start));
    let mut from = 0;
    let edited = edits.iter().flat_map(move |(span, text)| {
        let same = body.get(std::mem::replace(&mut from, span.end)..span.start).unwrap_or_default();
        [same, text.as_ref()]
    });
    let end = edits.last().map_or(0, |(span, _)| span.end);
    edited.chain([body.get(end..).unwrap_or_default()])
}

/// Appends `text` to `out` as a JSON string.
pub fn quote(text: &str, out: &mut impl Write) {
    serde_json::to_writer(out, text).expect("memory takes every string");
}
