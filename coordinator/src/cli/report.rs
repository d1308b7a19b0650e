//! `coordinator report`: the report of a finished, running or killed run from its journal, and its raw measurements.

use std::io::stdout;

use muster_core::ids::WorkerId;
use muster_core::ledger::{Ledger, Settled, Settlement};
use muster_core::placement;
use muster_report::result;

use super::args::ReportArgs;
use super::{Failure, outcome, run_store};
use crate::exit::Exit;
use crate::journal::{Entry, JournalError, Tail};
use crate::output;
use crate::output::samples::{SampleRow, SamplesFile};
use crate::run::{self, HostSamples, Replayed, Retried, Subject, replay, summarize};
use crate::run_dir::{RunDir, RunDirError};
use crate::spec::RunSpec;
use crate::threshold::Threshold;
use crate::workload::HostTable;

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    output::check_writable(&args.output).map_err(Failure::write)?;
    if let Some(file) = &args.samples {
        file.check_writable().map_err(Failure::write)?;
    }
    let dir = run_store::find(args.run_dir.as_deref(), &args.run)?;
    let hosts = dir.hosts().map_err(Failure::usage)?;
    let retried = if args.include_retried { Retried::Included } else { Retried::LeftOut };
    let typed: Vec<Threshold> = args.thresholds.iter().flat_map(|list| list.0.clone()).collect();
    Threshold::check(&typed, &hosts).map_err(Failure::usage)?;
    let thresholds = if typed.is_empty() { &dir.manifest().spec.thresholds } else { &typed };
    let replayed = read(&dir, &hosts, retried, thresholds)?;
    if let Some(file) = &args.samples {
        write_samples(file, &dir, &hosts, &replayed.record.workers())?;
    }
    warn_if_torn(&dir, replayed.tail)?;
    let result = summarize_replayed(&dir, &hosts, replayed, thresholds)?;
    output::write(&args.output, &mut stdout().lock(), |format| muster_report::render(format, &result))
        .map_err(Failure::write)?;
    // `coordinator run` already returned the outcome of the run; here only thresholds given to this command affect the exit code.
    let is_missed = !typed.is_empty() && outcome::misses_threshold(&result);
    Ok(if is_missed { Exit::ThresholdMissed } else { Exit::Success })
}

/// Prints a warning if the end of the journal is unreadable, unless the run is still writing it.
pub(super) fn warn_if_torn(dir: &RunDir, tail: Tail) -> Result<(), Failure> {
    if let Tail::Torn { offset, bytes, reason } = tail
        && !dir.is_running().map_err(Failure::usage)?
    {
        super::print_notice(&format!(
            "the journal of {} ends in {bytes} unreadable bytes at byte {offset}: {reason}; the report covers the entries before them",
            dir.manifest().spec.run_id
        ));
    }
    Ok(())
}

/// Summarizes a run that was read from its journal.
pub(super) fn summarize_replayed(
    dir: &RunDir,
    hosts: &HostTable,
    replayed: Replayed,
    thresholds: &[Threshold],
) -> Result<result::RunResult, Failure> {
    let spec = &dir.manifest().spec;
    let (record, counted) = replayed.into_counted();
    let placed = hosts.iter().map(|(_, name, rows)| (name, u64::from(rows)));
    let workers = record.workers();
    let no_hosts = std::iter::empty::<(&str, u64)>();
    let assignment = match workers.is_empty() {
        // No host has been assigned yet.
        true => placement::place(spec.placement, no_hosts, &workers),
        false => placement::place(spec.placement, placed, &workers),
    };
    let spec = RunSpec { thresholds: thresholds.to_vec(), ..spec.clone() };
    Ok(summarize(&Subject { spec: &spec, hosts }, record, &assignment, counted))
}

pub(super) fn read(
    dir: &RunDir,
    hosts: &HostTable,
    retried: Retried,
    thresholds: &[Threshold],
) -> Result<Replayed, Failure> {
    let host_samples = HostSamples::wanted(thresholds, hosts);
    let reader = dir.journal().map_err(Failure::usage)?;
    let scope = run_store::scope(dir.manifest(), retried)?;
    replay(reader, scope, hosts.len(), host_samples).map_err(Failure::usage)
}

/// Writes every counted row, in the order in which rows were counted.
fn write_samples(
    file: &SamplesFile,
    dir: &RunDir,
    hosts: &HostTable,
    workers: &[WorkerId],
) -> Result<(), Failure> {
    let manifest = dir.manifest();
    let passes =
        manifest.spec.session.load.passes(manifest.spec.workload.content.rows).map_err(Failure::usage)?;
    let mut ledger = Ledger::new(passes.rows_at_start());
    let journal = counted_entries(dir).map_err(Failure::usage)?;
    let samples = journal.flat_map(|entry| match entry {
        Ok(Entry::Results { samples, .. }) => samples.into_iter().map(Ok).collect(),
        Ok(Entry::Sent { .. } | Entry::Fact(_)) => Vec::new(),
        Err(problem) => vec![Err(problem)],
    });
    let first = samples.filter(|counted| {
        let Ok(counted) = counted else { return true };
        let row = counted.sample.row;
        ledger.grow_to(passes.rows_through(row));
        ledger.settle(row, Settled::Completed) == Settlement::Counted
    });
    let count = file
        .write(first, |counted| SampleRow::of(counted, &passes, hosts, workers))
        .map_err(Failure::write)?;
    super::print_notice(&format!("{count} measurements written to {}", file.path().display()));
    Ok(())
}

/// The journal entries that count. In a search, the entries before its last confirmation round are skipped.
pub(super) fn counted_entries(
    dir: &RunDir,
) -> Result<impl Iterator<Item = Result<Entry, JournalError>>, RunDirError> {
    let before = entries_before_confirming(dir)?;
    Ok(dir.journal()?.skip(before))
}

fn entries_before_confirming(dir: &RunDir) -> Result<usize, RunDirError> {
    if dir.manifest().spec.session.load.search.is_none() {
        return Ok(0);
    }
    let journal = dir.journal()?.enumerate();
    let is_begin = |entry: &Entry| matches!(entry, Entry::Fact(json) if run::resets_aggregates(json));
    let begins =
        journal.filter_map(|(position, entry)| entry.is_ok_and(|entry| is_begin(&entry)).then_some(position));
    Ok(begins.last().unwrap_or(0))
}
