//! The directory of a run: what it was asked to do, and all that is left of it when the process is gone.
//!
//! | file | what it is for |
//! |---|---|
//! | `manifest.json` | everything that was decided before the first agent joined ([`Manifest`]); no secret |
//! | `hosts.csv` | name and rows of each host in the order of indices, so that a report needs no workload file |
//! | `journal` | what happened ([`crate::journal`]); locked by the process that writes the run |
//! | `session-key` | the secret by which a resumed run recognizes its agents; of no use once the run is over |
//! | `report.json`, `report.txt` | the result, once there is one |
//!
//! A directory appears whole or not at all: it is made under a hidden name and renamed. It is its owner's alone, for a server's
//! messages can quote what is in the database. What the files mean for a run that goes on is the run's affair.

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

use muster_common::result::RunResult;
use muster_common::session_token::SessionKey;

pub use error::RunDirError;
pub use find::{parent, state};
pub use list::{Listed, State, Summary, list};
pub use manifest::{LocalAgents, Manifest, OnAgentLoss, Statement, Workload};

use crate::journal::{self, Lock, Reader, Writer};
use crate::workload::HostTable;

const MANIFEST: &str = "manifest.json";
const HOSTS: &str = "hosts.csv";
const JOURNAL: &str = "journal";
const SESSION_KEY: &str = "session-key";
const REPORT_JSON: &str = "report.json";
const REPORT_TEXT: &str = "report.txt";
/// Of a directory that is being made. One that a killed process left is neither listed nor found.
const UNFINISHED: &str = ".new-";

/// One run's directory, with its manifest read.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    manifest: Manifest,
}

impl RunDir {
    /// Makes the directory of a new run below `parent` (see [`parent()`]) and opens its journal, empty and locked.
    pub fn create(
        parent: &Path,
        manifest: Manifest,
        hosts: &HostTable,
    ) -> Result<(Self, Writer), RunDirError> {
        let mut directories = fs::DirBuilder::new();
        let made = directories.recursive(true).mode(0o700).create(parent);
        made.map_err(RunDirError::on("create directory", parent))?;
        // Of this file system, to be renamed; removed when anything fails.
        let owners_alone = fs::Permissions::from_mode(0o700);
        let unfinished =
            tempfile::Builder::new().prefix(UNFINISHED).permissions(owners_alone).tempdir_in(parent);
        let unfinished = unfinished.map_err(RunDirError::on("create a directory in", parent))?;
        let path = parent.join(manifest.run_id.as_str());
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

    /// The run that `run` names: its id below `run_dir` (or where runs are by default), the beginning of one, or its directory.
    pub fn open(run_dir: Option<&Path>, run: &str) -> Result<Self, RunDirError> {
        Self::at(&find::find(run_dir, run)?)
    }

    /// The run in this directory.
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

    /// The hosts that the journal's samples name by index.
    pub fn hosts(&self) -> Result<HostTable, RunDirError> {
        files::read_hosts(&self.path.join(HOSTS), &self.manifest.workload)
    }

    /// The journal, read from its beginning; of a running run as far as it has come.
    pub fn journal(&self) -> Result<Reader, RunDirError> {
        Ok(Reader::open(&self.path.join(JOURNAL))?)
    }

    /// The run's key for session tokens; `new` where it has none yet.
    pub fn session_key(&self, new: SessionKey) -> Result<SessionKey, RunDirError> {
        files::read_or_write_key(&self.path.join(SESSION_KEY), new)
    }

    /// Somebody writes this run now, be it this process.
    pub fn is_running(&self) -> Result<bool, RunDirError> {
        Ok(journal::is_locked(&self.path.join(JOURNAL))?)
    }

    /// The right to go on with this run: read the journal under the lock, then append behind what was read.
    pub fn lock(&self) -> Result<Lock, RunDirError> {
        Ok(Lock::take(&self.path.join(JOURNAL))?)
    }

    /// The report of a run that has ended.
    pub fn report(&self) -> Result<Option<RunResult>, RunDirError> {
        files::read_report(&self.path.join(REPORT_JSON))
    }

    /// Keeps the reports, the JSON last, since it says that the run has ended. The journal's writer is dropped after this, or the run
    /// looks unfinished for a moment.
    pub fn write_report(&self, json: &str, text: &str) -> Result<(), RunDirError> {
        files::write(&self.path.join(REPORT_TEXT), text.as_bytes())?;
        files::write(&self.path.join(REPORT_JSON), json.as_bytes())
    }

    /// Forgets the reports of a run that goes on: they would tell what is no longer true.
    pub fn remove_report(&self) -> Result<(), RunDirError> {
        files::remove(&self.path.join(REPORT_JSON))?;
        files::remove(&self.path.join(REPORT_TEXT))
    }
}
