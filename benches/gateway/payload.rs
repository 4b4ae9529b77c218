//! The text that answers are made of, known to both ends, so that every byte can be checked.

/// Length of the text each call asks to have at the start of its answer.
pub(crate) const NONCE: usize = 16;
/// Longest text a call can ask for.
const LONGEST: usize = 1 << 20;

/// What follows the nonce. Its period is a prime, so that a lost or repeated block shows.
pub(crate) fn filler() -> Vec<u8> {
    let alphabet = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ012345678";
    alphabet.iter().copied().cycle().take(LONGEST).collect()
}
