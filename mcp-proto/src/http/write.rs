//! Heads and chunk framing to be sent. Everything appends to `out`, and nothing that is passed in can end a line.

use super::Method;
use super::fields::is_token;

/// What goes around the data of a chunk at most, in bytes: its length in hexadecimal, and two line ends.
pub(crate) const CHUNK_FRAME: usize = 16 + 2 + 2;

/// What follows the data of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The interim answer that asks for the body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The status line.
pub fn status(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, status.into(), 10);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The request line. Bytes that can't stand in a target are dropped.
pub fn request(out: &mut Vec<u8>, method: Method, path: &str) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    clean(out, path.as_bytes(), |byte| byte.is_ascii_graphic() && byte != b'#');
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// One field line. Bytes that can't stand in a name or in a value, line ends first of all, are dropped.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    clean(out, name.as_bytes(), is_token);
    out.extend_from_slice(b": ");
    value_of(out, value);
}

/// The same where the name is one of the gateway's own, so that only the value has to be looked at.
pub(crate) fn own_field(out: &mut Vec<u8>, name: &'static str, value: &[u8]) {
    debug_assert!(name.bytes().all(is_token), "{name:?} is no name");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    value_of(out, value);
}

/// `content-length`.
pub fn length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"content-length: ");
    number(out, n, 10);
    out.extend_from_slice(b"\r\n");
}

/// `transfer-encoding: chunked`.
pub fn chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// The blank line after the fields.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// What precedes the `n` bytes of a chunk. Nothing for none: an empty chunk would be the last.
pub fn chunk_head(out: &mut Vec<u8>, n: usize) {
    if n > 0 {
        number(out, n as u64, 16);
        out.extend_from_slice(b"\r\n");
    }
}

/// A field's value, and the line's end.
fn value_of(out: &mut Vec<u8>, value: &[u8]) {
    match is_plain(value) {
        true => out.extend_from_slice(value),
        false => out.extend(value.iter().copied().filter(|byte| is_text(*byte))),
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether nothing in `text` is out of place or a tab: eight bytes at a time, the last eight maybe twice.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    // The highest bit of any byte is set if one is below `least`.
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word & (ONES << 7);
    let control = |word: &[u8; 8]| {
        let word = u64::from_ne_bytes(*word);
        below(word, b' ') | below(word ^ (ONES * 0x7f), 1)
    };
    let (words, _) = text.as_chunks::<8>();
    match text.last_chunk::<8>() {
        Some(last) => words.iter().chain([last]).fold(0, |found, word| found | control(word)) == 0,
        None => text.iter().all(|byte| is_text(*byte)),
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn clean(out: &mut Vec<u8>, text: &[u8], allowed: impl Fn(u8) -> bool) {
    // Two passes: the check of what is nearly always in order runs on many bytes at once, a filter on one.
    if text.iter().fold(true, |all, byte| all & allowed(*byte)) {
        out.extend_from_slice(text);
    } else {
        out.extend(text.iter().copied().filter(|byte| allowed(*byte)));
    }
}

/// Digits without a detour through `fmt`: this runs for every message.
fn number(out: &mut Vec<u8>, mut n: u64, radix: u64) {
    let mut room = [0; 20];
    let mut count = 0;
    for slot in room.iter_mut().rev() {
        let digit = (n % radix) as u8;
        *slot = if digit < 10 { b'0' + digit } else { b'a' - 10 + digit };
        count += 1;
        n /= radix;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(room.get(room.len() - count..).unwrap_or_default());
}

/// Reason phrases of RFC 9110 15, RFC 5842 and RFC 6585.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        // The phrase may be empty, the blank before it may not be left out (RFC 9112 4).
        _ => "",
    }
}
