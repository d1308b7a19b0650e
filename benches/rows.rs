//! A workload for benchmarks: time windows for the default query, on a given number of hosts.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use muster_coordinator::demo::generate::{Shape, Windows, windows, write_windows};
use muster_coordinator::workload::{Checks, HOST_COLUMN, OnBadRow, Options};

pub(crate) fn write(path: &Path, rows: u32, hosts: u32) -> anyhow::Result<()> {
    let shape = Shape { hosts, ..Shape::default() };
    let queries = Windows { rows: rows.into(), hosts, ..Windows::default() };
    let mut out = BufWriter::new(File::create(path)?);
    write_windows(windows(&shape, &queries)?, &mut out)?;
    Ok(out.flush()?)
}

/// The columns and checks of the default query.
pub(crate) fn options() -> Options {
    let [hostname, start_time, end_time] = [HOST_COLUMN, "start_time", "end_time"].map(str::to_owned);
    Options {
        host_column: hostname.clone(),
        parameters: vec![hostname, start_time.clone(), end_time.clone()],
        mix: None,
        checks: Checks::DemoWindow { start_time, end_time, timezone: Some("UTC".to_owned()) },
        on_bad_row: OnBadRow::Fail,
        limit: None,
    }
}
