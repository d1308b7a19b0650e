//! Stores a run in a directory, so that it can be reported and resumed after its process has ended.

use std::path::{Path, PathBuf};

use anyhow::Context;
use muster_core::session_token::SessionKey;
use muster_report::result::{Ending, RunResult};

use muster_report::Format;

use super::Failure;
use super::args::RunDirArgs;
use crate::journal::{Lock, Tail, Writer};
use crate::progress::ProgressDisplay;
use crate::run::{HostSamples, Replayed, Retried, Scope, replay};
use crate::run_dir::{self, Manifest, RunDir};
use crate::workload::HostTable;

/// The directory of a run and its open journal.
pub(super) struct RunStore {
    pub(super) dir: RunDir,
    pub(super) journal: Writer,
}

/// Creates the directory of a new run. If the default directory cannot be created, a notice is printed and the run continues without
/// one, because the user did not ask for it.
pub(super) fn create(
    args: &RunDirArgs,
    manifest: Manifest,
    hosts: &HostTable,
    display: &ProgressDisplay,
) -> Result<Option<RunStore>, Failure> {
    if args.no_run_dir {
        return Ok(None);
    }
    let created =
        run_dir::parent(args.run_dir.as_deref()).and_then(|parent| RunDir::create(&parent, manifest, hosts));
    match created {
        Ok((dir, journal)) => {
            tracing::info!("run directory: {}", dir.path().display());
            Ok(Some(RunStore { dir, journal }))
        }
        Err(problem) if args.run_dir.is_none() => {
            display.println(&format!(
                "this run is not stored and cannot be resumed: {problem}; choose another directory with --run-dir DIR"
            ));
            Ok(None)
        }
        Err(problem) => Err(Failure::write(problem)),
    }
}

/// The key for session tokens: that of the resumed run, or a new one.
pub(super) fn session_key(store: Option<&RunStore>) -> Result<SessionKey, Failure> {
    let mut random = [0; 32];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut random);
    filled.map_err(|_| Failure::internal(anyhow::anyhow!("cannot read random numbers from the system")))?;
    let new = SessionKey::new(random);
    match store {
        Some(RunStore { dir, .. }) => dir.session_key(new).map_err(Failure::write),
        None => Ok(new),
    }
}

/// A stored run that is resumed, read and locked.
pub(super) struct ResumedRun {
    dir: RunDir,
    lock: Lock,
    replayed: Replayed,
}

impl ResumedRun {
    /// Locks a stored run and reads its journal.
    pub(super) fn read(
        dir: RunDir,
        retried: Retried,
        slowest: u16,
        has_metrics: bool,
        display: &ProgressDisplay,
    ) -> Result<Self, Failure> {
        let hosts = dir.hosts().map_err(Failure::usage)?;
        let lock = dir.lock().map_err(Failure::usage)?;
        let scope = Scope { slowest, has_metrics, ..scope(dir.manifest(), retried)? };
        let reader = lock.reader().map_err(Failure::usage)?;
        let host_samples = HostSamples::wanted(&dir.manifest().spec.thresholds, &hosts);
        let replayed = replay(reader, scope, hosts.len(), host_samples).map_err(Failure::usage)?;
        if let Tail::Torn { offset, bytes, reason } = replayed.tail {
            display.println(&format!(
                "the journal ends in {bytes} unreadable bytes at byte {offset} ({reason}): they are removed, and their rows run again"
            ));
        }
        let (rows, open) = (replayed.ledger.expected(), replayed.ledger.unaccounted());
        let is_complete = match dir.manifest().spec.session.load.search {
            // Another round may follow even if the time of the last one is over.
            Some(_) => replayed.record.ending == Some(Ending::Completed),
            None => replayed.is_time_over || (open == 0 && !scope.passes.is_endless()),
        };
        if is_complete {
            return Err(Failure::usage(anyhow::anyhow!(
                "run {} is complete; print its report with: coordinator report {}",
                dir.manifest().spec.run_id,
                dir.path().display()
            )));
        }
        if dir.manifest().spec.session.load.search.is_some() {
            let steps = replayed.record.search.steps.len();
            display.println(&format!("resuming the search: {steps} steps are complete"));
            return Ok(Self { dir, lock, replayed });
        }
        display.println(&format!("resuming: {} of {rows} rows are complete, {open} remain", rows - open));
        Ok(Self { dir, lock, replayed })
    }

    /// Opens the journal for appending after its last valid entry.
    pub(super) fn begin(self) -> Result<(RunStore, Replayed), Failure> {
        let Self { dir, lock, replayed } = self;
        let journal = lock.append(replayed.end).map_err(Failure::write)?;
        dir.remove_report().map_err(Failure::write)?;
        Ok((RunStore { dir, journal }, replayed))
    }
}

/// Stores the reports beside the journal and unlocks it.
pub(super) fn finish(dir: &RunDir, journal: Option<Writer>, result: &RunResult) -> Result<(), Failure> {
    let [json, text] = [Format::Json, Format::Text].map(|format| muster_report::render(format, result));
    if let Some(mut journal) = journal {
        journal.sync().map_err(Failure::write)?;
        dir.write_report(&json, &text).map_err(Failure::write)?;
    }
    Ok(())
}

/// The rows that a stored run comprises.
pub(super) fn scope(manifest: &Manifest, retried: Retried) -> Result<Scope, Failure> {
    let passes =
        manifest.spec.session.load.passes(manifest.spec.workload.content.rows).map_err(Failure::usage)?;
    let has_due_times = manifest.spec.session.load.has_due_times();
    Ok(Scope { passes, retried, has_due_times, slowest: 0, has_metrics: false })
}

/// Opens the stored run named `run`.
pub(super) fn find(run_dir: Option<&Path>, run: &str) -> Result<RunDir, Failure> {
    let dir = RunDir::open(run_dir, run).with_context(|| format!("open run '{run}'"));
    dir.map_err(Failure::usage)
}

/// The command that resumes a run, for messages.
pub(super) fn resume_hint(dir: &RunDir, args: &RunDirArgs) -> String {
    let run: PathBuf = match args.run_dir {
        None => PathBuf::from(dir.manifest().spec.run_id.as_str()),
        Some(_) => dir.path().to_owned(),
    };
    format!("coordinator run --resume {}", run.display())
}
