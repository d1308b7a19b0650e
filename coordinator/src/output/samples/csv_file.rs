//! Samples as CSV with a header. Cells are quoted only if a host name requires it.

use std::fmt::{Display, Write as _};
use std::io::Write;

use csv::ByteRecord;
use muster_core::sample::columns::{self, Column, Source, Visitor};
use muster_core::sample::{Outcome, Sample};

use muster_report::csv_cell::csv_cell;

use super::{Failure, RowWriter, SampleRow};

const BUFFER_BYTES: usize = 64 << 10;
const FIRST: [&str; 6] = ["row", "host", "slot", "worker", "attempt", "pass"];

pub(super) struct CsvFile<W: Write> {
    csv: csv::Writer<W>,
    record: ByteRecord,
    scratch: String,
}

impl<W: Write> CsvFile<W> {
    pub(super) fn create(file: W) -> Result<Self, Failure> {
        let mut csv = csv::WriterBuilder::new().buffer_capacity(BUFFER_BYTES).from_writer(file);
        let mut header = Header(FIRST.to_vec());
        let _ = columns::visit(&mut header);
        header.0.push("sqlstate");
        csv.write_record(header.0)?;
        Ok(Self { csv, record: ByteRecord::new(), scratch: String::new() })
    }
}

impl<W: Write> RowWriter for CsvFile<W> {
    fn write(&mut self, row: &SampleRow<'_, '_>) -> Result<(), Failure> {
        let SampleRow { record, host, worker, attempt, pass, sample } = *row;
        self.record.clear();
        let mut cells = Cells { record: &mut self.record, scratch: &mut self.scratch, sample };
        cells.push(&record);
        cells.push(&csv_cell(host));
        cells.push(&worker.slot);
        cells.push(&worker);
        cells.push(&attempt);
        cells.push(&pass);
        let _ = columns::visit(&mut cells);
        match &sample.outcome {
            Outcome::Completed(_) => cells.push(&""),
            Outcome::Failed(error) => cells.push(&error.sqlstate),
        }
        self.csv.write_byte_record(&self.record)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.csv.flush()?)
    }
}

/// Collects the names of the columns.
struct Header(Vec<&'static str>);

impl Visitor for Header {
    fn column(
        &mut self,
        column: Column,
        _: impl Fn(&Sample) -> u64 + Copy,
        _: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        self.0.push(column.name);
        Some(())
    }
}

/// Adds the cells of one row.
struct Cells<'a> {
    record: &'a mut ByteRecord,
    scratch: &'a mut String,
    sample: &'a Sample,
}

impl Cells<'_> {
    fn push(&mut self, value: &dyn Display) {
        self.scratch.clear();
        write!(self.scratch, "{value}").expect("writing to a string cannot fail");
        self.record.push_field(self.scratch.as_bytes());
    }
}

impl Visitor for Cells<'_> {
    fn column(
        &mut self,
        column: Column,
        get: impl Fn(&Sample) -> u64 + Copy,
        _: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        match column.source == Source::Answer && self.sample.answer().is_none() {
            true => self.push(&""),
            false => self.push(&get(self.sample)),
        }
        Some(())
    }
}
