//! Where a run is kept, so that it can be reported and go on when its process is gone.

use std::path::{Path, PathBuf};

use anyhow::Context;
use muster_common::result::{Ending, RunResult};
use muster_common::session_token::SessionKey;

use super::Failure;
use super::args::RunDirArgs;
use crate::journal::{Lock, Tail, Writer};
use crate::output::{self, Format};
use crate::progress::ProgressDisplay;
use crate::run::{HostSamples, Replayed, Retried, Scope, replay};
use crate::run_dir::{self, Manifest, RunDir};
use crate::workload::HostTable;

/// The directory of this run and its open journal.
pub(super) struct Kept {
    pub(super) dir: RunDir,
    pub(super) journal: Writer,
}

/// Makes the directory of a new run. Nobody asked for the default one: where it cannot be, the run goes on without it, and says so.
pub(super) fn create(
    args: &RunDirArgs,
    manifest: Manifest,
    hosts: &HostTable,
    display: &ProgressDisplay,
) -> Result<Option<Kept>, Failure> {
    if args.no_run_dir {
        return Ok(None);
    }
    let made =
        run_dir::parent(args.run_dir.as_deref()).and_then(|parent| RunDir::create(&parent, manifest, hosts));
    match made {
        Ok((dir, journal)) => {
            tracing::info!("run directory: {}", dir.path().display());
            Ok(Some(Kept { dir, journal }))
        }
        Err(problem) if args.run_dir.is_none() => {
            display.say(&format!(
                "this run is not kept, and cannot go on if the coordinator dies: {problem}; --run-dir DIR names another place"
            ));
            Ok(None)
        }
        Err(problem) => Err(Failure::write(problem)),
    }
}

/// The key for session tokens: the one of a resumed run, or a new one.
pub(super) fn session_key(kept: Option<&Kept>) -> Result<SessionKey, Failure> {
    let mut random = [0; 32];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut random);
    filled.map_err(|_| Failure::internal(anyhow::anyhow!("the system has no random numbers")))?;
    let new = SessionKey::new(random);
    match kept {
        Some(Kept { dir, .. }) => dir.session_key(new).map_err(Failure::write),
        None => Ok(new),
    }
}

/// A run that is to go on, read and locked.
pub(super) struct TakenUp {
    dir: RunDir,
    lock: Lock,
    replayed: Replayed,
}

impl TakenUp {
    /// Reads what was written down of a run.
    pub(super) fn read(
        dir: RunDir,
        retried: Retried,
        slowest: u16,
        is_watched: bool,
        display: &ProgressDisplay,
    ) -> Result<Self, Failure> {
        let hosts = dir.hosts().map_err(Failure::usage)?;
        let lock = dir.lock().map_err(Failure::usage)?;
        let scope = Scope { slowest, is_watched, ..scope(dir.manifest(), retried)? };
        let reader = lock.reader().map_err(Failure::usage)?;
        let host_samples = HostSamples::wanted(&dir.manifest().thresholds, &hosts);
        let replayed = replay(reader, scope, hosts.len(), host_samples).map_err(Failure::usage)?;
        if let Tail::Torn { offset, bytes, reason } = replayed.tail {
            display.say(&format!(
                "the journal ends in {bytes} bytes that cannot be read, from byte {offset} on ({reason}): they are cut off, and their rows run again"
            ));
        }
        let (rows, open) = (replayed.ledger.expected(), replayed.ledger.unaccounted());
        let is_complete = match dir.manifest().load.search {
            // The time of its last round may be over, and another one may follow.
            Some(_) => replayed.record.ending == Some(Ending::Completed),
            None => replayed.is_time_over || (open == 0 && !scope.passes.is_endless()),
        };
        if is_complete {
            return Err(Failure::usage(anyhow::anyhow!(
                "run {} is complete; see it by: coordinator report {}",
                dir.manifest().run_id,
                dir.path().display()
            )));
        }
        if dir.manifest().load.search.is_some() {
            let steps = replayed.record.search.steps.len();
            display.say(&format!("{steps} steps of the search are known; it goes on behind them"));
            return Ok(Self { dir, lock, replayed });
        }
        display.say(&format!("{} of {rows} rows are settled; {open} are left to run", rows - open));
        Ok(Self { dir, lock, replayed })
    }

    /// Goes on behind the last good entry.
    pub(super) fn begin(self) -> Result<(Kept, Replayed), Failure> {
        let Self { dir, lock, replayed } = self;
        let journal = lock.append(replayed.end).map_err(Failure::write)?;
        dir.remove_report().map_err(Failure::write)?;
        Ok((Kept { dir, journal }, replayed))
    }
}

/// Keeps the reports beside the journal, which is unlocked then.
pub(super) fn finish(dir: &RunDir, journal: Option<Writer>, result: &RunResult) -> Result<(), Failure> {
    let [json, text] = [Format::Json, Format::Text].map(|format| output::render(format, result));
    if let Some(mut journal) = journal {
        journal.sync().map_err(Failure::write)?;
        dir.write_report(&json, &text).map_err(Failure::write)?;
    }
    Ok(())
}

/// What the rows of a recorded run are.
pub(super) fn scope(manifest: &Manifest, retried: Retried) -> Result<Scope, Failure> {
    let passes = manifest.load.passes(manifest.workload.rows).map_err(Failure::usage)?;
    let has_due_times = manifest.load.has_due_times();
    Ok(Scope { passes, retried, has_due_times, slowest: 0, is_watched: false })
}

/// The run that was named.
pub(super) fn find(run_dir: Option<&Path>, run: &str) -> Result<RunDir, Failure> {
    let dir = RunDir::open(run_dir, run).with_context(|| format!("open run '{run}'"));
    dir.map_err(Failure::usage)
}

/// Where the runs of these arguments are, for messages.
pub(super) fn resume_hint(dir: &RunDir, args: &RunDirArgs) -> String {
    let run: PathBuf = match args.run_dir {
        None => PathBuf::from(dir.manifest().run_id.as_str()),
        Some(_) => dir.path().to_owned(),
    };
    format!("coordinator run --resume {}", run.display())
}
