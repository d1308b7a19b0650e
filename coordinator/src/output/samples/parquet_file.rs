//! Samples as Parquet, written in row groups. Each row group is held in memory as columns until it is full. The crate's own column writers
//! are used instead of Arrow, which would add eleven dependencies for the same columns.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use muster_core::ids::WorkerId;
use muster_core::limits::ROW_GROUP_ROWS_MAX;
use muster_core::sample::columns::{self, Column, Source, Visitor};
use muster_core::sample::{Outcome, Sample};
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{Failure, RowWriter, SampleRow};

pub(super) struct ParquetFile<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    group: Group,
}

impl<W: Write + Send> ParquetFile<W> {
    pub(super) fn create(file: W) -> Result<Self, Failure> {
        let columns = Numbers::listed();
        let schema = parse_message_type(&schema(&columns)).expect("every column has a name and a type");
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties(&columns)))?;
        Ok(Self { writer, group: Group { numbers: columns, ..Group::default() } })
    }
}

impl<W: Write + Send> RowWriter for ParquetFile<W> {
    fn write(&mut self, row: &SampleRow<'_, '_>) -> Result<(), Failure> {
        self.group.push(row);
        if self.group.len() >= ROW_GROUP_ROWS_MAX {
            self.group.write(self.writer.next_row_group()?)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        if self.group.len() > 0 {
            self.group.write(self.writer.next_row_group()?)?;
        }
        self.writer.finish()?;
        Ok(())
    }
}

/// Integers are signed, because not every reader supports unsigned ones; 2^63 nanoseconds are 292 years.
fn schema(columns: &[Numbers]) -> String {
    let numbers: String = columns
        .iter()
        .map(|numbers| {
            let repetition = if numbers.is_of_answer() { "OPTIONAL" } else { "REQUIRED" };
            let width = if numbers.column.is_short { 32 } else { 64 };
            format!("{repetition} INT{width} {};", numbers.column.name)
        })
        .collect();
    format!(
        "message samples {{
            REQUIRED INT64 row;
            REQUIRED BINARY host (STRING);
            REQUIRED BINARY slot (STRING);
            REQUIRED BINARY worker (STRING);
            REQUIRED INT32 attempt;
            REQUIRED INT32 pass;
            {numbers}
            OPTIONAL BINARY sqlstate (STRING);
        }}"
    )
}

fn properties(columns: &[Numbers]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("muster {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    // Most values of these columns are different, so a dictionary would be useless.
    let long = columns.iter().map(|numbers| numbers.column).filter(|column| !column.is_short);
    for name in long.map(|column| column.name).chain(["row"]) {
        properties = properties
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

/// One row group. An optional column has a definition level for each row, which is 1 if there is a value.
#[derive(Default)]
struct Group {
    row: Vec<i64>,
    /// The concatenated host names, and the end of each. They become one allocation, of which each value is a slice.
    hosts: Vec<u8>,
    host_ends: Vec<usize>,
    /// Cached texts of slot and worker.
    names: HashMap<WorkerId, [ByteArray; 2]>,
    slot: Vec<ByteArray>,
    worker: Vec<ByteArray>,
    attempt: Vec<i32>,
    pass: Vec<i32>,
    numbers: Vec<Numbers>,
    is_completed: Vec<i16>,
    sqlstate: Vec<ByteArray>,
    is_failed: Vec<i16>,
}

impl Group {
    fn len(&self) -> usize {
        self.row.len()
    }

    fn push(&mut self, row: &SampleRow<'_, '_>) {
        let SampleRow { record, host, worker, attempt, pass, sample } = *row;
        self.row.push(record.get().into());
        self.hosts.extend(host.as_bytes());
        self.host_ends.push(self.hosts.len());
        let text = |name: String| ByteArray::from(name.into_bytes());
        let names = self
            .names
            .entry(worker)
            .or_insert_with(|| [text(worker.slot.to_string()), text(worker.to_string())]);
        let [slot, worker] = names.clone();
        self.slot.push(slot);
        self.worker.push(worker);
        self.attempt.push(short(attempt.into()));
        self.pass.push(short(pass.into()));
        let mut cells = Cells { columns: self.numbers.iter_mut(), sample };
        let _ = columns::visit(&mut cells);
        let failed = match &sample.outcome {
            Outcome::Completed(_) => None,
            Outcome::Failed(error) => Some(text(error.sqlstate.to_string())),
        };
        self.is_completed.push(failed.is_none().into());
        self.is_failed.push(failed.is_some().into());
        self.sqlstate.extend(failed);
    }

    /// Writes the columns in the order of the schema, and clears the group except for the names.
    fn write<W: Write + Send>(
        &mut self,
        mut group: SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let hosts = Bytes::from(std::mem::take(&mut self.hosts));
        let begins = std::iter::once(0).chain(self.host_ends.iter().copied());
        let host: Vec<ByteArray> =
            begins.zip(&self.host_ends).map(|(begin, &end)| hosts.slice(begin..end).into()).collect();
        column::<Int64Type, W>(&mut group, &self.row, None)?;
        column::<ByteArrayType, W>(&mut group, &host, None)?;
        column::<ByteArrayType, W>(&mut group, &self.slot, None)?;
        column::<ByteArrayType, W>(&mut group, &self.worker, None)?;
        column::<Int32Type, W>(&mut group, &self.attempt, None)?;
        column::<Int32Type, W>(&mut group, &self.pass, None)?;
        for numbers in &self.numbers {
            let levels = numbers.is_of_answer().then_some(&self.is_completed[..]);
            if numbers.column.is_short {
                let values: Vec<i32> = numbers.values.iter().map(|value| short(*value)).collect();
                column::<Int32Type, W>(&mut group, &values, levels)?;
            } else {
                let values: Vec<i64> = numbers.values.iter().map(|value| signed(*value)).collect();
                column::<Int64Type, W>(&mut group, &values, levels)?;
            }
        }
        column::<ByteArrayType, W>(&mut group, &self.sqlstate, Some(&self.is_failed))?;
        group.close()?;
        let numbers = std::mem::take(&mut self.numbers).into_iter();
        let numbers = numbers.map(|column| Numbers { values: Vec::new(), ..column }).collect();
        *self = Self { names: std::mem::take(&mut self.names), numbers, ..Self::default() };
        Ok(())
    }
}

/// A column of numbers and its values in the current row group.
struct Numbers {
    column: Column,
    values: Vec<u64>,
}

impl Numbers {
    /// Returns true if failed queries have no value.
    fn is_of_answer(&self) -> bool {
        self.column.source == Source::Answer
    }

    /// Returns all columns of samples, without values.
    fn listed() -> Vec<Self> {
        let mut listed = Listed(Vec::new());
        let _ = columns::visit(&mut listed);
        listed.0
    }
}

struct Listed(Vec<Numbers>);

impl Visitor for Listed {
    fn column(
        &mut self,
        column: Column,
        _: impl Fn(&Sample) -> u64 + Copy,
        _: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        self.0.push(Numbers { column, values: Vec::new() });
        Some(())
    }
}

/// Adds the numbers of one sample to their columns.
struct Cells<'a> {
    columns: std::slice::IterMut<'a, Numbers>,
    sample: &'a Sample,
}

impl Visitor for Cells<'_> {
    fn column(
        &mut self,
        _: Column,
        get: impl Fn(&Sample) -> u64 + Copy,
        _: impl Fn(&mut Sample, u64) -> Option<()>,
    ) -> Option<()> {
        let numbers = self.columns.next()?;
        if !numbers.is_of_answer() || self.sample.answer().is_some() {
            numbers.values.push(get(self.sample));
        }
        Some(())
    }
}

fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut column = group.next_column()?.expect("the number of columns is that of the schema");
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

fn signed(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn short(number: u64) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}
