//! \[pure\] Durations (`30s`, `1m30s`, `100ms`) and sizes (`64KiB`, `4MiB`) from text.

use std::time::Duration;

/// What to write where a duration is expected.
pub(super) const A_DURATION: &str = "a duration such as 30s, 100ms, 5m or 1h";
/// What to write where a size is expected.
pub(super) const A_SIZE: &str = "a size such as 65536, 64KiB or 4MiB";

/// Longest duration; adding it to a point in time can never overflow.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// Reads numbers with units one after the other, as in `1m30s` or `1.5s`. A bare `0` is zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, behind) = split_number(rest)?;
        let end = behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(end);
        let seconds = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = next;
    }
    (!text.is_empty() && total <= LONGEST).then_some(total)
}

/// A duration that is longer than zero.
pub(super) fn timeout(text: &str) -> Option<Duration> {
    duration(text).filter(|duration| !duration.is_zero())
}

/// Reads a number of bytes with an optional unit, at least 1.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split_number(text)?;
    let bytes = match unit.trim_start() {
        "" | "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return None,
    } * number;
    let whole = (1.0..=LARGEST).contains(&bytes) && bytes.fract() == 0.0;
    // In range and whole: the cast is exact.
    whole.then_some(bytes as usize)
}

/// 1 TiB: more is a slip of the pen, and every platform's `usize` that matters holds it.
const LARGEST: f64 = 1024.0 * 1024.0 * 1024.0 * 1024.0;

/// Digits with at most one point, and what follows them.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let digits_around = number.starts_with(|c: char| c.is_ascii_digit()) && !number.ends_with('.');
    digits_around.then_some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("100ms", 100),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("0", 0),
            ("0s", 0),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1 s",
            "30sec",
            "1e9s",
            ".5s",
            "1.s",
            "1..2s",
            "366d",
            "99999999999999999999h",
            "NaNs",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        assert_eq!(timeout("0s"), None);
    }

    #[test]
    fn sizes_read_as_written() {
        for (text, bytes) in [
            ("1", 1),
            ("65536", 65536),
            ("64KiB", 65536),
            ("4MiB", 4 << 20),
            ("1.5KiB", 1536),
            ("10MB", 10_000_000),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "0", "-1", "64K", "1.0001KiB", "KiB", "2000GiB", "1e3"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }
}
