//! Samples as CSV with a header. Cells are quoted only if a host name requires it.

use std::fmt::Write as _;
use std::fs::File;

use super::super::csv_cell::csv_cell;
use super::{COLUMNS, Failure, RowOutcome, SampleRow};
use crate::journal::JournalError;

const BUFFER_BYTES: usize = 64 << 10;

pub(super) fn write<'a>(
    file: &mut File,
    rows: impl Iterator<Item = Result<SampleRow<'a>, JournalError>>,
) -> Result<(), Failure> {
    let mut csv = csv::WriterBuilder::new().buffer_capacity(BUFFER_BYTES).from_writer(file);
    csv.write_record(COLUMNS)?;
    let mut record = csv::ByteRecord::new();
    let mut scratch = String::new();
    for row in rows {
        let sample = row?;
        let SampleRow { row, host, worker, attempt, start_ns, lag, service_time_ns, outcome, .. } = sample;
        record.clear();
        let mut put = |value: &dyn std::fmt::Display| {
            scratch.clear();
            write!(scratch, "{value}").expect("writing to a string cannot fail");
            record.push_field(scratch.as_bytes());
        };
        put(&row);
        put(&csv_cell(host));
        put(&worker.slot);
        put(&worker);
        put(&attempt);
        put(&sample.pass);
        put(&sample.statement);
        put(&sample.execution);
        put(&start_ns);
        put(&lag.total_ns());
        put(&lag.queueing_ns);
        put(&lag.generator_delay_ns);
        put(&service_time_ns);
        match outcome {
            RowOutcome::Completed { rows, bytes } => {
                put(&rows);
                put(&bytes);
                put(&"");
            }
            RowOutcome::Failed(sqlstate) => {
                put(&"");
                put(&"");
                put(&sqlstate);
            }
        }
        csv.write_byte_record(&record)?;
    }
    Ok(csv.flush()?)
}
