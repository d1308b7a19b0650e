//! Invalid files and rows, and their error messages.

use super::*;

const HEADER: &str = "hostname,start_time,end_time";
const GOOD: &str = "h,2017-01-01 00:00:00,2017-01-01 01:00:00";

fn check(content: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(error_of(content, &demo()), expected);
}

/// Checks a file with one bad row on line 2.
fn check_row(row: impl AsRef<[u8]>, expected: &str) {
    let content = [HEADER.as_bytes(), b"\n", row.as_ref(), b"\n"].concat();
    let head = "workload file 'q.csv' has 1 bad row (use --on-bad-row skip to run the others):\n  q.csv:2: ";
    check(content, &format!("{head}{expected}"));
}

#[test]
fn a_file_without_rows_is_refused() {
    let empty = "workload file 'q.csv' is empty; it needs a header line with the names of the columns, then one row per query";
    for content in ["", "\u{feff}", "\n\r\n"] {
        check(content, empty);
    }
    let header_only =
        "workload file 'q.csv' has a header and no rows; each row after the header is one query";
    for content in [HEADER, "hostname,start_time,end_time\r\n\n\n"] {
        check(content, header_only);
    }
}

#[test]
fn a_missing_column_error_lists_the_present_columns_and_suggests_one() {
    check(
        "Hostname,start,end_time\n",
        "workload file 'q.csv' has no column 'hostname', 'start_time'; its header has 'Hostname', 'start', 'end_time'; \
         is 'Hostname' meant for 'hostname'?; is 'start' meant for 'start_time'?; use --host-column to name another host column",
    );
    check(
        "hostname;start_time;end_time\n",
        "workload file 'q.csv' has no column 'hostname', 'start_time', 'end_time'; its header has 'hostname;start_time;end_time'; \
         use --host-column to name another host column; columns must be separated by ',' instead of ';'",
    );
}

#[test]
fn a_file_without_a_header_is_refused_with_its_first_row() {
    check(
        GOOD,
        "workload file 'q.csv' has no column 'hostname', 'start_time', 'end_time'; \
         its header has 'h', '2017-01-01 00:00:00', '2017-01-01 01:00:00'; \
         use --host-column to name another host column",
    );
}

#[test]
fn a_missing_parameter_does_not_suggest_host_column() {
    let error = error_of("host,b\n", &custom_query("host", &["usage"]));
    assert_eq!(error, "workload file 'q.csv' has no column 'usage'; its header has 'host', 'b'");
}

#[test]
fn a_duplicate_column_is_refused_only_if_it_is_needed() {
    check(
        format!("{HEADER},end_time\n"),
        "workload file 'q.csv' has more than one column 'end_time', so it is unclear which one is meant; rename the others",
    );
    let workload = open_bytes(format!("{HEADER},x,x\n{GOOD},,\n"), &demo()).unwrap();
    assert_eq!(workload.rows(), 1);
}

#[test]
fn every_fault_of_a_row_is_reported_by_file_and_line() {
    check_row("h,2017-01-01", "field count is 2 where the header has 3");
    check_row(format!("{GOOD},"), "field count is 4 where the header has 3");
    check_row("\"h,2017-01-01 00:00:00\n", "the quote that opens in this line is never closed");
    check_row(
        "\"h,2017-01-01 00:00:00\nh\",",
        "field count is 2 where the header has 3; it spans several lines: check for a quote that is closed too late",
    );
    check_row(
        "\"h\"h,2017-01-01,2017-01-01",
        "the quote that opens in this line closes before other text: the end of its field is missing, or a quote within it is not written twice",
    );
    check_row(format!("h,\"{}\",x", "x".repeat(1 << 20)), "the record is longer than 1048576 bytes");
    check_row(",2017-01-01,2017-01-01", "hostname is empty; every row needs a host");
    check_row("h,,2017-01-01", "start_time '' is not a time; write it like 2017-01-01 08:59:22");
    check_row("h,2017-01-01,soon", "end_time 'soon' is not a time; write it like 2017-01-01 08:59:22");
    check_row("h,2017-01-01,2016-12-31", "end_time '2016-12-31' is before start_time '2017-01-01'");
    check_row(
        "h,2017-01-01 00:00:00Z,2017-01-01 01:00:00+02",
        "end_time '2017-01-01 01:00:00+02' is before start_time '2017-01-01 00:00:00Z'",
    );
    check_row(b"h\xff,2017-01-01,2017-01-01", "hostname is not UTF-8; save the file as UTF-8");
    check_row(b"h\0,2017-01-01,2017-01-01", "hostname has a NUL byte, which PostgreSQL's text cannot hold");
}

#[test]
fn two_halves_of_a_character_in_adjacent_fields_are_not_utf8() {
    let error = error_of(b"host,a,b\nh,\xc3,\xa9\n", &custom_query("host", &["a", "b"]));
    assert!(error.ends_with("q.csv:2: a is not UTF-8; save the file as UTF-8"), "{error}");
}

#[test]
fn a_long_value_with_control_characters_is_shortened_and_escaped() {
    let value = format!("\u{1b}[31m{}", "x".repeat(500));
    let error = error_of(format!("{HEADER}\nh,\"{value}\",2017-01-01\n"), &demo());
    assert!(error.contains("'\\u{1b}[31mxxx") && error.contains("…'"), "{error}");
    assert!(error.len() < 300, "{error}");
}

#[test]
fn the_first_ten_bad_rows_are_listed_and_all_are_counted() {
    let error = error_of(format!("{HEADER}\n{}", ",,\n".repeat(12)), &demo());
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "workload file 'q.csv' has 12 bad rows (use --on-bad-row skip to run the others):");
    assert_eq!(lines[10], "  q.csv:11: hostname is empty; every row needs a host");
    assert_eq!(lines[11..], ["  and 2 more"]);
}

#[test]
fn line_numbers_include_blank_lines_and_quoted_line_breaks() {
    let content = format!("\r\n{HEADER},note\r\n\r\n\n{GOOD},\"a\r\nb\n\"\r\n\r\n,,,\r\n{GOOD},\n,,,");
    let error = error_of(content, &demo());
    let lines: Vec<&str> = error.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  q.csv:9: hostname is empty; every row needs a host",
            "  q.csv:11: hostname is empty; every row needs a host",
        ]
    );
}

#[test]
fn skipped_rows_are_reported_and_the_others_have_consecutive_ids() {
    let skip = Options { on_bad_row: OnBadRow::Skip, ..custom_query("host", &["a"]) };
    let workload = open_bytes("host,a\nx,1\n,2\ny,3\nz\nx,4\n", &skip).unwrap();
    assert_eq!((workload.rows(), workload.skipped()), (3, 2));
    let lines: Vec<u64> = workload.bad().iter().map(|row| row.line).collect();
    assert_eq!(lines, [3, 5]);
    let values: Vec<_> = rows(workload).into_iter().map(|(host, values)| (host, values[0].clone())).collect();
    let row = |host: &str, a: &str| (host.to_owned(), Some(a.to_owned()));
    assert_eq!(values, [row("x", "1"), row("y", "3"), row("x", "4")]);
}

#[test]
fn a_file_with_only_bad_rows_is_an_error_when_skipping() {
    let skip = Options { on_bad_row: OnBadRow::Skip, ..demo() };
    let error = error_of(format!("{HEADER}\n,,\n"), &skip);
    assert!(error.starts_with("workload file 'q.csv' has no valid row to run: 1 bad row"), "{error}");
}

/// Checks the rows' hosts, the number of skipped records and their lines, for a file with the columns `host` and `a`.
#[track_caller]
fn check_skipping(content: impl AsRef<[u8]>, hosts: &[&str], skipped: u64, lines: &[u64]) {
    let skip = Options { on_bad_row: OnBadRow::Skip, ..custom_query("host", &["a"]) };
    let workload = open_bytes(content, &skip).unwrap();
    assert_eq!(workload.skipped(), skipped);
    assert_eq!(workload.bad().iter().map(|row| row.line).collect::<Vec<_>>(), lines);
    let found: Vec<String> = rows(workload).into_iter().map(|(host, _)| host).collect();
    assert_eq!(found, hosts);
}

#[test]
fn an_unclosed_quote_skips_only_its_own_line() {
    check_skipping("host,a\nw,1\nx,\"2\ny,3\nz,4\n", &["w", "y", "z"], 1, &[3]);
    check_skipping("host,a\r\nw,1\r\nx,\"2\r\n\r\ny,\"\"\r\n", &["w", "y"], 1, &[3]);
    check_skipping("host,a\nx,\"2\ny,\"3\"\nz,\"4\ny,5", &["y", "y"], 2, &[2, 4]);
    check_skipping("host,a\nw,1\nx,\"2", &["w"], 1, &[3]);
    check_skipping("host,a\nw,1\n\"x\ny\",\"2\nz,3\n", &["w", "z"], 1, &[4]);
    check_skipping("host,a\nx,\"2\"0\ny,3\n", &["y"], 1, &[2]);
}

#[test]
fn an_unclosed_quote_in_a_large_file_skips_only_its_own_line() {
    let lines = "host_1,some value\n".repeat(100_000);
    let content = format!("host,a\n{lines}x,\"2\n{lines}");
    assert!(content.len() > 3 << 20, "several blocks, and more than the longest record");
    check_skipping(content, &vec!["host_1"; 200_000], 1, &[100_002]);
}

#[test]
fn a_header_with_an_unclosed_quote_is_refused_even_when_skipping() {
    let skip = Options { on_bad_row: OnBadRow::Skip, ..demo() };
    assert_eq!(
        error_of(format!("\n\"{HEADER}\n{GOOD}\n"), &skip),
        "q.csv:2: the header cannot be read: the quote that opens in this line is never closed"
    );
}

#[test]
fn a_record_that_is_too_long_is_skipped() {
    let long = format!("x,\"{}\"", "2\n".repeat(600_000));
    check_skipping(format!("host,a\n{long}\ny,3\n"), &["y"], 1, &[2]);
}

#[test]
fn lines_that_end_in_cr_only_are_counted() {
    let error = error_of(format!("{HEADER}\r{GOOD}\r{GOOD}\rh,bad,2017-01-01\r"), &demo());
    assert!(error.contains("q.csv:4: start_time 'bad'"), "{error}");
}

#[test]
fn many_blank_lines_are_not_a_long_record() {
    let content = format!("{HEADER}\n{}{GOOD}\n", "\n".repeat(2 << 20));
    assert_eq!(open_bytes(content, &demo()).unwrap().rows(), 1);
}

#[test]
fn a_file_in_another_format_is_refused_with_how_to_convert_it() {
    let check = |magic: &[u8], expected: &str| {
        let error = error_of(magic, &demo());
        assert!(error.starts_with(&format!("workload file 'q.csv' is {expected}")), "{error}");
    };
    check(b"\x1f\x8b\x08\0", "compressed (gzip); unpack it first");
    check(b"\x28\xb5\x2f\xfd", "compressed (zstd); unpack it first");
    check(b"\xfd7zXZ\0", "compressed (xz); unpack it first");
    check(b"BZh91AY&SY", "compressed (bzip2); unpack it first");
    check(b"\x04\x22\x4d\x18", "compressed (lz4); unpack it first");
    check(b"PK\x03\x04", "a ZIP archive or a spreadsheet");
    check(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a legacy Excel spreadsheet or other Microsoft Office document",
    );
    check(b"PAR1\x15\0", "a Parquet file; export it as CSV");
    check(b"PAR1 and text PAR1", "a Parquet file; export it as CSV");
    let header = error_of(b"PARENT_ID,name\n1,a\n", &demo());
    assert!(!header.contains("Parquet"), "a header may begin with the same letters: {header}");
    check(b"\xff\xfeh\0o\0", "UTF-16; convert it first");
    check(b"h\0o\0s\0t\0n\0", "UTF-16; convert it first");
    check(b"\0h\0o\0s\0t\0n", "UTF-16; convert it first");
    check(b"\xff\xfe\0\0h\0\0\0", "UTF-32; convert it first");
    check(b"h\0\0\0o\0\0\0", "UTF-32; convert it first");
}

#[test]
fn a_file_that_cannot_be_opened_is_reported_with_the_reason() {
    let check = |path: &str, expected: &str| {
        let error = open(Path::new(path), &demo(), &mut |_| {}).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("no/such.csv", "cannot open workload file 'no/such.csv': No such file");
    check("/", "workload file '/' is a directory; name a CSV file in it");
}

#[test]
fn a_limit_of_zero_is_refused() {
    let none = Options { limit: Some(0), ..demo() };
    assert!(matches!(open_bytes(GOOD, &none), Err(WorkloadError::LimitZero)));
}
