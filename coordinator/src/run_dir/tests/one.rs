//! A single run directory: round trip, file permissions and atomic creation.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use muster_core::ids::Epoch;

use muster_core::session_spec::{Statement, StatementText};

use super::super::{HOSTS, JOURNAL, MANIFEST, REPORT_JSON, REPORT_TEXT, RunDir};
use super::{check_refused, create, hosts, manifest, sample};
use crate::journal::Entry;
use crate::spec::{Content, WorkloadSpec};
use crate::workload::{Checks, OnBadRow, Options};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_created_run_reads_back_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("state/runs");
    let (created, mut journal) = create(&parent, "20261123-213153-1193");
    journal.results(Epoch::new(1), &[sample(3)]);
    journal.commit().unwrap();
    assert!(created.is_running().unwrap());
    check_refused(
        created.lock(),
        &directory,
        "journal 'DIR/state/runs/20261123-213153-1193/journal' is locked by another process; \
         wait for that run to end, or stop it",
    );
    drop(journal);

    let run = RunDir::open(Some(&parent), "20261123-213153-1193").unwrap();
    assert!(!run.is_running().unwrap());
    assert_eq!(run.manifest(), &manifest("20261123-213153-1193"));
    let read = run.hosts().unwrap();
    let expected: Vec<_> = hosts().iter().map(|(_, name, rows)| (name.to_owned(), rows)).collect();
    assert_eq!(read.iter().map(|(_, name, rows)| (name.to_owned(), rows)).collect::<Vec<_>>(), expected);
    let entries: Vec<Entry> = run.journal().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(entries, [Entry::Results { epoch: Epoch::new(1), samples: vec![sample(3)] }]);
}

#[test]
fn the_manifest_has_this_format_and_contains_no_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let (run, _journal) = create(directory.path(), "20261123-213153-1193");
    insta::assert_snapshot!(fs::read_to_string(run.path().join(MANIFEST)).unwrap(), @r#"
    {
      "schema": "muster.run/v1",
      "created_at": "2026-11-23T21:31:53.779Z",
      "tool_version": "0.1.0",
      "listen": "127.0.0.1:50051",
      "run_id": "20261123-213153-1193",
      "command": "coordinator run --agents 2 --database-url … rows.csv",
      "workload": {
        "file": "rows.csv",
        "path": "/data/rows.csv",
        "sha256": "115b6751ef89",
        "rows": 5,
        "hosts": 2,
        "skipped": 1,
        "host_column": "hostname",
        "parameters": [
          "hostname",
          "start_time",
          "end_time"
        ],
        "mix": null,
        "checks": {
          "demo_window": {
            "start_time": "start_time",
            "end_time": "end_time",
            "timezone": "UTC"
          }
        },
        "on_bad_row": "skip",
        "limit": 5
      },
      "agents": 2,
      "placement": "balanced",
      "statements": [
        {
          "name": "default",
          "sql": null,
          "weight": 1
        }
      ],
      "load": {
        "protocol": "prepared",
        "plan_cache_mode": null,
        "results": null,
        "schedule": null,
        "think_time": {
          "secs": 0,
          "nanos": 0
        },
        "warmup": null,
        "repeat": 1,
        "duration": null,
        "search": null,
        "seed": 18446744073709551615,
        "versus": false
      },
      "timezone": "UTC",
      "timeout_ms": 30000.0,
      "on_agent_loss": "reassign",
      "slot_grace_ms": 10000.0,
      "local": {
        "workers": 4
      },
      "embedded": "PostgreSQL 15.18",
      "thresholds": [
        "p95<50ms"
      ]
    }
    "#);
}

#[test]
fn only_its_owner_can_access_a_run() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("state/runs");
    let (run, _journal) = create(&parent, "r");
    run.write_report("{}", "").unwrap();
    for created in [&directory.path().join("state"), &parent, run.path()] {
        assert_eq!(mode(created), 0o700, "{}", created.display());
    }
    let mut files: Vec<String> = Vec::new();
    for file in fs::read_dir(run.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    files.sort();
    assert_eq!(files, [HOSTS, JOURNAL, MANIFEST, REPORT_JSON, REPORT_TEXT]);
}

#[test]
fn a_directory_is_created_atomically() {
    let directory = tempfile::tempdir().unwrap();
    drop(create(directory.path(), "r"));
    check_refused(
        RunDir::create(directory.path(), manifest("r"), &hosts()),
        &directory,
        "'DIR/r' already exists; remove it, or choose another directory with --run-dir",
    );
    let names: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["r"], "the failed attempt leaves nothing behind");
}

#[test]
fn every_combination_of_workload_options_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    for (i, checks) in [Checks::None, manifest("x").spec.workload.options.checks].into_iter().enumerate() {
        for (j, on_bad_row) in [OnBadRow::Fail, OnBadRow::Skip].into_iter().enumerate() {
            for (k, limit) in [None, Some(1), Some(u64::MAX)].into_iter().enumerate() {
                let id = format!("r-{i}-{j}-{k}");
                let mut manifest = manifest(&id);
                let Options { host_column, parameters, .. } = manifest.spec.workload.options;
                manifest.spec.workload.options =
                    Options { host_column, parameters, mix: None, checks: checks.clone(), on_bad_row, limit };
                manifest.spec.workload.path = None;
                let sql = Some("SELECT :hostname -- \"ü\"\n".to_owned());
                let statement = Statement::try_from(StatementText { name: "ü".to_owned(), sql, weight: 1 });
                manifest.spec.session.statements = statement.unwrap().into();
                drop(RunDir::create(directory.path(), manifest.clone(), &hosts()).unwrap());
                assert_eq!(RunDir::open(Some(directory.path()), &id).unwrap().manifest, manifest);
            }
        }
    }
}

#[test]
fn the_workload_path_is_stored_as_absolute() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.csv");
    fs::write(&path, "h\na\nb\n").unwrap();
    let options = Options {
        host_column: "h".to_owned(),
        parameters: Vec::new(),
        mix: None,
        checks: Checks::None,
        on_bad_row: OnBadRow::Fail,
        limit: None,
    };
    let workload = crate::workload::open(&path, &options, &mut |_| {}).unwrap();
    let of = |path: &Path| WorkloadSpec::unread(path, options.clone());
    assert_eq!(of(&path).path.as_deref(), Some(path.as_path()));
    let content = Content::of(&workload);
    assert_eq!((content.rows, content.hosts), (2, 2));
    let here = std::env::current_dir().unwrap();
    assert_eq!(of(Path::new("rows.csv")).path, Some(here.join("rows.csv")));
    assert_eq!(of(Path::new("-")).path, None);
    assert_eq!(of(Path::new(std::ffi::OsStr::from_bytes(b"/\xff.csv"))).path, None);
}
