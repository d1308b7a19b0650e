//! Written samples are read back with the readers of the crates.

use std::fs::{self, File};
use std::path::Path;

use muster_core::ids::{RowId, SlotId, WorkerId};
use muster_core::limits::ROW_GROUP_ROWS_MAX;
use muster_core::sample::{Answer, Execution, Lag, Outcome, QueryError, SqlState};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use super::*;
use crate::workload::HostIndex;

const HEADER: &str = "row,host,slot,worker,attempt,pass,statement,execution,start_ns,lag_ns,queueing_ns,generator_delay_ns,\
                      service_time_ns,result_rows,result_bytes,sqlstate";
const HOST: &str = "a \"host\", ü\nin two lines";

const WORKERS: [WorkerId; 2] = [WorkerId::new(SlotId::new(3), 0), WorkerId::new(SlotId::new(3), 1)];

fn sample(row: u32) -> CountedSample {
    CountedSample {
        host: HostIndex::new(row % 2),
        worker: row % 2,
        attempt: 1 + row % 3,
        sample: Sample {
            execution: Execution { round: 0, statement: 1, number: 1 + row },
            start_ns: 1_000_000_000 + u64::from(row) * 7,
            lag: Lag { queueing_ns: 30, generator_delay_ns: 4 },
            service_time_ns: 500 + u64::from(row),
            outcome: if row % 5 == 4 {
                Outcome::Failed(QueryError::new(SqlState::QUERY_CANCELED, ""))
            } else {
                Outcome::Completed(Answer { rows: 60, bytes: u64::MAX, digest: 0 })
            },
            ..Sample::zero(RowId::new(row))
        },
    }
}

/// The row of a sample in the second pass.
fn row(counted: &CountedSample) -> Option<SampleRow<'_, 'static>> {
    let CountedSample { host, worker, attempt, sample } = counted;
    let host = if host.index() == 0 { HOST } else { "b" };
    let worker = WORKERS[*worker as usize];
    Some(SampleRow { record: sample.row, host, worker, attempt: *attempt, pass: 2, sample })
}

fn written(name: &str, rows: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    let file: SamplesFile = path.to_str().unwrap().parse().unwrap();
    file.check_writable().unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the check leaves no file");
    assert_eq!(file.write((0..rows).map(|row| Ok(sample(row))), row).unwrap(), u64::from(rows));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    (directory, path)
}

fn read(path: &Path) -> (SerializedFileReader<File>, Vec<Row>) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    (reader, rows)
}

#[test]
fn samples_as_csv() {
    let (_directory, path) = written("samples.csv", 5);
    insta::assert_snapshot!(fs::read_to_string(path).unwrap(), @r#"
    row,host,slot,worker,attempt,pass,statement,execution,start_ns,lag_ns,queueing_ns,generator_delay_ns,service_time_ns,result_rows,result_bytes,sqlstate
    0,"a ""host"", ü
    in two lines",slot-3,slot-3/0,1,2,1,1,1000000000,34,30,4,500,60,18446744073709551615,
    1,b,slot-3,slot-3/1,2,2,1,2,1000000007,34,30,4,501,60,18446744073709551615,
    2,"a ""host"", ü
    in two lines",slot-3,slot-3/0,3,2,1,3,1000000014,34,30,4,502,60,18446744073709551615,
    3,b,slot-3,slot-3/1,1,2,1,4,1000000021,34,30,4,503,60,18446744073709551615,
    4,"a ""host"", ü
    in two lines",slot-3,slot-3/0,2,2,1,5,1000000028,34,30,4,504,,,57014
    "#);
}

#[test]
fn a_parquet_file_contains_every_sample_once_in_row_groups() {
    let rows = u32::try_from(ROW_GROUP_ROWS_MAX).unwrap() + 3;
    let (_directory, path) = written("samples.parquet", rows);
    let (reader, found) = read(&path);
    assert_eq!(reader.num_row_groups(), 2);
    assert_eq!(found.len(), ROW_GROUP_ROWS_MAX + 3);
    for (row, found) in (0..rows).zip(&found) {
        let CountedSample { host, worker, attempt, sample } = sample(row);
        let text = |text: &str| Field::Str(text.to_owned());
        let (result_rows, result_bytes, sqlstate) = match sample.outcome {
            Outcome::Completed(_) => (Field::Long(60), Field::Long(i64::MAX), Field::Null),
            Outcome::Failed(error) => (Field::Null, Field::Null, text(error.sqlstate.as_str())),
        };
        let expected = [
            Field::Long(row.into()),
            text(if host.index() == 0 { HOST } else { "b" }),
            text("slot-3"),
            text(&WORKERS[worker as usize].to_string()),
            Field::Int(attempt.try_into().unwrap()),
            Field::Int(2),
            Field::Int(1),
            Field::Int(sample.execution.number.try_into().unwrap()),
            Field::Long(sample.start_ns.try_into().unwrap()),
            Field::Long(34),
            Field::Long(30),
            Field::Long(4),
            Field::Long(sample.service_time_ns.try_into().unwrap()),
            result_rows,
            result_bytes,
            sqlstate,
        ];
        let expected = HEADER.split(',').map(str::to_owned).zip(expected).collect::<Vec<_>>();
        let found: Vec<_> =
            found.get_column_iter().map(|(name, field)| (name.clone(), field.clone())).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_run_without_results_has_a_file_without_rows() {
    let (_directory, path) = written("samples.parquet", 0);
    assert!(read(&path).1.is_empty());
    let (_directory, path) = written("samples.CSV", 0);
    assert_eq!(fs::read_to_string(path).unwrap(), format!("{HEADER}\n"));
}

#[test]
fn an_unknown_extension_is_refused_with_a_hint() {
    for name in ["samples.txt", "samples", ".csv", "samples.csv.gz", ""] {
        assert_eq!(
            name.parse::<SamplesFile>().unwrap_err().to_string(),
            format!("--samples: '{name}' has no known extension; use .csv or .parquet")
        );
    }
}

#[test]
fn a_failed_write_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let missing: SamplesFile = directory.path().join("none/x.csv").to_str().unwrap().parse().unwrap();
    for error in [missing.check_writable().unwrap_err(), missing.write([], row).unwrap_err()] {
        assert!(
            error.to_string().ends_with("the directory does not exist; create it or choose another path")
        );
    }
    for name in ["x.csv", "x.parquet"] {
        let file: SamplesFile = directory.path().join(name).to_str().unwrap().parse().unwrap();
        let journal_error = JournalError::Refused { path: "journal".into() };
        let error = file.write([Ok(sample(0)), Err(journal_error)], row).unwrap_err();
        assert!(matches!(error, SamplesError::Journal(_)), "{error}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_sample_with_an_unknown_host_or_worker_has_no_row() {
    let mut hosts = HostTable::default();
    assert!(hosts.push("a", 1) && hosts.push("b", 1));
    let workers = [WorkerId::new(SlotId::new(0), 0)];
    let counted = |host, worker| CountedSample { host: HostIndex::new(host), worker, ..sample(17) };
    let passes = Passes::try_new(10, 1, 2, 0).unwrap();
    let one = counted(1, 0);
    let named = SampleRow::of(&one, &passes, &hosts, &workers).unwrap();
    assert_eq!((named.record, named.pass), (RowId::new(7), 2));
    assert_eq!((named.host, named.worker, named.attempt), ("b", workers[0], 3));
    assert_eq!(named.sample, &one.sample);
    assert_eq!(SampleRow::of(&counted(2, 0), &passes, &hosts, &workers), None);
    assert_eq!(SampleRow::of(&counted(0, 1), &passes, &hosts, &workers), None);
}
