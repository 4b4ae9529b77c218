//! RFC 4648: base64url without padding (section 5) for what we seal, base64 (section 4) for header values.

/// How the bits are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base64 {
    /// What six bits are written as.
    digits: &'static [u8; 64],
    /// What a byte stands for, or [`NO_DIGIT`].
    values: &'static [u8; 256],
    padded: bool,
}

/// Section 5, without padding.
pub(crate) const URL: Base64 = {
    const DIGITS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    static VALUES: [u8; 256] = values(&DIGITS);
    Base64 { digits: &DIGITS, values: &VALUES, padded: false }
};
/// Section 4.
pub(crate) const STANDARD: Base64 = {
    const DIGITS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static VALUES: [u8; 256] = values(&DIGITS);
    Base64 { digits: &DIGITS, values: &VALUES, padded: true }
};

const NO_DIGIT: u8 = 0xff;

#[expect(clippy::indexing_slicing, reason = "six bits of 64 digits, and there are 256 bytes")]
const fn values(digits: &[u8; 64]) -> [u8; 256] {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values
}

impl Base64 {
    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        let (groups, rest) = bytes.as_chunks::<3>();
        // All room is there before the first digit, so that none of them asks for it.
        let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
        text.resize(groups.len() * 4, 0);
        for (digits, &[a, b, c]) in text.as_chunks_mut::<4>().0.iter_mut().zip(groups) {
            *digits = self.digits_of(u32::from_be_bytes([0, a, b, c]));
        }
        if !rest.is_empty() {
            let word =
                rest.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - rest.len()));
            text.extend(self.digits_of(word).into_iter().take(rest.len() + 1));
            if self.padded {
                text.extend(std::iter::repeat_n(b'=', 3 - rest.len()));
            }
        }
        // Digits are ASCII.
        String::from_utf8(text).unwrap_or_default()
    }

    fn digits_of(self, word: u32) -> [u8; 4] {
        #[expect(clippy::indexing_slicing, reason = "six bits of 64 digits")]
        [18, 12, 6, 0].map(|shift| self.digits[(word >> shift & 63) as usize])
    }

    pub(crate) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        let text = if self.padded { unpadded(text)? } else { text };
        if text.len() % 4 == 1 {
            return None;
        }
        let (groups, rest) = text.as_chunks::<4>();
        let mut bytes = Vec::with_capacity(groups.len() * 3 + 2);
        bytes.resize(groups.len() * 3, 0);
        for (bytes, group) in bytes.as_chunks_mut::<3>().0.iter_mut().zip(groups) {
            let [_, decoded @ ..] = self.word(group)?.to_be_bytes();
            *bytes = decoded;
        }
        let [_, decoded @ ..] = (self.word(rest)? << (6 * (4 - rest.len()) % 24)).to_be_bytes();
        let (whole, unused) = decoded.split_at_checked(rest.len() * 6 / 8)?;
        bytes.extend_from_slice(whole);
        // Unused bits must be zero, or one content would have several texts.
        unused.iter().all(|bits| *bits == 0).then_some(bytes)
    }

    /// Six bits of each digit.
    fn word(self, digits: &[u8]) -> Option<u32> {
        #[expect(clippy::indexing_slicing, reason = "there are 256 bytes")]
        let value = |digit: &u8| self.values[usize::from(*digit)];
        let (word, all) = digits
            .iter()
            .fold((0, 0), |(word, all), digit| (word << 6 | u32::from(value(digit)), all | value(digit)));
        (all & 0xc0 == 0).then_some(word)
    }
}

/// Without the padding, which must be there to the last sign.
fn unpadded(text: &[u8]) -> Option<&[u8]> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    text.len().is_multiple_of(4).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_the_vectors_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(STANDARD.encode(bytes.as_bytes()), text);
            assert_eq!(STANDARD.decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
            assert_eq!(URL.encode(bytes.as_bytes()), text.trim_end_matches('='));
        }
        assert_eq!(
            (STANDARD.encode(&[0xfb, 0xff]), URL.encode(&[0xfb, 0xff])),
            ("+/8=".into(), "-_8".into())
        );
    }

    #[test]
    fn takes_no_second_spelling() {
        for text in
            ["Zg", "Zg=", "Zg===", "Z===", "=", "====", "Zh==", "Zm9=", "Zg==Zg==", "-_8=", "Zm 9v", "Zm9v\n"]
        {
            assert_eq!(STANDARD.decode(text.as_bytes()), None, "{text}");
        }
        for text in ["Zg==", "Zh", "Z", "+/8"] {
            assert_eq!(URL.decode(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            for base in [URL, STANDARD] {
                prop_assert_eq!(base.decode(base.encode(&bytes).as_bytes()), Some(bytes.clone()));
            }
        }
    }
}
