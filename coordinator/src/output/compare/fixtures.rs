//! Comparisons for the tests of every format.

use muster_common::compare::{self, Comparison, Options, Run, Series, Timed, Timing};
use muster_common::ids::RowId;
use muster_common::result::{Queries, RunResult, Workload};

use crate::output::fixtures;

/// Two runs of the same rows. The service times of the second are multiplied by `factor`.
pub(super) fn paired(factor: f64) -> Comparison {
    compared((&good(), &series(200, 1, factor, 0)), (&later(), &series(200, 2, factor, 0)))
}

/// Two runs of different files.
pub(super) fn two_samples() -> Comparison {
    let mut new = later();
    new.workload = Workload { file: "other.csv".to_owned(), sha256: "other".to_owned(), ..new.workload };
    compared((&good(), &series(500, 1, 1.0, 0)), (&new, &series(600, 2, 1.3, 0)))
}

/// A comparison with an open loop in which every query waited.
pub(super) fn open_loop() -> Comparison {
    let new = RunResult { lag_ms: fixtures::open_loop().lag_ms, ..later() };
    compared((&good(), &series(900, 1, 1.0, 0)), (&new, &series(900, 2, 1.0, 40_000_000)))
}

/// A comparison of two results without measurements.
pub(super) fn summaries() -> Comparison {
    let [base, new] = [good(), later()];
    let run = |result| Run { result, samples: None };
    compare::compare(run(&base), run(&new), Options::default())
}

/// A comparison of few rows in which everything differs, with hostile external texts.
pub(super) fn hostile() -> Comparison {
    let new = fixtures::hostile();
    compared((&later(), &series(3, 1, 1.0, 0)), (&new, &series(3, 2, 1.0, 0)))
}

/// One run against two databases, the second slower.
pub(in crate::output) fn versus() -> RunResult {
    let (base, new) = (series(200, 1, 1.2, 0), series(200, 2, 1.2, 0));
    let result = good();
    let [first, second] = ["first", "second"]
        .map(|which| RunResult { run_id: format!("{} {which} database", result.run_id), ..result.clone() });
    let run = |result, samples| Run { result, samples: Some(samples) };
    let options = Options { margin: 0.0, timing: Timing::Interleaved };
    let versus = compare::compare(run(&first, &base), run(&second, &new), options);
    RunResult { versus: Some(Box::new(versus)), ..result }
}

pub(super) fn all() -> [(&'static str, Comparison); 6] {
    [
        ("slower", paired(1.2)),
        ("alike", paired(1.0)),
        ("two samples", two_samples()),
        ("open loop", open_loop()),
        ("summaries", summaries()),
        ("hostile", hostile()),
    ]
}

fn compared(base: (&RunResult, &Series), new: (&RunResult, &Series)) -> Comparison {
    let run = |(result, samples)| Run { result, samples: Some(samples) };
    compare::compare(run(base), run(new), Options::default())
}

fn good() -> RunResult {
    fixtures::good()
}

/// The same run on another day, with other settings and more agents.
pub(super) fn later() -> RunResult {
    let mut result = fixtures::thousand_agents();
    result.run_id = "20261124-0a1b".to_owned();
    result.workload = fixtures::good().workload;
    result.placement = fixtures::good().placement;
    result.agents.truncate(3);
    result.workers.truncate(3);
    result.throughput_qps = 580.4;
    result.queries = Queries { ..fixtures::good().queries };
    let database = result.database.as_mut().unwrap();
    database.settings.insert("work_mem".to_owned(), "64MB".to_owned());
    database.settings.insert("geqo".to_owned(), "off".to_owned());
    result
}

/// A closed loop of two workers. The service time of a row is a cost of the row with noise that depends on the run.
fn series(rows: u32, run: u32, factor: f64, lag_ns: u64) -> Series {
    let factor = if run == 1 { 1.0 } else { factor };
    let timed = |row: u32| {
        let noise = uniform(row, run) - 0.5;
        Timed {
            row: RowId::new(row),
            worker: row % 2,
            start_ns: u64::from(row) * 3_000_000,
            lag_ns,
            service_ns: (2e6 * (1.0 + 4.0 * uniform(row, 0)) * factor * (1.0 + 0.2 * noise)) as u64,
        }
    };
    Series::new((0..rows).map(timed).collect())
}

/// A pseudo-random number from 0 to 1 that depends only on row and run (the last step of SplitMix64).
fn uniform(row: u32, run: u32) -> f64 {
    let mut z = (u64::from(run) << 32 | u64::from(row)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from((z >> 32) as u32) / f64::from(u32::MAX)
}
