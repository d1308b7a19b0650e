//! `coordinator report`: the report of a run that has ended, that goes on or that was killed, from its journal; and its raw measurements.

use std::io::stdout;

use muster_common::ids::WorkerId;
use muster_common::ledger::{Ledger, Settled, Settlement};
use muster_common::placement;
use muster_common::result;

use super::args::ReportArgs;
use super::{Failure, job, keeping, outcome};
use crate::exit::Exit;
use crate::journal::{Entry, Tail};
use crate::output;
use crate::output::samples::{SampleRow, SamplesFile};

use crate::run::{HostSamples, Replayed, Retried, Subject, replay, summarize};
use crate::run_dir::{Manifest, RunDir};
use crate::threshold::Threshold;
use crate::workload::HostTable;

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    output::check_writable(&args.output).map_err(Failure::write)?;
    if let Some(file) = &args.samples {
        file.check_writable().map_err(Failure::write)?;
    }
    let dir = keeping::find(args.run_dir.as_deref(), &args.run)?;
    let hosts = dir.hosts().map_err(Failure::usage)?;
    let retried = if args.include_retried { Retried::Included } else { Retried::LeftOut };
    let typed: Vec<Threshold> = args.thresholds.iter().flat_map(|list| list.0.clone()).collect();
    Threshold::check(&typed, &hosts).map_err(Failure::usage)?;
    let thresholds = if typed.is_empty() { &dir.manifest().thresholds } else { &typed };
    let replayed = read(&dir, &hosts, retried, thresholds)?;
    if let Some(file) = &args.samples {
        write_samples(file, &dir, &hosts, &replayed.record.workers())?;
    }
    if let Tail::Torn { offset, bytes, reason } = replayed.tail
        && !dir.is_running().map_err(Failure::usage)?
    {
        super::say(&format!(
            "the journal ends in {bytes} bytes that cannot be read, from byte {offset} on: {reason}; the report is of what comes before"
        ));
    }
    let statement = job::statement(&dir.manifest().statement)?;
    let (record, counted) = replayed.into_counted();
    let placed = hosts.iter().map(|(_, name, rows)| (name, u64::from(rows)));
    let workers = record.workers();
    let no_hosts = std::iter::empty::<(&str, u64)>();
    let assignment = match workers.is_empty() {
        // Nothing was placed yet.
        true => placement::place(dir.manifest().placement, no_hosts, &workers),
        false => placement::place(dir.manifest().placement, placed, &workers),
    };
    let mut subject = subject(dir.manifest(), &hosts, statement.name(), statement.template().sql());
    subject.thresholds = thresholds;
    let result = summarize(&subject, record, &assignment, counted);
    output::write(&args.output, &mut stdout().lock(), |format| output::render(format, &result))
        .map_err(Failure::write)?;
    // How the run ended was told when it did; only what is asked of it now can be missed now.
    let is_missed = !typed.is_empty() && outcome::misses_threshold(&result);
    Ok(if is_missed { Exit::ThresholdMissed } else { Exit::Success })
}

fn read(
    dir: &RunDir,
    hosts: &HostTable,
    retried: Retried,
    thresholds: &[Threshold],
) -> Result<Replayed, Failure> {
    let host_samples = HostSamples::wanted(thresholds, hosts);
    let reader = dir.journal().map_err(Failure::usage)?;
    replay(reader, dir.manifest().workload.rows, hosts.len(), retried, host_samples).map_err(Failure::usage)
}

/// Every counted row, in the order of counting.
fn write_samples(
    file: &SamplesFile,
    dir: &RunDir,
    hosts: &HostTable,
    workers: &[WorkerId],
) -> Result<(), Failure> {
    let mut ledger = Ledger::new(dir.manifest().workload.rows);
    let samples = dir.journal().map_err(Failure::usage)?.flat_map(|entry| match entry {
        Ok(Entry::Results { samples, .. }) => samples.into_iter().map(Ok).collect(),
        Ok(Entry::Sent { .. } | Entry::Fact(_)) => Vec::new(),
        Err(problem) => vec![Err(problem)],
    });
    let rows = samples.filter_map(|sample| match sample {
        Ok(sample) => {
            let is_first = ledger.settle(sample.row, Settled::Completed) == Settlement::Counted;
            SampleRow::of(&sample, hosts, workers).filter(|_| is_first).map(Ok)
        }
        Err(problem) => Some(Err(problem)),
    });
    let count = file.write(rows).map_err(Failure::write)?;
    super::say(&format!("{count} measurements are in {}", file.path().display()));
    Ok(())
}

fn subject<'a>(manifest: &'a Manifest, hosts: &'a HostTable, statement: &str, sql: &str) -> Subject<'a> {
    let workload = &manifest.workload;
    Subject {
        run_id: manifest.run_id.to_string(),
        workload: result::Workload {
            file: workload.file.clone(),
            sha256: workload.sha256.clone(),
            rows: workload.rows.into(),
            hosts: workload.hosts.into(),
            skipped: workload.skipped,
        },
        hosts,
        placement: manifest.placement,
        statement: statement.to_owned(),
        sql: sql.to_owned(),
        embedded: manifest.embedded.clone(),
        command: manifest.command.clone(),
        thresholds: &manifest.thresholds,
    }
}
