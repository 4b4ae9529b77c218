//! RFC 4648: base64url without padding (section 5) for what we seal, base64 (section 4) for header values.

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// How the bits are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base64 {
    /// The digits 62 and 63.
    last: [u8; 2],
    padded: bool,
}

/// Section 5, without padding.
pub(crate) const URL: Base64 = Base64 { last: *b"-_", padded: false };
/// Section 4.
pub(crate) const STANDARD: Base64 = Base64 { last: *b"+/", padded: true };

impl Base64 {
    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let word =
                chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for place in 0..=chunk.len() {
                text.push(self.digit((word >> (18 - 6 * place)) as usize & 63));
            }
            if self.padded {
                text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
            }
        }
        text
    }

    pub(crate) fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        let text = if self.padded { unpadded(text)? } else { text };
        if text.len() % 4 == 1 {
            return None;
        }
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
        for chunk in text.chunks(4) {
            let mut word = 0u32;
            for c in chunk {
                word = word << 6 | u32::from(self.value(*c)?);
            }
            word <<= 6 * (4 - chunk.len());
            let whole = chunk.len() * 6 / 8;
            bytes.extend_from_slice(word.to_be_bytes().get(1..1 + whole)?);
            // Unused bits must be zero, or one content would have several texts.
            if word.to_be_bytes().get(1 + whole..)?.iter().any(|rest| *rest != 0) {
                return None;
            }
        }
        Some(bytes)
    }

    fn digit(self, value: usize) -> char {
        let [minus, slash] = self.last;
        ALPHABET.get(value).map_or(if value == 62 { minus } else { slash }, |digit| *digit) as char
    }

    fn value(self, c: u8) -> Option<u8> {
        let [minus, slash] = self.last;
        Some(match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            _ if c == minus => 62,
            _ if c == slash => 63,
            _ => return None,
        })
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
