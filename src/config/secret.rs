//! Session keys: 32 bytes as 64 hexadecimal digits or as base64 in either alphabet, padded or not.

/// The key `text` stands for.
pub(super) fn parse(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let bytes = if text.len() == 64 { hex(text)? } else { base64(text)? };
    bytes.try_into().ok()
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    digits?
        .chunks(2)
        .map(|pair| u8::try_from(pair.iter().fold(0, |byte, digit| byte << 4 | digit)).ok())
        .collect()
}

/// RFC 4648, sections 4 and 5.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(33);
    let (mut word, mut bits) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        word = (word << 6 | u32::from(value)) & 0xffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_and_base64() {
        let key: [u8; 32] = std::array::from_fn(|i| (i as u8).wrapping_mul(37) ^ 0xfb);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(parse(&hex), Some(key));
        assert_eq!(parse(&hex.to_uppercase()), Some(key));
        // The same bytes, from `base64` of coreutils.
        let text = "+96xlG9CJfjTtolsRx383auOYUQnCvDLroFkXzUW9NE=";
        let decoded = parse(text).unwrap();
        assert_eq!(parse(&text.replace('+', "-").replace('/', "_").replace('=', "")), Some(decoded));
        assert_eq!(decoded[..3], [0xfb, 0xde, 0xb1]);
    }

    #[test]
    fn refuses_everything_that_is_not_32_bytes() {
        for bad in ["", "secret", "AAAA", &"g".repeat(64), &"A".repeat(42), &"A".repeat(44), "ä"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
