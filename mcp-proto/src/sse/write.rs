//! The writing side. An event is `head`, its data in any pieces without CR and LF, `end`.
//!
//! Every event names its type: some clients drop events that don't say `message`. `id` comes before data, so a reader
//! that loses the connection in the middle of the data already knows it.

use memchr::{memchr, memchr2};

/// A comment: keeps the connection alive and means nothing.
pub const COMMENT: &[u8] = b":\n\n";

/// The start of an event, up to its data.
pub fn head(out: &mut Vec<u8>, id: Option<&str>) {
    out.extend_from_slice(b"event: message\n");
    if let Some(id) = id {
        self::id(out, id);
    }
    out.extend_from_slice(b"data: ");
}

/// The end of an event.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\n\n");
}

/// The end of an event whose id became known only after its data.
pub fn end_with(out: &mut Vec<u8>, id: Option<&str>) {
    out.push(b'\n');
    if let Some(id) = id {
        self::id(out, id);
    }
    out.push(b'\n');
}

/// A whole event. `data` is JSON: line breaks, which stand between its tokens only, are left out.
pub fn event(out: &mut Vec<u8>, id: Option<&str>, data: &[u8]) {
    event_of(out, id, [data]);
}

/// The same for data in parts.
pub(crate) fn event_of<'a>(out: &mut Vec<u8>, id: Option<&str>, data: impl IntoIterator<Item = &'a [u8]>) {
    head(out, id);
    let start = out.len();
    data.into_iter().for_each(|part| out.extend_from_slice(part));
    if memchr2(b'\r', b'\n', out.get(start..).unwrap_or_default()).is_some() {
        let lines = out.split_off(start);
        out.extend(lines.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    }
    end(out);
}

/// The message in a whole event that was written here; `None` when it carries none.
pub(crate) fn message(event: &[u8]) -> Option<&[u8]> {
    let mut rest = event;
    while let Some(end) = memchr(b'\n', rest) {
        let (line, more) = rest.split_at_checked(end)?;
        if let Some(data) = line.strip_prefix(b"data: ") {
            return Some(data).filter(|data| !data.is_empty());
        }
        rest = more.get(1..)?;
    }
    None
}

/// An event with an id and empty data, which gives the client a point to resume from before the first message
/// (MCP 2025-11-25, transports, "Sending messages to the server", 6).
pub fn prime(out: &mut Vec<u8>, id: &str) {
    self::id(out, id);
    out.extend_from_slice(b"data: ");
    end(out);
}

/// The line that sets the reconnection time in milliseconds; it goes in front of an event.
pub fn retry(out: &mut Vec<u8>, milliseconds: u64) {
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(milliseconds.to_string().as_bytes());
    out.push(b'\n');
}

fn id(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.as_bytes());
    out.push(b'\n');
}
