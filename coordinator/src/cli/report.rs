//! `coordinator report`: the report of a finished, running or killed run from its journal, and its raw measurements.

use std::io::{self, stdout};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use jiff::Timestamp;

use muster_core::ids::WorkerId;
use muster_core::ledger::{Ledger, Settled, Settlement};
use muster_core::passes::Passes;
use muster_core::placement;
use muster_report::result::RunResult;

use super::args::ReportArgs;
use super::{Failure, outcome, result_file, run_store};
use crate::exit::Exit;
use crate::journal::{CountedSample, Entry, JournalError, Tail};
use crate::output;
use crate::output::hlog;
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
    if Path::new(&args.run).is_file() {
        return of_file(args);
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
    if let Some(path) = args.output.hlog() {
        write_hlog(path, &dir, &result, retried)?;
    }
    // `coordinator run` already returned the outcome of the run; here only thresholds given to this command affect the exit code.
    let is_missed = !typed.is_empty() && outcome::misses_threshold(&result);
    Ok(if is_missed { Exit::ThresholdMissed } else { Exit::Success })
}

/// The report of a JSON result, which has no journal.
fn of_file(args: &ReportArgs) -> Result<Exit, Failure> {
    let needs_journal = [
        ("--samples", args.samples.is_some()),
        ("--include-retried", args.include_retried),
        ("--threshold", !args.thresholds.is_empty()),
        ("--output hlog", args.output.hlog().is_some()),
    ];
    if let Some((option, _)) = needs_journal.iter().find(|(_, is_given)| *is_given) {
        return Err(Failure::usage(anyhow::anyhow!(
            "{option} needs the journal of the run, and '{}' is a JSON result; name the stored run instead",
            args.run
        )));
    }
    let result = result_file::read(Path::new(&args.run)).with_context(|| format!("read '{}'", args.run));
    let result = result.map_err(Failure::usage)?;
    output::write(&args.output, &mut stdout().lock(), |format| muster_report::render(format, &result))
        .map_err(Failure::write)?;
    Ok(Exit::Success)
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
) -> Result<RunResult, Failure> {
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
    let samples = counted_samples(dir, passes).map_err(Failure::usage)?;
    let count = file
        .write(samples, |counted| SampleRow::of(counted, &passes, hosts, workers))
        .map_err(Failure::write)?;
    super::print_notice(&format!("{count} measurements written to {}", file.path().display()));
    Ok(())
}

/// Writes the interval log of a run, whose result is known, from its journal.
pub(super) fn write_hlog(
    path: &Path,
    dir: &RunDir,
    result: &RunResult,
    retried: Retried,
) -> Result<(), Failure> {
    let spec = &dir.manifest().spec;
    let passes = spec.session.load.passes(spec.workload.content.rows).map_err(Failure::usage)?;
    let started =
        result.started_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok()).unwrap_or_default();
    let slot_of = |worker: &str| worker.strip_prefix("slot-")?.split('/').next()?.parse::<u64>().ok();
    let slots: Vec<Option<u64>> = result.workers.iter().map(|worker| slot_of(&worker.worker)).collect();
    let log = hlog::Log {
        started: SystemTime::UNIX_EPOCH + Duration::try_from(started.as_duration()).unwrap_or_default(),
        lasted_ns: (result.wall_time_ms * 1e6).round() as u64,
        slots: result.agents.len() as u64,
        has_due_times: spec.session.load.has_due_times(),
    };
    let timed = |counted: CountedSample| {
        let CountedSample { worker, attempt, sample, .. } = counted;
        let is_kept = (attempt == 1 || retried == Retried::Included) && passes.target_of(sample.row) == 0;
        sample.answer().filter(|_| is_kept)?;
        Some(hlog::Timed {
            slot: (*slots.get(usize::try_from(worker).ok()?)?)?,
            ended_ns: sample.start_ns.saturating_add(sample.service_time_ns),
            service_ns: sample.service_time_ns,
            response_ns: sample.service_time_ns.saturating_add(sample.lag.total_ns()),
        })
    };
    let read = || {
        let samples = counted_samples(dir, passes).map_err(io::Error::other)?;
        Ok(samples.filter_map(move |counted| counted.map(timed).map_err(io::Error::other).transpose()))
    };
    log.write(path, read)
        .with_context(|| format!("write the interval log '{}'", path.display()))
        .map_err(Failure::write)
}

/// The first result of every row, in the order in which rows were counted.
pub(super) fn counted_samples(
    dir: &RunDir,
    passes: Passes,
) -> Result<impl Iterator<Item = Result<CountedSample, JournalError>> + use<>, RunDirError> {
    let mut ledger = Ledger::new(passes.rows_at_start());
    let samples = counted_entries(dir)?.flat_map(|entry| match entry {
        Ok(Entry::Results { samples, .. }) => samples.into_iter().map(Ok).collect(),
        Ok(Entry::Sent { .. } | Entry::Fact(_)) => Vec::new(),
        Err(problem) => vec![Err(problem)],
    });
    Ok(samples.filter(move |counted| {
        let Ok(counted) = counted else { return true };
        let row = counted.sample.row;
        ledger.grow_to(passes.rows_through(row));
        ledger.settle(row, Settled::Completed) == Settlement::Counted
    }))
}

/// The journal entries that count. In a search, the entries before its last confirmation round are skipped.
pub(super) fn counted_entries(
    dir: &RunDir,
) -> Result<impl Iterator<Item = Result<Entry, JournalError>> + use<>, RunDirError> {
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
