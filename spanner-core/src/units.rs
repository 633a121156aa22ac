//! Durations and sizes as people write them.
//!
//! There is one grammar for each, in configuration files, in policies and on the command line.
//!
//! - A **duration** is a sequence of numbers with units: `500ms`, `30s`, `5m`, `1h30m`, `12h`,
//!   `30d`, `2w`. Units may be written out and separated by blanks (`1 hour 30 minutes`). The
//!   notation of ISO 8601 is read too (`PT1H30M`, `P30D`). A day has 24 hours and a week 7 days.
//!   Months and years are refused, since their lengths differ; so are negative durations and
//!   numbers without a unit.
//! - A **size** is a number with a unit: `64 KiB`, `25 MiB`, `1 GiB`, `1 TiB`, `512 B`; the blank
//!   may be left out.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// What can be written as a duration, as advice for the reader of an error.
pub const DURATION_ADVICE: &str = "write one such as `500ms`, `30s`, `5m`, `1h30m`, `12h` or `30d`";

/// What can be written as a size, as advice for the reader of an error.
pub const SIZE_ADVICE: &str =
    "write a number of bytes, or one with a unit such as `64 KiB`, `25 MiB` or `1 GiB`";

/// The text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a duration: {DURATION_ADVICE}")]
#[non_exhaustive]
pub struct NotDuration;

/// The text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a size: {SIZE_ADVICE}")]
#[non_exhaustive]
pub struct NotSize;

/// Reads a duration.
///
/// ```
/// use std::time::Duration;
/// use spanner_core::units::parse_duration;
///
/// assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
/// assert!(parse_duration("30").is_err());
/// ```
///
/// # Errors
/// [`NotDuration`], also for what is longer than some ten thousand years.
pub fn parse_duration(text: &str) -> Result<Duration, NotDuration> {
    if text.len() > MAX_BYTES {
        return Err(NotDuration);
    }
    let span: Span = text.parse().map_err(|_| NotDuration)?;
    let exact = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| NotDuration)?;
    Duration::try_from(exact).map_err(|_| NotDuration)
}

/// Reads a size in bytes.
///
/// ```
/// use spanner_core::units::parse_size;
///
/// assert_eq!(parse_size("25 MiB"), Ok(25 << 20));
/// ```
///
/// # Errors
/// [`NotSize`], also for what no 64 bits hold.
pub fn parse_size(text: &str) -> Result<u64, NotSize> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or(NotSize)?;
    let unit: u64 = match unit.strip_prefix(' ').unwrap_or(unit) {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(NotSize),
    };
    let number: u64 = number.parse().map_err(|_| NotSize)?;
    number.checked_mul(unit).ok_or(NotSize)
}

/// The longest text of a duration.
const MAX_BYTES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grammar_of_durations() {
        const DAY: u64 = 86_400;
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("0s", seconds(0)),
            ("30s", seconds(30)),
            ("5m", seconds(300)),
            ("1h30m", seconds(5_400)),
            ("1h 30m", seconds(5_400)),
            ("1.5h", seconds(5_400)),
            ("12h", seconds(12 * 3_600)),
            ("30d", seconds(30 * DAY)),
            ("400d", seconds(400 * DAY)),
            ("36500d", seconds(36_500 * DAY)),
            ("2w", seconds(14 * DAY)),
            ("1 minute", seconds(60)),
            ("2 hours, 5 minutes", seconds(7_500)),
            ("PT1H30M", seconds(5_400)),
            ("P30D", seconds(30 * DAY)),
            ("", None),
            ("30", None),
            ("soon", None),
            ("a month", None),
            ("1mo", None),
            ("1y", None),
            ("P1M", None),
            ("-30s", None),
            ("30s ago", None),
            ("30 parsecs", None),
            ("99999999d", None),
            ("none", None),
        ] {
            assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        }
        assert!(parse_duration(&"1s ".repeat(1_000)).is_err());
    }

    #[test]
    fn one_grammar_of_sizes() {
        for (text, expected) in [
            ("25 MiB", Some(25 << 20)),
            ("64KiB", Some(64 << 10)),
            ("1 GiB", Some(1 << 30)),
            ("1 TiB", Some(1 << 40)),
            ("512 B", Some(512)),
            ("0 B", Some(0)),
            ("", None),
            ("MiB", None),
            ("25", None),
            ("25 MB", None),
            ("25  MiB", None),
            ("-1 KiB", None),
            ("1.5 GiB", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
    }
}
