//! The text that answers and notifications are made of, known to both ends, so that every byte can be checked.

/// Length of the text each call asks to have at the start of its answer.
pub(crate) const NONCE: usize = 16;
/// Longest text that is held as a whole.
pub(crate) const LONGEST: usize = 1 << 20;

/// What texts repeat. Its length is a prime, so that a lost or repeated block shows.
const ALPHABET: &[u8; 61] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345678";
/// How much of a very long text is made at a time.
const PIECE: usize = 256 << 10;

/// What follows the nonce.
pub(crate) fn filler() -> Vec<u8> {
    from(0, LONGEST)
}

/// Appends some of what follows the nonce, from `at` on and not beyond `end`.
pub(crate) fn extend(out: &mut Vec<u8>, at: &mut usize, end: usize) {
    let count = PIECE.min(end - *at);
    out.append(&mut from(*at, count));
    *at += count;
}

/// So many bytes of what follows the nonce.
pub(crate) fn from(at: usize, count: usize) -> Vec<u8> {
    let start = at % ALPHABET.len();
    let mut text = ALPHABET.repeat((start + count).div_ceil(ALPHABET.len()));
    text.truncate(start + count);
    text.drain(..start);
    text
}

/// The `number`th notification on event streams, as its `logger` has it.
pub(crate) fn notification(logger: &str, number: usize) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"error","logger":"{logger}","data":"notification {number}"}}}}"#
    )
}
