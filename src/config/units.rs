//! Values with a unit.

use std::time::Duration;

/// What a duration looks like, for error messages.
pub(super) const DURATION: &str = "a duration such as \"500ms\", \"10s\", \"30m\" or \"1h\"";
/// What a size looks like, for error messages.
pub(super) const SIZE: &str = "a size such as 65536, \"64KiB\" or \"4MiB\"";

/// `500ms`, `10s`, `30m`, `1h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// `512B`, `64KiB`, `4MiB`, `1GiB`, or a bare number of bytes.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok()
}

/// A duration as a person writes it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0 => "0s".to_owned(),
        _ if milliseconds.is_multiple_of(60_000) => format!("{}m", milliseconds / 60_000),
        _ if milliseconds.is_multiple_of(1_000) => format!("{}s", milliseconds / 1_000),
        _ => format!("{milliseconds}ms"),
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
        assert_eq!(duration("30 m"), Some(Duration::from_secs(1800)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for bad in
            ["", "10", "s", "-1s", "1.5s", "10S", "1 day", "99999999999999999h", "99999999999999999999s"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two_or_bytes() {
        assert_eq!(size("65536"), Some(65536));
        assert_eq!(size("512B"), Some(512));
        assert_eq!(size("64KiB"), Some(64 << 10));
        assert_eq!(size("4 MiB"), Some(4 << 20));
        assert_eq!(size("1GiB"), Some(1 << 30));
        for bad in ["", "KiB", "64KB", "64kib", "-1", "1.5MiB", "99999999999999999GiB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
