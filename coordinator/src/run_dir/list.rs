//! Lists the runs in a directory with their progress. A broken run is listed with its error and does not hide the others.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use muster_report::result::Ending;
use serde::Deserialize;

use super::{REPORT_JSON, RunDir, RunDirError, files, find};

#[derive(Debug)]
pub struct Listed {
    /// Run id, which is the name of the directory.
    pub id: String,
    pub path: PathBuf,
    pub summary: Result<Summary, RunDirError>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub started: Timestamp,
    /// Workload file as given on the command line.
    pub file: String,
    pub state: State,
    /// Queries to run in all passes; `None` if the run is limited by duration.
    pub queries: Option<u64>,
    /// Number of queries that have a result.
    pub settled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// The run has a report.
    Ended(Ending),
    /// The run has no report and no process executes it: it was killed, or it never started.
    Unfinished,
}

/// Returns the runs in `parent`, latest first. The list is empty if the directory does not exist.
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
    let Progress { state, total, settled } = progress(&run)?;
    let manifest = run.manifest;
    let passes = manifest
        .spec
        .session
        .load
        .passes(manifest.spec.workload.content.rows)
        .ok()
        .filter(|passes| !passes.is_endless());
    Ok(Summary {
        started: manifest.created_at,
        file: manifest.spec.workload.file,
        state,
        queries: total.or(passes.map(|passes| passes.rows().into())),
        settled,
    })
}

struct Progress {
    state: State,
    /// Total number of queries, from the report.
    total: Option<u64>,
    settled: u64,
}

fn progress(run: &RunDir) -> Result<Progress, RunDirError> {
    // Check the lock first: if the run ends after this check, its report has already been written.
    let is_running = run.is_running()?;
    // While the run is active, a report is left over from before the run was resumed.
    if !is_running && let Some(report) = files::read_json::<ReportSummary>(&run.path.join(REPORT_JSON))? {
        let QueryCounts { total, completed, failed } = report.queries;
        let settled = completed.saturating_add(failed);
        return Ok(Progress { state: State::Ended(report.ending), total: Some(total), settled });
    }
    // The journal contains each settled row once.
    let settled = run.journal()?.count_samples()?;
    let state = if is_running { State::Running } else { State::Unfinished };
    Ok(Progress { state, total: None, settled })
}

/// The fields of a report that the list needs.
#[derive(Deserialize)]
struct ReportSummary {
    ending: Ending,
    queries: QueryCounts,
}

#[derive(Deserialize)]
struct QueryCounts {
    total: u64,
    completed: u64,
    failed: u64,
}
