//! Run directories: creating, finding and listing them, and errors for broken ones.

mod broken;
mod many;
mod one;

use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_core::ids::{RowId, RunId};
use muster_core::placement::Method;
use muster_core::sample::Sample;
use muster_core::session_spec::{SessionSpec, Statement};
use serde_json::Value;
use tempfile::TempDir;

use super::{MANIFEST, Manifest, RunDir, RunDirError, Writer};
use crate::journal::CountedSample;
use crate::spec::{Content, LocalAgents, OnAgentLoss, RunSpec, WorkloadSpec};
use crate::workload::{Checks, HostIndex, HostTable, OnBadRow, Options};

fn manifest(id: &str) -> Manifest {
    let [hostname, start_time, end_time] = ["hostname", "start_time", "end_time"].map(str::to_owned);
    let options = Options {
        host_column: hostname.clone(),
        parameters: vec![hostname, start_time.clone(), end_time.clone()],
        mix: None,
        checks: Checks::DemoWindow { start_time, end_time, timezone: Some("UTC".to_owned()) },
        on_bad_row: OnBadRow::Skip,
        limit: Some(5),
    };
    let spec = RunSpec {
        run_id: RunId::try_new(id).unwrap(),
        command: "coordinator run --agents 2 --database-url … rows.csv".to_owned(),
        workload: WorkloadSpec {
            file: "rows.csv".to_owned(),
            path: Some("/data/rows.csv".into()),
            content: Content { sha256: "115b6751ef89".to_owned(), rows: 5, hosts: 2, skipped: 1 },
            options,
        },
        agents: 2,
        placement: Method::Balanced,
        session: SessionSpec {
            statements: Statement::default_query().into(),
            load: muster_core::load::Load { seed: u64::MAX, ..Default::default() },
            timezone: "UTC".to_owned(),
            timeout: Some(Duration::from_secs(30)),
        },
        on_agent_loss: OnAgentLoss::Reassign,
        slot_grace: Duration::from_secs(10),
        local: Some(LocalAgents { workers: 4 }),
        embedded: Some("PostgreSQL 15.18".to_owned()),
        thresholds: vec!["p95<50ms".parse().unwrap()],
    };
    Manifest {
        created_at: "2026-11-23T21:31:53.779Z".parse().unwrap(),
        tool_version: "0.1.0".to_owned(),
        listen: "127.0.0.1:50051".parse().unwrap(),
        spec,
    }
}

fn hosts() -> HostTable {
    let mut hosts = HostTable::default();
    assert!(hosts.push("a \"host\",\nin two lines", 3) && hosts.push("b", 2));
    hosts
}

fn create(parent: &Path, id: &str) -> (RunDir, Writer) {
    RunDir::create(parent, manifest(id), &hosts()).unwrap()
}

fn sample(row: u32) -> CountedSample {
    CountedSample {
        host: HostIndex::new(0),
        worker: 0,
        attempt: 1,
        sample: Sample { service_time_ns: 1, ..Sample::zero(RowId::new(row)) },
    }
}

/// Edits the manifest file directly, as another program might.
fn edit(run: &RunDir, change: impl FnOnce(&mut Value)) {
    let path = run.path().join(MANIFEST);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Compares the error message, with the temporary directory's path replaced by `DIR`.
#[track_caller]
fn check_refused<T: std::fmt::Debug>(found: Result<T, RunDirError>, directory: &TempDir, expected: &str) {
    let message = found.unwrap_err().to_string();
    assert_eq!(message.replace(&directory.path().display().to_string(), "DIR"), expected);
}
