//! Samples as Parquet, written in row groups. Each row group is held in memory as columns until it is full. The crate's own column writers
//! are used instead of Arrow, which would add eleven dependencies for the same columns.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use muster_common::ids::WorkerId;
use muster_common::limits::ROW_GROUP_ROWS_MAX;
use parquet::basic::{Compression, Encoding};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{Failure, RowOutcome, SampleRow};
use crate::journal::JournalError;

/// The columns of [`super::COLUMNS`]. Integers are signed, because not every reader supports unsigned ones; 2^63 nanoseconds are 292 years.
const SCHEMA: &str = "message samples {
    REQUIRED INT64 row;
    REQUIRED BINARY host (STRING);
    REQUIRED BINARY slot (STRING);
    REQUIRED BINARY worker (STRING);
    REQUIRED INT32 attempt;
    REQUIRED INT32 pass;
    REQUIRED INT32 statement;
    REQUIRED INT32 execution;
    REQUIRED INT64 start_ns;
    REQUIRED INT64 lag_ns;
    REQUIRED INT64 queueing_ns;
    REQUIRED INT64 generator_delay_ns;
    REQUIRED INT64 service_time_ns;
    OPTIONAL INT64 result_rows;
    OPTIONAL INT64 result_bytes;
    OPTIONAL BINARY sqlstate (STRING);
}";

/// Columns in which nearly every value is different, so that a dictionary would be useless.
const WITHOUT_DICTIONARY: [&str; 3] = ["row", "start_ns", "service_time_ns"];

pub(super) fn write<'a>(
    file: &mut File,
    rows: impl Iterator<Item = Result<SampleRow<'a>, JournalError>>,
) -> Result<(), Failure> {
    let schema = parse_message_type(SCHEMA).expect("the schema is a constant, and the tests parse it");
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties()))?;
    let mut group = Columns::default();
    for row in rows {
        group.push(&row?);
        if group.len() >= ROW_GROUP_ROWS_MAX {
            group.write(writer.next_row_group()?)?;
        }
    }
    if group.len() > 0 {
        group.write(writer.next_row_group()?)?;
    }
    writer.close()?;
    Ok(())
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("muster {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in WITHOUT_DICTIONARY {
        properties = properties
            .set_column_dictionary_enabled(column.into(), false)
            .set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

/// One row group. An optional column has a definition level for each row, which is 1 if there is a value.
#[derive(Default)]
struct Columns {
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
    statement: Vec<i32>,
    execution: Vec<i32>,
    start_ns: Vec<i64>,
    lag_ns: Vec<i64>,
    queueing_ns: Vec<i64>,
    generator_delay_ns: Vec<i64>,
    service_time_ns: Vec<i64>,
    result_rows: Vec<i64>,
    result_bytes: Vec<i64>,
    is_completed: Vec<i16>,
    sqlstate: Vec<ByteArray>,
    is_failed: Vec<i16>,
}

impl Columns {
    fn len(&self) -> usize {
        self.row.len()
    }

    fn push(&mut self, sample: &SampleRow<'_>) {
        let SampleRow { row, host, worker, attempt, start_ns, lag, service_time_ns, outcome, .. } = *sample;
        self.row.push(row.get().into());
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
        self.attempt.push(attempt.try_into().unwrap_or(i32::MAX));
        self.pass.push(sample.pass.try_into().unwrap_or(i32::MAX));
        self.statement.push(sample.statement.into());
        self.execution.push(sample.execution.try_into().unwrap_or(i32::MAX));
        self.start_ns.push(signed(start_ns));
        self.lag_ns.push(signed(lag.total_ns()));
        self.queueing_ns.push(signed(lag.queueing_ns));
        self.generator_delay_ns.push(signed(lag.generator_delay_ns));
        self.service_time_ns.push(signed(service_time_ns));
        match outcome {
            RowOutcome::Completed { rows, bytes } => {
                self.result_rows.push(signed(rows));
                self.result_bytes.push(signed(bytes));
            }
            RowOutcome::Failed(sqlstate) => self.sqlstate.push(text(sqlstate.to_string())),
        }
        let is_failed = matches!(outcome, RowOutcome::Failed(_));
        self.is_completed.push((!is_failed).into());
        self.is_failed.push(is_failed.into());
    }

    /// Writes the columns in the order of the schema and clears the group.
    fn write<W: Write + Send>(
        &mut self,
        mut group: SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let hosts = Bytes::from(std::mem::take(&mut self.hosts));
        let begins = std::iter::once(0).chain(self.host_ends.iter().copied());
        let host: Vec<ByteArray> =
            begins.zip(&self.host_ends).map(|(begin, &end)| hosts.slice(begin..end).into()).collect();
        let (completed, failed) = (Some(&self.is_completed[..]), Some(&self.is_failed[..]));
        column::<Int64Type, W>(&mut group, &self.row, None)?;
        column::<ByteArrayType, W>(&mut group, &host, None)?;
        column::<ByteArrayType, W>(&mut group, &self.slot, None)?;
        column::<ByteArrayType, W>(&mut group, &self.worker, None)?;
        for numbers in [&self.attempt, &self.pass, &self.statement, &self.execution] {
            column::<Int32Type, W>(&mut group, numbers, None)?;
        }
        let [lag_ns, queueing_ns, delay_ns] = [&self.lag_ns, &self.queueing_ns, &self.generator_delay_ns];
        for times in [&self.start_ns, lag_ns, queueing_ns, delay_ns, &self.service_time_ns] {
            column::<Int64Type, W>(&mut group, times, None)?;
        }
        column::<Int64Type, W>(&mut group, &self.result_rows, completed)?;
        column::<Int64Type, W>(&mut group, &self.result_bytes, completed)?;
        column::<ByteArrayType, W>(&mut group, &self.sqlstate, failed)?;
        group.close()?;
        self.clear();
        Ok(())
    }

    /// Clears the columns but keeps their allocations.
    fn clear(&mut self) {
        let Self {
            row,
            hosts,
            host_ends,
            names: _,
            slot,
            worker,
            attempt,
            pass,
            statement,
            execution,
            start_ns,
            lag_ns,
            queueing_ns,
            generator_delay_ns,
            service_time_ns,
            result_rows,
            result_bytes,
            is_completed,
            sqlstate,
            is_failed,
        } = self;
        let times = [start_ns, lag_ns, queueing_ns, generator_delay_ns, service_time_ns];
        for numbers in times.into_iter().chain([row, result_rows, result_bytes]) {
            numbers.clear();
        }
        for texts in [slot, worker, sqlstate] {
            texts.clear();
        }
        for levels in [is_completed, is_failed] {
            levels.clear();
        }
        for numbers in [attempt, pass, statement, execution] {
            numbers.clear();
        }
        hosts.clear();
        host_ends.clear();
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
