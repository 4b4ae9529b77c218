//! Refuses texts nested deeper than anyone downstream would take. What is passed over may have a million levels for all
//! we care, but the server behind may recurse.

use memchr::{memchr2, memchr2_iter};

/// Whether `body` nests more than `most` objects and arrays. Counting openers settles nearly every text at the speed
/// of memory; only one with more openers than that is walked.
pub(super) fn exceeds(body: &[u8], most: usize) -> bool {
    memchr2_iter(b'{', b'[', body).nth(most).is_some() && walks_beyond(body, most)
}

fn walks_beyond(mut rest: &[u8], most: usize) -> bool {
    let mut depth = 0_usize;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(tail),
            _ => tail,
        };
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

/// What follows the string whose opening quote was just passed.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let escape = rest.get(at) == Some(&b'\\');
        rest = rest.get(at + 1 + usize::from(escape)..).unwrap_or_default();
        if !escape {
            return rest;
        }
    }
    &[]
}
