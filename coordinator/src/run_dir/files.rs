//! Reads and writes the files of a run directory other than the journal. Manifest, key and reports are replaced atomically; the size
//! of the manifest is limited.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use muster_core::limits::MANIFEST_BYTES_MAX;
use muster_core::session_token::SessionKey;
use muster_report::result::RunResult;
use serde::de::DeserializeOwned;

use super::RunDirError;
use super::manifest::{Manifest, SCHEMA, Schema, Written};
use crate::spec::Content;
use crate::workload::HostTable;

// -- manifest ----------------------------------------------------------------------------------------------------------

pub(super) fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), RunDirError> {
    let mut json = serde_json::to_vec_pretty(&Written::new(manifest)).map_err(json_error(path))?;
    json.push(b'\n');
    write(path, &json)
}

pub(super) fn read_manifest(path: &Path) -> Result<Manifest, RunDirError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path);
            return Err(RunDirError::NotARun { path: directory.to_owned() });
        }
        other => other.map_err(RunDirError::on("open", path))?,
    };
    let mut json = Vec::new();
    let limit = MANIFEST_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut json).map_err(RunDirError::on("read", path))?;
    if json.len() > MANIFEST_BYTES_MAX {
        return Err(RunDirError::TooLong { path: path.to_owned(), bytes_max: MANIFEST_BYTES_MAX });
    }
    let Schema { schema } = serde_json::from_slice(&json).map_err(json_error(path))?;
    if schema != SCHEMA {
        return Err(RunDirError::Schema { path: path.to_owned(), found: schema });
    }
    serde_json::from_slice(&json).map_err(json_error(path))
}

fn json_error(path: &Path) -> impl FnOnce(serde_json::Error) -> RunDirError {
    |source| RunDirError::Json { path: path.to_owned(), source }
}

// -- session key -------------------------------------------------------------------------------------------------------

/// Returns the stored key. Writes `new` if there is none, or if the file is invalid: the run's agents then join as new agents.
pub(super) fn read_or_write_key(path: &Path, new: SessionKey) -> Result<SessionKey, RunDirError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(RunDirError::on("read", path))?,
    };
    if let Some(key) = std::str::from_utf8(&text).ok().and_then(SessionKey::parse) {
        return Ok(key);
    }
    write(path, format!("{}\n", new.expose()).as_bytes())?;
    Ok(new)
}

// -- hosts -------------------------------------------------------------------------------------------------------------

const COLUMNS: [&str; 2] = ["host", "rows"];

pub(super) fn write_hosts(path: &Path, hosts: &HostTable) -> Result<(), RunDirError> {
    let write = || {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut csv = csv::Writer::from_writer(BufWriter::new(file));
        csv.write_record(COLUMNS)?;
        for (_, name, rows) in hosts.iter() {
            csv.write_record([name, &rows.to_string()])?;
        }
        csv.flush()
    };
    write().map_err(RunDirError::on("write", path))
}

pub(super) fn read_hosts(path: &Path, content: &Content) -> Result<HostTable, RunDirError> {
    let invalid = |problem: String| RunDirError::Hosts { path: path.to_owned(), problem };
    let file = File::open(path).map_err(RunDirError::on("open", path))?;
    let mut csv = csv::Reader::from_reader(file);
    if csv.headers().map_err(|error| invalid(error.to_string()))? != COLUMNS.as_slice() {
        return Err(invalid("its columns are not 'host' and 'rows'".to_owned()));
    }
    let mut hosts = HostTable::default();
    let mut rows: u64 = 0;
    for record in csv.records() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let host_rows: Option<u32> = record.get(1).and_then(|rows| rows.parse().ok());
        match (record.get(0), host_rows) {
            (Some(name), Some(host_rows)) if hosts.push(name, host_rows) => rows += u64::from(host_rows),
            _ => return Err(invalid(format!("line {line} is not a new host and its row count"))),
        }
    }
    if (hosts.len() as u64, rows) != (content.hosts.into(), content.rows.into()) {
        let (found, hosts, expected) = (hosts.len(), content.hosts, content.rows);
        return Err(invalid(format!(
            "it has {rows} rows for {found} hosts, but the manifest has {expected} rows for {hosts} hosts"
        )));
    }
    Ok(hosts)
}

// -- reports -----------------------------------------------------------------------------------------------------------

pub(super) fn read_report(path: &Path) -> Result<Option<RunResult>, RunDirError> {
    read_json(path)
}

/// Returns `None` if the file does not exist.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunDirError> {
    match fs::read(path) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(json_error(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RunDirError::on("read", path)(error)),
    }
}

/// Writes a temporary file in the same directory and renames it, so a crash leaves either the old file or the new one. Only the owner
/// can read the file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RunDirError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut temporary = tempfile::Builder::new().prefix(super::UNFINISHED).tempfile_in(directory)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(RunDirError::on("write", path))
}

pub(super) fn remove(path: &Path) -> Result<(), RunDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunDirError::on("remove", path)(error)),
        _ => Ok(()),
    }
}
