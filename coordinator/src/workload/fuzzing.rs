//! Properties that hold when any file is read as a workload. Used by the fuzzer and by the tests that replay its findings.

use std::sync::Arc;

use muster_core::ids::RowId;
use muster_core::parameters::{PackedParameters, Values};

use super::records::{Records, Step};
use super::source::Source;
use super::time::{self, Reading, Time};
use super::{Checks, OnBadRow, Options, RowReader, Workload, index};

/// Checks all properties. The first byte selects how the rest is read: 0 reads it as a whole file, any other value puts a header before it.
/// The second byte is the block size, which must not affect the result.
pub fn check(data: &[u8]) {
    let [mode, block, rest @ ..] = data else { return };
    let checks = Checks::DemoWindow {
        start_time: "start_time".to_owned(),
        end_time: "end_time".to_owned(),
        timezone: Some("UTC".to_owned()),
    };
    let options = |checks| Options {
        host_column: "hostname".to_owned(),
        parameters: ["end_time", "hostname"].map(str::to_owned).to_vec(),
        mix: None,
        checks,
        on_bad_row: OnBadRow::Skip,
        limit: None,
    };
    check_blocks(rest, usize::from(*block) + 1);
    match mode {
        0 => drop(read(rest, &options(checks))),
        1 => drop(read(&with_header(rest), &options(checks))),
        _ => {
            let file = with_header(rest);
            let rows = read(&file, &options(Checks::None)).unwrap_or_default();
            // The csv crate accepts an unclosed quote, which joins rows.
            if records(&file, file.len()).is_ok() {
                assert_eq!(rows, valid_rows(&file), "the rows equal those of the csv crate");
            }
        }
    }
}

/// Reads a text as a time in a session whose time zone is UTC, in microseconds since 2000. Returns `None` if only the server can decide,
/// and an error if the server certainly refuses the text.
pub fn time(text: &str) -> Result<Option<i64>, String> {
    match time::read(text.as_bytes()) {
        Reading::Time(Time::Instant(micros) | Time::Local(micros)) => Ok(Some(micros)),
        Reading::Unknown => Ok(None),
        Reading::Impossible => Err(format!("'{text}' is not a time")),
    }
}

/// The host and the parameters of a row.
type Row = (String, [Option<String>; 2]);

fn with_header(rest: &[u8]) -> Vec<u8> {
    [b"hostname,start_time,end_time\n", rest].concat()
}

/// Reads all rows in the second pass, which must find the rows of the first pass. `None` if the file is not a valid workload.
fn read(file: &[u8], options: &Options) -> Option<Vec<Row>> {
    let source = Source::spool("-".to_owned(), file, &mut |_| {}).expect("a temporary file can be written");
    let workload = Arc::new(index::read(source, options, &mut |_| {}).ok()?);
    if let Some(lines) = lines_without_quotes(file) {
        assert_eq!(
            u64::from(workload.rows) + workload.skipped,
            lines,
            "rows + skipped rows = records of the file"
        );
    }
    assert_eq!(workload.hosts.iter().map(|(_, _, rows)| rows).sum::<u32>(), workload.rows);
    let mut reader = RowReader::new(Arc::clone(&workload));
    // Rows can be read in any order.
    let forward: Vec<Row> = (0..workload.rows).map(|row| row_of(&mut reader, &workload, row)).collect();
    let mut backward: Vec<Row> =
        (0..workload.rows).rev().map(|row| row_of(&mut reader, &workload, row)).collect();
    backward.reverse();
    assert_eq!(forward, backward);
    Some(forward)
}

fn row_of(reader: &mut RowReader, workload: &Workload, row: u32) -> Row {
    let mut packed = PackedParameters::new();
    let host = reader.read(RowId::new(row), &mut packed).expect("a valid row can be read again");
    assert_eq!(workload.host_of(RowId::new(row)), Some(host));
    let values = Values::new(packed.as_bytes());
    let values: Vec<_> =
        values.map(|value| value.expect("packed values can be unpacked").map(str::to_owned)).collect();
    (workload.hosts().name(host).to_owned(), values.try_into().expect("two parameters"))
}

/// The valid rows of a file with the header above, as read by the csv crate.
fn valid_rows(file: &[u8]) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let records = reader.byte_records().map(|record| record.expect("memory can be read"));
    let valid = records.filter_map(|record| {
        let text =
            |position| std::str::from_utf8(record.get(position)?).ok().filter(|text| !text.contains('\0'));
        let (host, end_time) = (text(0)?, text(2)?);
        let or_null = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let is_valid = record.len() == 3 && !host.is_empty();
        is_valid.then(|| (host.to_owned(), [or_null(end_time), or_null(host)]))
    });
    valid.collect()
}

/// The number of records of a file without quotes: every non-empty line after the header is one record. `None` if the file has quotes.
fn lines_without_quotes(mut file: &[u8]) -> Option<u64> {
    while let Some(rest) = file.strip_prefix(index::BYTE_ORDER_MARK) {
        file = rest;
    }
    let lines = file.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty());
    (!file.contains(&b'"')).then(|| lines.count() as u64 - 1)
}

fn check_blocks(text: &[u8], block: usize) {
    assert_eq!(records(text, block), records(text, text.len().max(1)));
}

/// The fields of each record.
type Fields = Vec<Vec<Vec<u8>>>;

/// All records of a text that is fed in blocks. The error has the records before the first bad quote.
fn records(text: &[u8], block: usize) -> Result<Fields, Fields> {
    let mut records = Records::new();
    let mut found = Vec::new();
    let mut blocks = text.chunks(block);
    let mut rest: &[u8] = &[];
    loop {
        if rest.is_empty() {
            rest = blocks.next().unwrap_or_default();
        }
        let (taken, step) = records.feed(rest);
        rest = &rest[taken..];
        match step {
            Step::More => {}
            Step::Record => {
                found.push((0..records.len()).map(|field| records.field(field).to_owned()).collect());
            }
            Step::TooLong => found.push(Vec::new()),
            Step::BadQuote(_) => return Err(found),
            Step::End => return Ok(found),
        }
    }
}
