//! Parses times as PostgreSQL does. The check of a window finds errors before the run and does not overrule the server: a text that this
//! module cannot parse is accepted, unless PostgreSQL certainly refuses it. The database receives the text unchanged.
//!
//! Formats that are parsed completely: `YYYY-MM-DD` or `YYYY/MM/DD`, followed by an optional time of day after a space or `T` and an
//! optional offset, and `infinity`. `coordinator/tests/runs/times.rs` compares the results with PostgreSQL.

use jiff::SignedDuration;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// The result of parsing a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Time(Time),
    /// PostgreSQL may accept it: `01/02/2017`, `yesterday`, `2017-01-01 00:00 Europe/Vienna`.
    Unknown,
    /// PostgreSQL refuses it with any version and settings.
    Impossible,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// Microseconds since 2000 in UTC, as PostgreSQL stores it. The ends of the range are its infinities.
    Instant(i64),
    /// Microseconds since 2000 in the session's time zone.
    Local(i64),
}

/// The session's time zone.
#[derive(Debug)]
pub(super) enum Zone {
    Utc,
    Known(TimeZone),
    /// A zone that this machine does not know. PostgreSQL may know it.
    Unknown,
}

impl Zone {
    /// The zone of that name; `None` is the zone of sessions whose setting is not known.
    pub(super) fn named(name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::Unknown };
        match ["UTC", "Etc/UTC", "GMT", "Etc/GMT", "UCT", "Z", "Zulu"]
            .iter()
            .any(|utc| name.eq_ignore_ascii_case(utc))
        {
            true => Self::Utc,
            false => TimeZone::get(name).map_or(Self::Unknown, Self::Known),
        }
    }

    /// The first and the last instant that a local time can mean. When clocks are set back, some local times occur twice; when they are set
    /// forward, some do not occur. `None` if the zone is not known.
    fn instants(&self, local: i64) -> Option<(i64, i64)> {
        let zone = match self {
            Self::Utc => return Some((local, local)),
            Self::Known(zone) => zone,
            Self::Unknown => return None,
        };
        let wall_clock =
            civil::date(2000, 1, 1).at(0, 0, 0, 0).checked_add(SignedDuration::from_micros(local)).ok()?;
        let (first, last) = match zone.to_ambiguous_timestamp(wall_clock).offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset, offset),
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                (before.max(after), before.min(after))
            }
        };
        Some((local - i64::from(first.seconds()) * SECOND, local - i64::from(last.seconds()) * SECOND))
    }
}

/// True when the window certainly ends before it begins.
pub(super) fn is_reversed(start: Time, end: Time, zone: &Zone) -> bool {
    let reversed = |first: Option<i64>, last: Option<i64>| matches!((first, last), (Some(first), Some(last)) if last < first);
    match (start, end) {
        // Both times are in the same zone, so the zone does not matter.
        (Time::Instant(start), Time::Instant(end)) | (Time::Local(start), Time::Local(end)) => end < start,
        (Time::Instant(start), _) if is_infinite(start) => start == i64::MAX,
        (_, Time::Instant(end)) if is_infinite(end) => end == i64::MIN,
        (Time::Instant(start), Time::Local(end)) => {
            reversed(Some(start), zone.instants(end).map(|(_, last)| last))
        }
        (Time::Local(start), Time::Instant(end)) => {
            reversed(zone.instants(start).map(|(first, _)| first), Some(end))
        }
    }
}

fn is_infinite(instant: i64) -> bool {
    instant == i64::MIN || instant == i64::MAX
}

/// Parses a time.
pub(super) fn read(text: &[u8]) -> Reading {
    match fast(text) {
        Some(time) => Reading::Time(time),
        None => complete(text.trim_ascii()),
    }
}

/// Parses a time; without an offset it is in UTC. Returns it as PostgreSQL stores it: the ends of the range are its infinities. `None` for
/// a text that cannot be parsed.
pub(crate) fn microseconds_since_2000(text: &[u8]) -> Option<i64> {
    match read(text) {
        Reading::Time(Time::Instant(micros) | Time::Local(micros)) => Some(micros),
        Reading::Unknown | Reading::Impossible => None,
    }
}

/// Parses the 19 characters of a time with whole seconds and without an offset, ten times as fast as the complete grammar. `None` means
/// that `complete` has to parse the text.
fn fast(text: &[u8]) -> Option<Time> {
    let &[y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b' ' | b'T', h1, h2, b':', mi1, mi2, b':', s1, s2] =
        text
    else {
        return None;
    };
    let year = number(y1, y2)? * 100 + number(y3, y4)?;
    let time = [number(h1, h2)?, number(mi1, mi2)?, number(s1, s2)?];
    let day = day_number(year, number(mo1, mo2)?, number(d1, d2)?)?;
    Some(Time::Local(micros(day, time, 0)?))
}

/// The value of two digits.
fn number(tens: u8, ones: u8) -> Option<i64> {
    let both = tens.is_ascii_digit() && ones.is_ascii_digit();
    both.then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// The last instant that PostgreSQL accepts is in the year 294276 in UTC. The first one that it refuses is the start of the next year.
const YEAR_MAX: i64 = 294_277;
/// PostgreSQL's limit, 15:59:59.
const OFFSET_HOURS_MAX: i64 = 15;
/// PostgreSQL parses at most 128 characters and 25 separators of a text.
const LETTERS_AND_DIGITS_MAX: usize = 153;

/// Days since 2000 in the Gregorian calendar, which PostgreSQL uses for all times. `None` for a day that does not exist.
fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if !(1..=YEAR_MAX).contains(&year) || !(1..=days).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 730_425)
}

/// Microseconds since 2000. `None` for a time of day that PostgreSQL refuses. It accepts 24:00:00 and a leap second.
fn micros(day: i64, [hour, minute, second]: [i64; 3], fraction: i64) -> Option<i64> {
    let is_whole = fraction == 0;
    let is_time = match (hour, minute, second) {
        (24, 0, 0) | (0..24, 0..60, 60) => is_whole,
        (0..24, 0..60, 0..60) => true,
        _ => false,
    };
    is_time.then(|| day * DAY + ((hour * 60 + minute) * 60 + second) * SECOND + fraction)
}

/// Parses the complete grammar.
fn complete(text: &[u8]) -> Reading {
    if text.eq_ignore_ascii_case(b"infinity") {
        return Reading::Time(Time::Instant(i64::MAX));
    }
    if text.eq_ignore_ascii_case(b"-infinity") {
        return Reading::Time(Time::Instant(i64::MIN));
    }
    let mut rest = Rest(text);
    let Some([year, month, day]) = rest.date() else { return unparsed(text) };
    let day = day_number(year, month, day);
    if (YEAR_MAX - 1..=YEAR_MAX).contains(&year) {
        return Reading::Unknown;
    }
    match time_and_offset(rest) {
        Shape::Complete { time, fraction, offset } => {
            let local = day.and_then(|day| micros(day, time, fraction));
            let time = match offset {
                None => local.map(Time::Local),
                Some(Offset { sign, parts: [hours, minutes, seconds] }) => {
                    let is_offset = hours <= OFFSET_HOURS_MAX && minutes < 60 && seconds < 60;
                    let offset = sign * ((hours * 60 + minutes) * 60 + seconds) * SECOND;
                    local.filter(|_| is_offset).map(|local| Time::Instant(local - offset))
                }
            };
            time.map_or(Reading::Impossible, Reading::Time)
        }
        Shape::NoTime => Reading::Impossible,
        Shape::Other => unparsed(text),
    }
}

/// The text after a date.
enum Shape {
    Complete {
        time: [i64; 3],
        fraction: i64,
        offset: Option<Offset>,
    },
    /// A time of day without minutes.
    NoTime,
    Other,
}

struct Offset {
    sign: i64,
    parts: [i64; 3],
}

fn time_and_offset(mut rest: Rest<'_>) -> Shape {
    let midnight = |offset| Shape::Complete { time: [0; 3], fraction: 0, offset };
    let has_space = rest.skip_spaces();
    // PostgreSQL treats a minus sign right after a date as part of the date.
    if rest.0.first().is_none_or(|byte| *byte != b'-' || has_space)
        && let Some(offset) = rest.offset()
    {
        return midnight(offset);
    }
    let has_t = rest.one_of(b"Tt");
    if !has_space && !has_t {
        return Shape::Other;
    }
    let hour = rest.digits(1..=2);
    if hour.is_some() && rest.one_of(b":") {
        let Some(minute) = rest.digits(1..=2) else { return Shape::Other };
        let (mut second, mut fraction) = (0, 0);
        if rest.one_of(b":") {
            let Some(seconds) = rest.digits(1..=2) else { return Shape::Other };
            second = seconds;
            if rest.one_of(b".") {
                fraction = rest.fraction();
            }
        }
        rest.skip_spaces();
        return match (hour, rest.offset()) {
            (Some(hour), Some(offset)) => Shape::Complete { time: [hour, minute, second], fraction, offset },
            _ => Shape::Other,
        };
    }
    rest.skip_spaces();
    // Some versions accept an offset directly after a `T`.
    let may_be_time = hour.is_none() && matches!(rest.0, [b'+' | b'-', ..]);
    if rest.offset().is_some() && !may_be_time { Shape::NoTime } else { Shape::Other }
}

/// The part of a text that is not parsed yet.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Consumes one byte if it is one of `bytes`.
    fn one_of(&mut self, bytes: &[u8]) -> bool {
        let is_match = self.0.first().is_some_and(|first| bytes.contains(first));
        self.0 = &self.0[usize::from(is_match)..];
        is_match
    }

    /// Skips white space. Returns true if there was any.
    fn skip_spaces(&mut self) -> bool {
        let rest = self.0.trim_ascii_start();
        let is_any = rest.len() < self.0.len();
        self.0 = rest;
        is_any
    }

    /// Parses a number whose digit count is in `count`. Consumes nothing otherwise.
    fn digits(&mut self, count: std::ops::RangeInclusive<usize>) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !count.contains(&length) {
            return None;
        }
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// Parses a fraction of a second into microseconds, rounded as the server rounds it.
    fn fraction(&mut self) -> i64 {
        let mut micros = 0;
        let mut unit = SECOND;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0 {
            let digit = i64::from(digit - b'0');
            micros += if unit > 1 { digit * unit / 10 } else { i64::from(unit == 1 && digit >= 5) };
            unit /= 10;
            self.0 = rest;
        }
        micros
    }

    fn date(&mut self) -> Option<[i64; 3]> {
        let year = self.digits(4..=6)?;
        let separator = *self.0.first().filter(|byte| matches!(byte, b'-' | b'/'))?;
        self.one_of(&[separator]);
        let month = self.digits(1..=2)?;
        let has_day = self.one_of(&[separator]);
        let day = self.digits(1..=2).filter(|_| has_day)?;
        Some([year, month, day])
    }

    /// Parses the rest of the text: it is empty, the name of UTC, or an offset. `None` for anything else.
    fn offset(mut self) -> Option<Option<Offset>> {
        if self.0.is_empty() {
            return Some(None);
        }
        if [b"Z".as_slice(), b"UTC", b"GMT"].iter().any(|utc| self.0.eq_ignore_ascii_case(utc)) {
            return Some(Some(Offset { sign: 1, parts: [0; 3] }));
        }
        let sign = if self.0[0] == b'-' { -1 } else { 1 };
        if !self.one_of(b"+-") {
            return None;
        }
        let parts = match self.digits(1..=2) {
            Some(hours) => {
                let minutes = if self.one_of(b":") { self.digits(1..=2)? } else { 0 };
                let seconds = if self.one_of(b":") { self.digits(1..=2)? } else { 0 };
                [hours, minutes, seconds]
            }
            None => {
                let both = self.digits(3..=4)?;
                [both / 100, both % 100, 0]
            }
        };
        self.0.is_empty().then_some(Some(Offset { sign, parts }))
    }
}

/// A text without digits is a time only if it contains one of these words.
const SPECIAL: [&str; 7] = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity", "allballs"];
/// Other words that PostgreSQL accepts in dates. Names of months and days are matched by their first three letters instead.
const WORDS: [&str; 21] = [
    "ad", "am", "at", "bc", "d", "dst", "dow", "doy", "gmt", "h", "isodow", "isoyear", "j", "julian", "m",
    "on", "pm", "t", "utc", "y", "z",
];
const MONTHS_AND_DAYS: [&str; 19] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mon", "tue", "wed",
    "thu", "fri", "sat", "sun",
];

/// Decides whether PostgreSQL certainly refuses a text that this module cannot parse.
fn unparsed(text: &[u8]) -> Reading {
    let has_digit = text.iter().any(u8::is_ascii_digit);
    let words = || text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let is_in =
        |word: &[u8], list: &[&str]| list.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
    let is_known = |word: &&[u8]| {
        let begin = &word[..word.len().min(3)];
        is_in(word, &SPECIAL) || is_in(word, &WORDS) || is_in(begin, &MONTHS_AND_DAYS)
    };
    // One unknown word may be a time zone, which can have several parts separated by `/`, `_`, `+` or `-`.
    let zones = || {
        text.split(|byte| !(byte.is_ascii_alphanumeric() || b"/_+-".contains(byte))).filter(|word| {
            word.split(|byte| !byte.is_ascii_alphabetic()).any(|part| !part.is_empty() && !is_known(&part))
        })
    };
    let is_refused = text.iter().any(|byte| byte.is_ascii_control() && !(9..=13).contains(byte))
        || text.iter().filter(|byte| byte.is_ascii_alphanumeric()).count() > LETTERS_AND_DIGITS_MAX
        || !has_digit && !words().any(|word| is_in(word, &SPECIAL))
        || zones().count() > 1
        || is_number_without_a_date(text)
        || is_year_and_month(text);
    if is_refused { Reading::Impossible } else { Reading::Unknown }
}

/// A text of digits only is a date if its last four digits are a month and a day.
fn is_number_without_a_date(text: &[u8]) -> bool {
    let [.., m1, m2, d1, d2] = text else { return text.iter().all(u8::is_ascii_digit) };
    let is_date = || {
        let (month, day) = (number(*m1, *m2), number(*d1, *d2));
        text.len() > 5
            && month.is_some_and(|month| (1..=12).contains(&month))
            && day.is_some_and(|day| (1..=31).contains(&day))
    };
    text.iter().all(u8::is_ascii_digit) && !is_date()
}

/// PostgreSQL refuses a year and a month without a day.
fn is_year_and_month(text: &[u8]) -> bool {
    let mut rest = Rest(text);
    rest.digits(4..=4).is_some() && rest.one_of(b"-") && rest.digits(1..=2).is_some() && rest.0.is_empty()
}

#[cfg(test)]
mod tests {
    use jiff::Span;
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Time {
        match read(text.as_bytes()) {
            Reading::Time(time) => time,
            other => panic!("'{text}' is {other:?}"),
        }
    }

    #[test]
    fn every_format_with_an_offset_is_the_same_instant() {
        let expected = Time::Instant((6_210 * 86_400 + (8 * 60 + 59) * 60 + 22) * SECOND);
        for text in [
            "2017-01-01T08:59:22Z",
            "2017-01-01 08:59:22z",
            "2017-01-01 08:59:22 UTC",
            "2017-01-01 08:59:22 gmt",
            "2017-01-01 08:59:22+00",
            "2017-01-01 08:59:22 +00:00",
            "2017-01-01 08:59:22 +0000",
            "2017-01-01 10:59:22+02",
            "2017-01-01 10:59:22+2",
            "2017-01-01 14:29:22+05:30",
            "2017-01-01 14:29:22+530",
            "2017-01-01 08:59:37+00:00:15",
            "2016-12-31 23:59:22-09",
            "2017/1/1 8:59:22.0000004Z",
            " 2017-01-01T08:59:22.+00 ",
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        assert_eq!(time("2017-01-01 +01"), time("2016-12-31 23:00Z"));
    }

    #[test]
    fn special_times_are_parsed_as_the_server_parses_them() {
        let check = |text: &str, same: &str| assert_eq!(time(text), time(same), "{text}");
        check("2017-01-01", "2017-01-01 00:00:00");
        check("2017-01-01 24:00:00", "2017-01-02 00:00");
        check("2017-01-01 23:59:60", "2017-01-02 00:00");
        check("2017-01-02 00:00:00.1234567890", "2017-01-02 00:00:00.123457");
        check("9999-12-31 23:59:59-01", "10000-01-01 00:59:59Z");
        assert_eq!(time("Infinity"), Time::Instant(i64::MAX));
        assert_eq!(time(" -infinity"), Time::Instant(i64::MIN));
        assert_eq!(time("2000-01-01"), Time::Local(0));
        assert_eq!(time("2000-03-01"), Time::Local(60 * DAY));
        assert_eq!(time("0001-01-01"), Time::Local(-730_119 * DAY));
    }

    #[test]
    fn a_text_that_cannot_be_parsed_is_left_to_the_server() {
        for text in [
            "now",
            "yesterday",
            "tomorrow 12:00",
            "01/02/2017",
            "Jan 1 2017",
            "January 8, 1999",
            "20170101",
            "20170101T000000",
            "2017-01-01 BC",
            "2017-02-29 BC",
            "2017-01-01 12:00 PM",
            "2017-01-01 00:00:00 Europe/Vienna",
            "2017-01-01 00:00:00 EST DST",
            "2017-01-01 00:00 America/Argentina/Buenos_Aires",
            "2017-01-01 00:00:00 UTC+1",
            "J2451187",
            "2017-001",
            "2017.01.02",
            "2017-01-01_00:00:00",
            "2017-01-01 000000",
            "17-01-01",
            "+infinity",
        ] {
            assert_eq!(read(text.as_bytes()), Reading::Unknown, "{text}");
        }
    }

    #[test]
    fn a_text_that_the_server_certainly_refuses_is_impossible() {
        for text in [
            "",
            "soon",
            "bad",
            "-",
            "NaN",
            "null",
            "inf",
            "2017",
            "12345",
            "123456",
            "1483228800",
            "1483228800000",
            "2017-01",
            "2017-13-01 00:00:00",
            "2017-02-29 00:00:00",
            "1900-02-29",
            "2017-00-01",
            "2017-01-00 00:00:00",
            "0000-01-01 00:00:00",
            "294278-01-01",
            "2017-01-01 00:60:00",
            "2017-01-01 24:00:01",
            "2017-01-01 23:59:60.5",
            "2017-01-01 25:00:00",
            "2017-01-01 00:00:00+25",
            "2017-01-01 00:00:00+16",
            "2017-01-01 00:00:00+05:60",
            "2017-01-01T00",
            "2017-01-01 00",
            "2017-01-01T00Z",
            "2017-01-01 00 +01",
            "2017-01-01T",
            "2017-01-01 00:00:00'; DROP TABLE cpu_usage",
        ] {
            assert_eq!(read(text.as_bytes()), Reading::Impossible, "{text}");
        }
    }

    #[test]
    fn a_window_is_reversed_only_if_it_is_certain() {
        let check = |start: &str, end: &str, zone: Option<&str>, expected: bool| {
            assert_eq!(
                is_reversed(time(start), time(end), &Zone::named(zone)),
                expected,
                "{start} to {end} in {zone:?}"
            );
        };
        check("2017-01-01 01:00", "2017-01-01 00:59:59.999999", Some("UTC"), true);
        check("2017-01-01 01:00", "2017-01-01 01:00", Some("UTC"), false);
        check("2017-01-02", "2017-01-01", None, true);
        check("2017-01-01 00:00:00Z", "2017-01-01 01:00:00+02", None, true);
        check("2017-01-01 01:00Z", "2017-01-01 00:30", Some("UTC"), true);
        check("2017-01-01 00:30", "2017-01-01 01:00Z", Some("utc"), false);
        // 00:30 in New York is 05:30 in UTC.
        check("2017-01-01 01:00Z", "2017-01-01 00:30", Some("America/New_York"), false);
        check("2017-01-01 00:30", "2017-01-01 05:29Z", Some("America/New_York"), true);
        check("2017-01-01 00:30", "2017-01-01 05:31Z", Some("america/new_york"), false);
        // Clocks were set back at 01:00 UTC: 02:30 in Vienna was 00:30 and 01:30.
        check("2017-10-29 02:30", "2017-10-29 00:29Z", Some("Europe/Vienna"), true);
        check("2017-10-29 02:30", "2017-10-29 00:31Z", Some("Europe/Vienna"), false);
        check("2017-10-29 01:31Z", "2017-10-29 02:30", Some("Europe/Vienna"), true);
        check("2017-10-29 01:29Z", "2017-10-29 02:30", Some("Europe/Vienna"), false);
        check("2017-01-01 05:00Z", "2017-01-01 00:30", Some("Nowhere/Here"), false);
        check("2017-01-01 05:00Z", "2017-01-01 00:30", None, false);
        check("infinity", "2017-01-01 00:30", None, true);
        check("2017-01-01 00:30", "-infinity", None, true);
        check("-infinity", "2017-01-01 00:30", None, false);
    }

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_the_complete_grammar(
            year in 0u16..=9_999, month in 0u8..=13, day in 0u8..=32, hour in 0u8..=25, minute in 0u8..=60, second in 0u8..=61,
        ) {
            let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            let expected = fast(text.as_bytes()).map_or(Reading::Impossible, Reading::Time);
            prop_assert_eq!(complete(text.as_bytes()), expected);
        }

        #[test]
        fn day_numbers_agree_with_the_calendar(days in -730_119i32..=2_921_939) {
            let date = civil::date(2000, 1, 1).checked_add(Span::new().days(days)).unwrap();
            let number = day_number(date.year().into(), date.month().into(), date.day().into());
            prop_assert_eq!(number, Some(days.into()));
        }
    }
}
