//! Tests of the workload module's public interface: they read files and check the rows or the error messages.

mod bad;
mod good;
mod reading;

use std::io::Write;
use std::sync::Arc;

use muster_core::ids::RowId;
use muster_core::parameters::{PackedParameters, Values};
use tempfile::NamedTempFile;

use super::*;

fn demo() -> Options {
    Options {
        host_column: HOST_COLUMN.to_owned(),
        parameters: ["hostname", "start_time", "end_time"].map(str::to_owned).to_vec(),
        mix: None,
        checks: Checks::DemoWindow {
            start_time: "start_time".to_owned(),
            end_time: "end_time".to_owned(),
            timezone: Some("UTC".to_owned()),
        },
        on_bad_row: OnBadRow::Fail,
        limit: None,
    }
}

fn custom_query(host_column: &str, parameters: &[&str]) -> Options {
    Options {
        host_column: host_column.to_owned(),
        parameters: parameters.iter().map(ToString::to_string).collect(),
        mix: None,
        checks: Checks::None,
        ..demo()
    }
}

fn file(content: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_ref()).unwrap();
    file
}

fn open_bytes(content: impl AsRef<[u8]>, options: &Options) -> Result<Workload, WorkloadError> {
    open(file(content).path(), options, &mut |_| {})
}

/// The error message, with the temporary file's name replaced.
fn error_of(content: impl AsRef<[u8]>, options: &Options) -> String {
    let file = file(content);
    let error = open(file.path(), options, &mut |_| {}).unwrap_err();
    error.to_string().replace(&file.path().display().to_string(), "q.csv")
}

type Row = (String, Vec<Option<String>>);

/// Reads every row: its host and its parameters.
fn rows(workload: Workload) -> Vec<Row> {
    let workload = Arc::new(workload);
    let mut reader = RowReader::new(Arc::clone(&workload));
    (0..workload.rows()).map(|row| read(&mut reader, &workload, RowId::new(row)).unwrap()).collect()
}

fn read(reader: &mut RowReader, workload: &Workload, row: RowId) -> Result<Row, WorkloadError> {
    let mut packed = PackedParameters::new();
    let host = reader.read(row, &mut packed)?;
    let values = Values::new(packed.as_bytes());
    let values = values.map(|value| value.unwrap().map(str::to_owned)).collect();
    Ok((workload.hosts().name(host).to_owned(), values))
}
