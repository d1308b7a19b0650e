//! Formats numbers for people: durations with a fitting unit, counts with thousands separators, rates and ratios. JSON and CSV do not use
//! it, because they contain plain milliseconds.

/// Shown instead of a missing figure.
pub const NONE: &str = "–";

/// Formats a duration in milliseconds as `412 µs`, `3.21 ms` or `1.04 s`: three digits and a fitting unit.
pub fn duration(ms: f64) -> String {
    if !ms.is_finite() {
        return NONE.to_owned();
    }
    if ms == 0.0 {
        return "0 µs".to_owned();
    }
    // The unit changes where rounding to three digits would give 1000, so that 999.7 µs is shown as 1.00 ms.
    let size = ms.abs();
    if size < 0.9995 {
        format!("{} µs", three_digits(ms * 1e3))
    } else if size < 999.5 {
        format!("{} ms", three_digits(ms))
    } else {
        format!("{} s", three_digits(ms / 1e3))
    }
}

pub fn duration_or_none(ms: Option<f64>) -> String {
    ms.map_or_else(|| NONE.to_owned(), duration)
}

/// Formats two durations as `45.9–48.8 ms`, or with both units if they differ.
pub fn duration_range([low, high]: [f64; 2]) -> String {
    let (low, high) = (duration(low), duration(high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number}–{high}"),
        _ => format!("{low}–{high}"),
    }
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    group(&number.to_string())
}

/// `1 row`, `2 rows`, `2 queries`.
pub fn counted(number: u64, noun: &str) -> String {
    let number_shown = count(number);
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{number_shown} {noun}"),
        Some(stem) => format!("{number_shown} {stem}ies"),
        None => format!("{number_shown} {noun}s"),
    }
}

/// Formats a rate or another plain number with at least three digits, or as a whole number: `641`, `12.3`, `98,765`.
pub fn figure(number: f64) -> String {
    if !number.is_finite() {
        NONE.to_owned()
    } else if number.fract() == 0.0 {
        group(&format!("{number:.0}"))
    } else {
        three_digits(number)
    }
}

/// Formats a ratio such as skew: `2.90×`.
pub fn times(ratio: f64) -> String {
    if ratio.is_finite() { format!("{ratio:.2}×") } else { NONE.to_owned() }
}

/// Formats a change such as 0.036 as `+3.6 %`.
pub fn percent(change: Option<f64>) -> String {
    change.map_or_else(|| NONE.to_owned(), |change| format!("{} %", signed(change)))
}

/// `+1.2 to +6.0 %`.
pub fn percent_range([low, high]: [f64; 2]) -> String {
    format!("{} to {} %", signed(low), signed(high))
}

/// Formats a share as a signed percentage with two decimals below 1 %, one below 100 % and none above.
fn signed(change: f64) -> String {
    let percents = change * 100.0;
    let digits = match percents.abs() {
        ..0.995 => 2,
        ..99.5 => 1,
        _ => 0,
    };
    let size = format!("{:.digits$}", percents.abs());
    let size = if digits == 0 { group(&size) } else { size };
    match percents {
        _ if !size.contains(|digit: char| matches!(digit, '1'..='9')) => "0".to_owned(),
        ..0.0 => format!("-{size}"),
        _ => format!("+{size}"),
    }
}

/// Formats a part of a whole: `5.5 %` below 10 %, and `93 %` above.
pub fn share(share: Option<f64>) -> String {
    match share {
        None => NONE.to_owned(),
        Some(share) if share < 0.0995 => format!("{:.1} %", share * 100.0),
        Some(share) => format!("{:.0} %", share * 100.0),
    }
}

/// Formats a part of a whole, rounded down, so that 100 % means all of it.
pub fn share_down(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1} %", (share * 1_000.0).floor() / 10.0))
}

fn three_digits(number: f64) -> String {
    let size = number.abs();
    if size < 9.995 {
        format!("{number:.2}")
    } else if size < 99.95 {
        format!("{number:.1}")
    } else {
        group(&format!("{number:.0}"))
    }
}

/// Inserts commas between groups of three digits, counted from the right.
fn group(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let mut grouped = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ms: f64, expected: &str) {
        assert_eq!(duration(ms), expected, "{ms} ms");
    }

    #[test]
    fn a_duration_has_a_fitting_unit() {
        check(0.0, "0 µs");
        check(0.000_41, "0.41 µs");
        check(0.0412, "41.2 µs");
        check(0.412, "412 µs");
        check(3.2149, "3.21 ms");
        check(45.67, "45.7 ms");
        check(1_040.0, "1.04 s");
        check(5_025_600.0, "5,026 s");
    }

    #[test]
    fn a_change_has_a_sign_and_significant_digits() {
        let check = |change: f64, expected: &str| assert_eq!(percent(Some(change)), expected, "{change}");
        check(0.0364, "+3.6 %");
        check(-0.0364, "-3.6 %");
        check(0.001_23, "+0.12 %");
        check(0.009_99, "+1.0 %");
        check(0.123, "+12.3 %");
        check(1.5, "+150 %");
        check(99.0, "+9,900 %");
        check(-0.000_001, "0 %");
        check(0.0, "0 %");
        assert_eq!(percent(None), NONE);
        assert_eq!(percent_range([-0.008, 0.039]), "-0.80 to +3.9 %");
    }

    #[test]
    fn a_range_shows_a_common_unit_once() {
        assert_eq!(duration_range([45.94, 48.8]), "45.9–48.8 ms");
        assert_eq!(duration_range([0.9, 1.04]), "900 µs–1.04 ms");
    }

    #[test]
    fn rounding_never_shows_four_digits_of_the_smaller_unit() {
        check(0.009_999, "10.0 µs");
        check(0.099_99, "100 µs");
        check(0.9994, "999 µs");
        check(0.9997, "1.00 ms");
        check(9.999, "10.0 ms");
        check(999.4, "999 ms");
        check(999.7, "1.00 s");
    }

    #[test]
    fn a_value_that_is_not_finite_is_shown_as_a_dash() {
        check(f64::NAN, "–");
        check(f64::INFINITY, "–");
        assert_eq!(duration_or_none(None), "–");
    }

    #[test]
    fn counts_are_grouped_by_three() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), expected);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(2_000, "row"), "2,000 rows");
        assert_eq!(counted(0, "query"), "0 queries");
    }

    #[test]
    fn a_rate_keeps_three_digits() {
        assert_eq!(figure(12.345), "12.3");
        assert_eq!(figure(13.0), "13");
        assert_eq!(figure(98_765.4), "98,765");
        assert_eq!(figure(-1_234.0), "-1,234");
        assert_eq!(times(2.9), "2.90×");
    }

    #[test]
    fn a_hundred_percent_means_all_of_it() {
        assert_eq!(
            [Some(1.0), Some(0.99996), Some(0.5), None].map(share_down),
            ["100.0 %", "99.9 %", "50.0 %", NONE]
        );
    }
}
