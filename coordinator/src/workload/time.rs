//! Times as they stand in a CSV: `YYYY-MM-DD HH:MM:SS[.frac][Z|±HH[:MM]]`, `T` in place of the blank, or a date alone.
//! Only good for telling whether a text is a time and which of two comes first; the database gets the text as it is.

use jiff::fmt::temporal::{DateTimeParser, PiecesOffset};
use jiff::{SignedDuration, civil};

/// Date and time of day in UTC, packed so that later is greater, and nanoseconds: ordering needs no calendar arithmetic, which
/// would be a tenth of the first pass. A time without an offset is UTC, as the sessions' time zone is by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    packed: i64,
    nanoseconds: i32,
}

impl Moment {
    fn new(date: [i64; 3], time: [i64; 3], nanoseconds: i32) -> Self {
        let ([year, month, day], [hour, minute, second]) = (date, time);
        let packed = year << 26 | month << 22 | day << 17 | hour << 12 | minute << 6 | second;
        Self { packed, nanoseconds }
    }
}

/// `None` when the text is not a time.
pub(super) fn parse(text: &[u8]) -> Option<Moment> {
    fast(text).or_else(|| complete(text))
}

/// The 19 characters of whole seconds with no offset but UTC's, in a tenth of the time of the complete grammar.
/// `None` only means that `complete` has to look.
fn fast(text: &[u8]) -> Option<Moment> {
    let (whole, rest) = text.split_first_chunk::<19>()?;
    let &[y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b' ' | b'T', h1, h2, b':', mi1, mi2, b':', s1, s2] =
        whole
    else {
        return None;
    };
    if !matches!(rest, b"" | b"Z" | b"+00" | b"+00:00") {
        return None;
    }
    let year = number(y1, y2)? * 100 + number(y3, y4)?;
    let (month, day) = (number(mo1, mo2)?, number(d1, d2)?);
    let (hour, minute, second) = (number(h1, h2)?, number(mi1, mi2)?, number(s1, s2)?);
    let is_time = year > 0 && hour < 24 && minute < 60 && second < 60;
    if !is_time || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    Some(Moment::new([year, month, day], [hour, minute, second], 0))
}

fn number(tens: u8, ones: u8) -> Option<i64> {
    let both = tens.is_ascii_digit() && ones.is_ascii_digit();
    both.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// PostgreSQL's bound, 15:59:59.
const OFFSET_SECONDS_MAX: i64 = 16 * 3_600 - 1;

/// The complete grammar. jiff also takes what PostgreSQL does not (a decimal comma, `[Europe/Vienna]`), so those characters are refused.
fn complete(text: &[u8]) -> Option<Moment> {
    let is_plain = |b: &u8| b.is_ascii_digit() || b" -+:.TtZz".contains(b);
    if !text.first()?.is_ascii_digit() || !text.iter().all(is_plain) {
        return None;
    }
    let pieces = DateTimeParser::new().parse_pieces(text).ok()?;
    let time = pieces.time().unwrap_or(civil::Time::midnight());
    let offset = match pieces.offset() {
        Some(PiecesOffset::Numeric(given)) => i64::from(given.offset().seconds()),
        _ => 0,
    };
    if pieces.date().year() < 1 || offset.abs() > OFFSET_SECONDS_MAX {
        return None;
    }
    let utc = pieces.date().to_datetime(time).checked_sub(SignedDuration::from_secs(offset)).ok()?;
    Some(Moment::new(
        [utc.year().into(), utc.month().into(), utc.day().into()],
        [utc.hour().into(), utc.minute().into(), utc.second().into()],
        utc.subsec_nanosecond(),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_accepted_form_is_the_same_moment() {
        let expected = parse(b"2017-01-01 08:59:22");
        assert!(expected.is_some());
        for text in [
            "2017-01-01T08:59:22",
            "2017-01-01T08:59:22Z",
            "2017-01-01 08:59:22Z",
            "2017-01-01 08:59:22.000",
            "2017-01-01 08:59:22+00",
            "2017-01-01 08:59:22+00:00",
            "2017-01-01 10:59:22+02",
            "2017-01-01 14:29:22+05:30",
            "2016-12-31 23:59:22-09",
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(parse(b"2017-01-01"), parse(b"2017-01-01 00:00:00"));
    }

    #[test]
    fn fractions_and_offsets_order_moments() {
        let later = |a: &str, b: &str| assert!(parse(a.as_bytes()) > parse(b.as_bytes()), "{a} {b}");
        later("2017-01-01 00:00:00.5", "2017-01-01 00:00:00");
        later("2017-01-01 00:00:00.000001", "2017-01-01 00:00:00");
        later("2017-01-01 01:00:00+00", "2017-01-01 02:00:00+02");
        later("2017-03-01 00:30:00+01", "2017-02-28 23:29:59");
        later("2018-01-01 00:00:00", "2017-12-31 23:59:59");
        later("2017-02-01 00:00:00", "2017-01-31 23:59:59");
        later("2017-01-02", "2017-01-01 23:59:59.999999");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2017",
            "2017-13-01 00:00:00",
            "2017-02-29 00:00:00",
            "2017-01-00 00:00:00",
            "2017-01-01 24:00:00",
            "2017-01-01 00:60:00",
            "2017-01-01 00:00:00 UTC",
            "2017-01-01 0a:00:00",
            "2017-01-01 00:00:00,5",
            "2017-01-01 00:00:00+25",
            "2017-01-01 00:00:00[Europe/Vienna]",
            " 2017-01-01",
            "0000-01-01 00:00:00",
            "01/02/2017",
            "2017-01-01 00:00:00'; DROP TABLE cpu_usage",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_the_complete_grammar(
            year in 0u16..=9_999, month in 0u8..=13, day in 0u8..=32, hour in 0u8..=24, minute in 0u8..=60, second in 0u8..60,
        ) {
            let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            prop_assert_eq!(fast(text.as_bytes()), complete(text.as_bytes()));
        }
    }
}
