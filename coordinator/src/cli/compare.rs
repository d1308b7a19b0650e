//! `coordinator compare`: two runs side by side. A stored run has its measurements; a JSON result has only its aggregate figures.

use std::io::stdout;
use std::path::Path;

use anyhow::Context;
use muster_report::compare::{self, Options, Run, Series, Timed, Timing};
use muster_report::result::RunResult;

use super::args::CompareArgs;
use super::{Failure, report, result_file, run_store};
use crate::exit::Exit;
use crate::journal::CountedSample;
use crate::output;
use crate::run::Retried;
use crate::run_dir::RunDir;

pub(super) fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    output::check_writable(&args.output).map_err(Failure::write)?;
    if args.output.hlog().is_some() {
        return Err(Failure::usage(anyhow::anyhow!(
            "--output hlog is for one run; write it with: coordinator report RUN --output hlog=FILE"
        )));
    }
    let [base, new] = [&args.base, &args.new].map(|run| read(args, run));
    let (base, new) = (base?, new?);
    let timing = timing(&base.result, &new.result);
    let options = Options { margin: args.margin / 100.0, timing };
    let comparison = compare::compare(base.run(), new.run(), options);
    output::write(&args.output, &mut stdout().lock(), |format| muster_report::render(format, &comparison))
        .map_err(Failure::write)?;
    let is_regression = args.fail_on_regression && comparison.is_regression();
    Ok(if is_regression { Exit::ThresholdMissed } else { Exit::Success })
}

/// One of the two runs.
struct RunData {
    result: RunResult,
    /// `None` if the run was read from a JSON result.
    samples: Option<Series>,
}

impl RunData {
    fn run(&self) -> Run<'_> {
        Run { result: &self.result, samples: self.samples.as_ref() }
    }
}

/// Two runs that overlap for at least nine tenths of the longer one are affected by the same external changes, so they count as
/// interleaved.
fn timing(base: &RunResult, new: &RunResult) -> Timing {
    const SHARED_MIN: f64 = 0.9;
    let span = |result: &RunResult| {
        let start: jiff::Timestamp = result.started_at.as_ref()?.parse().ok()?;
        let start_ms = start.as_millisecond() as f64;
        Some((start_ms, start_ms + result.wall_time_ms))
    };
    match (span(base), span(new)) {
        (Some(base), Some(new)) if base_and_new_share(base, new) >= SHARED_MIN => Timing::Interleaved,
        _ => Timing::Separate,
    }
}

/// The time during which both runs were active, as a share of the longer run.
fn base_and_new_share(base: (f64, f64), new: (f64, f64)) -> f64 {
    let shared = base.1.min(new.1) - base.0.max(new.0);
    let longer = (base.1 - base.0).max(new.1 - new.0);
    if longer > 0.0 { shared / longer } else { 0.0 }
}

/// Reads a JSON result if `run` is a file, otherwise the stored run with that name.
fn read(args: &CompareArgs, run: &str) -> Result<RunData, Failure> {
    let path = Path::new(run);
    if path.is_file() {
        let result =
            result_file::read(path).with_context(|| format!("read '{run}'")).map_err(Failure::usage)?;
        return Ok(RunData { result, samples: None });
    }
    let dir = run_store::find(args.run_dir.as_deref(), run)?;
    let retried = if args.include_retried { Retried::Included } else { Retried::LeftOut };
    let hosts = dir.hosts().map_err(Failure::usage)?;
    let thresholds = &dir.manifest().spec.thresholds;
    let replayed = report::read(&dir, &hosts, retried, thresholds)?;
    report::warn_if_torn(&dir, replayed.tail)?;
    let result = report::summarize_replayed(&dir, &hosts, replayed, thresholds)?;
    let samples = samples(&dir, retried).map_err(Failure::usage)?;
    Ok(RunData { result, samples: Some(samples) })
}

/// Reads the rows whose latencies a report contains: counted once, completed, and not retried unless `retried` includes those.
fn samples(dir: &RunDir, retried: Retried) -> anyhow::Result<Series> {
    let manifest = dir.manifest();
    let passes = manifest.spec.session.load.passes(manifest.spec.workload.content.rows)?;
    let mut timed = Vec::with_capacity(usize::try_from(passes.rows_at_start())?);
    for counted in report::counted_samples(dir, passes)? {
        timed.extend(time(&counted?, retried));
    }
    Ok(Series::new(timed))
}

fn time(counted: &CountedSample, retried: Retried) -> Option<Timed> {
    let CountedSample { worker, attempt, sample, .. } = counted;
    let is_measured = *attempt <= 1 || retried == Retried::Included;
    (sample.answer().is_some() && is_measured).then_some(Timed {
        row: sample.row,
        worker: *worker,
        start_ns: sample.start_ns,
        lag_ns: sample.lag.total_ns(),
        service_ns: sample.service_time_ns,
    })
}

#[cfg(test)]
mod tests {
    use muster_core::ids::RowId;
    use muster_core::sample::{Answer, Lag, Outcome, QueryError, Sample, SqlState};

    use super::*;
    use crate::workload::HostIndex;

    #[test]
    fn runs_at_the_same_time_are_interleaved() {
        let run = |started_at: Option<&str>, wall_time_ms| RunResult {
            started_at: started_at.map(str::to_owned),
            wall_time_ms,
            ..muster_report::fixtures::good()
        };
        let base = run(Some("2026-11-23T10:00:00Z"), 60_000.0);
        let check = |started_at, wall_time_ms, expected| {
            assert_eq!(timing(&base, &run(started_at, wall_time_ms)), expected, "{started_at:?}");
            assert_eq!(timing(&run(started_at, wall_time_ms), &base), expected, "{started_at:?}");
        };
        check(Some("2026-11-23T10:00:01Z"), 60_000.0, Timing::Interleaved);
        check(Some("2026-11-23T10:00:01Z"), 30_000.0, Timing::Separate);
        check(Some("2026-11-23T10:00:30Z"), 60_000.0, Timing::Separate);
        check(Some("2026-11-23T10:01:00Z"), 60_000.0, Timing::Separate);
        check(None, 60_000.0, Timing::Separate);
    }

    #[test]
    fn rows_without_a_reported_latency_are_not_compared() {
        let completed = Outcome::Completed(Answer::default());
        let failed = Outcome::Failed(QueryError::new(SqlState::QUERY_CANCELED, ""));
        let sample = |attempt, outcome: &Outcome| CountedSample {
            host: HostIndex::new(0),
            worker: 3,
            attempt,
            sample: Sample {
                start_ns: 20,
                lag: Lag { queueing_ns: 1, generator_delay_ns: 0 },
                service_time_ns: 5,
                outcome: outcome.clone(),
                ..Sample::zero(RowId::new(7))
            },
        };
        let measured = Timed { row: RowId::new(7), worker: 3, start_ns: 20, lag_ns: 1, service_ns: 5 };
        assert_eq!(time(&sample(1, &completed), Retried::LeftOut), Some(measured));
        assert_eq!(time(&sample(2, &completed), Retried::LeftOut), None);
        assert_eq!(time(&sample(2, &completed), Retried::Included), Some(measured));
        assert_eq!(time(&sample(1, &failed), Retried::Included), None);
    }
}
