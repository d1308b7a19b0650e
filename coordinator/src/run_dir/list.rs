//! The runs in a directory, each with how far it came. A broken one is told as such and hides none of the others.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use muster_common::result::Ending;
use serde::Deserialize;

use super::{REPORT_JSON, RunDir, RunDirError, files, find};

#[derive(Debug)]
pub struct Listed {
    /// The directory's name, which is the run's id.
    pub id: String,
    pub path: PathBuf,
    pub summary: Result<Summary, RunDirError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub started: Timestamp,
    /// The workload, as typed.
    pub file: String,
    pub state: State,
    /// Queries to run, over all passes; `None` where the duration ends the run.
    pub queries: Option<u64>,
    /// The number of them that have a result.
    pub settled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// It has a report.
    Ended(Ending),
    /// It has none and nobody runs it: it was killed, or it never began.
    Unfinished,
}

/// The runs in `parent`, the latest first; none when there is no such directory.
pub fn list(parent: &Path) -> Result<Vec<Listed>, RunDirError> {
    let names = match find::names(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(RunDirError::on("read directory", parent))?,
    };
    let listed = names.into_iter().rev().map(|id| {
        let path = parent.join(&id);
        Listed { id, summary: summarize(&path), path }
    });
    Ok(listed.collect())
}

fn summarize(path: &Path) -> Result<Summary, RunDirError> {
    let run = RunDir::at(path)?;
    let HowFar { state, total, settled } = how_far(&run)?;
    let manifest = run.manifest;
    let passes = manifest.load.passes(manifest.workload.rows).ok().filter(|passes| !passes.is_endless());
    Ok(Summary {
        started: manifest.created_at,
        file: manifest.workload.file,
        state,
        queries: total.or(passes.map(|passes| passes.rows().into())),
        settled,
    })
}

struct HowFar {
    state: State,
    /// The total in its report.
    total: Option<u64>,
    settled: u64,
}

fn how_far(run: &RunDir) -> Result<HowFar, RunDirError> {
    // The lock first: a run that ends in between has its report by then.
    let is_running = run.is_running()?;
    // A report from before the run went on is not the latest.
    if !is_running && let Some(report) = files::read_json::<Outline>(&run.path.join(REPORT_JSON))? {
        let Counts { total, completed, failed } = report.queries;
        let settled = completed.saturating_add(failed);
        return Ok(HowFar { state: State::Ended(report.ending), total: Some(total), settled });
    }
    // The journal has each settled row once.
    let settled = run.journal()?.count_samples()?;
    let state = if is_running { State::Running } else { State::Unfinished };
    Ok(HowFar { state, total: None, settled })
}

/// What a list needs of a report.
#[derive(Deserialize)]
struct Outline {
    ending: Ending,
    queries: Counts,
}

#[derive(Deserialize)]
struct Counts {
    total: u64,
    completed: u64,
    failed: u64,
}
