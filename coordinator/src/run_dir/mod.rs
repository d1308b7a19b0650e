//! The directory of a run. It stores the run's configuration and results, and everything needed to resume the run.
//!
//! | file | content |
//! |---|---|
//! | `manifest.json` | the configuration, fixed before the first agent joins ([`Manifest`]); contains no secrets |
//! | `hosts.csv` | name and row count of each host, in index order, so that a report does not need the workload file |
//! | `journal` | rows sent, results and events ([`crate::journal`]); locked by the process that executes the run |
//! | `session-key` | the secret with which a resumed run authenticates its agents; useless after the run has ended |
//! | `report.json`, `report.txt` | the result, after the run has ended |
//!
//! A directory is created atomically: under a hidden name first, then renamed. Only its owner can access it, because server messages
//! can quote data from the database. This module does not interpret the journal; the `run` module does that when it resumes a run.

mod error;
mod files;
mod find;
mod list;
mod manifest;
#[cfg(test)]
mod tests;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use muster_core::session_token::SessionKey;
use muster_report::result::RunResult;

pub use error::RunDirError;
pub use find::{parent, state};
pub use list::{Listed, State, Summary, list};
pub use manifest::Manifest;

use crate::journal::{self, Lock, Reader, Writer};
use crate::workload::HostTable;

const MANIFEST: &str = "manifest.json";
const HOSTS: &str = "hosts.csv";
const JOURNAL: &str = "journal";
const SESSION_KEY: &str = "session-key";
const REPORT_JSON: &str = "report.json";
const REPORT_TEXT: &str = "report.txt";
/// Name prefix of files and directories that are being created. Those left behind by a killed process are neither listed nor found.
const UNFINISHED: &str = ".new-";

/// The directory of one run and its manifest.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    manifest: Manifest,
}

impl RunDir {
    /// Creates the directory of a new run in `parent` (see [`parent()`]) and returns it with its journal, empty and locked.
    pub fn create(
        parent: &Path,
        manifest: Manifest,
        hosts: &HostTable,
    ) -> Result<(Self, Writer), RunDirError> {
        let mut directories = fs::DirBuilder::new();
        let created = directories.recursive(true).mode(0o700).create(parent);
        created.map_err(RunDirError::on("create directory", parent))?;
        // In `parent`, so that it can be renamed within one file system. Dropping it on an error removes it.
        let owner_only = fs::Permissions::from_mode(0o700);
        let unfinished =
            tempfile::Builder::new().prefix(UNFINISHED).permissions(owner_only).tempdir_in(parent);
        let unfinished = unfinished.map_err(RunDirError::on("create a directory in", parent))?;
        let path = parent.join(manifest.spec.run_id.as_str());
        files::write_hosts(&unfinished.path().join(HOSTS), hosts)?;
        let journal = Writer::create(&unfinished.path().join(JOURNAL))?;
        files::write_manifest(&unfinished.path().join(MANIFEST), &manifest)?;
        match fs::rename(unfinished.path(), &path) {
            Ok(()) => {
                let _ = unfinished.keep();
            }
            Err(_) if path.exists() => return Err(RunDirError::Exists { path }),
            Err(source) => return Err(RunDirError::on("create directory", &path)(source)),
        }
        let journal = journal.moved_to(path.join(JOURNAL));
        Ok((Self { path, manifest }, journal))
    }

    /// Opens the run that `run` names: a run id or a unique prefix of one in `run_dir` (by default, see [`parent()`]), or a path.
    pub fn open(run_dir: Option<&Path>, run: &str) -> Result<Self, RunDirError> {
        Self::at(&find::find(run_dir, run)?)
    }

    /// Opens the run in this directory.
    pub fn at(path: &Path) -> Result<Self, RunDirError> {
        let manifest = files::read_manifest(&path.join(MANIFEST))?;
        Ok(Self { path: path.to_owned(), manifest })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads the hosts, to which the journal's samples refer by index.
    pub fn hosts(&self) -> Result<HostTable, RunDirError> {
        files::read_hosts(&self.path.join(HOSTS), &self.manifest.spec.workload.content)
    }

    /// Opens the journal for reading from its start. If the run is active, the reader ends at the journal's current length.
    pub fn journal(&self) -> Result<Reader, RunDirError> {
        Ok(Reader::open(&self.path.join(JOURNAL))?)
    }

    /// Returns the run's key for session tokens. If there is none yet, stores and returns `new`.
    pub fn session_key(&self, new: SessionKey) -> Result<SessionKey, RunDirError> {
        files::read_or_write_key(&self.path.join(SESSION_KEY), new)
    }

    /// Returns true if any process, including this one, is executing the run.
    pub fn is_running(&self) -> Result<bool, RunDirError> {
        Ok(journal::is_locked(&self.path.join(JOURNAL))?)
    }

    /// Locks the journal to resume the run: read the journal under the lock, then append after the last valid record.
    pub fn lock(&self) -> Result<Lock, RunDirError> {
        Ok(Lock::take(&self.path.join(JOURNAL))?)
    }

    /// Reads the report; `None` if the run has not ended.
    pub fn report(&self) -> Result<Option<RunResult>, RunDirError> {
        files::read_report(&self.path.join(REPORT_JSON))
    }

    /// Writes the reports. The JSON report is last, because it marks the run as ended. Drop the journal's writer after this; otherwise
    /// the run is listed as unfinished for a moment.
    pub fn write_report(&self, json: &str, text: &str) -> Result<(), RunDirError> {
        files::write(&self.path.join(REPORT_TEXT), text.as_bytes())?;
        files::write(&self.path.join(REPORT_JSON), json.as_bytes())
    }

    /// Deletes the reports of a run that is resumed, because they are out of date.
    pub fn remove_report(&self) -> Result<(), RunDirError> {
        files::remove(&self.path.join(REPORT_JSON))?;
        files::remove(&self.path.join(REPORT_TEXT))
    }
}
