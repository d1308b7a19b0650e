//! Manifests and host lists written by another version or another program.

use std::fs;

use serde_json::json;

use super::super::{HOSTS, MANIFEST, RunDir};
use super::{check_refused, create, edit, manifest};

#[test]
fn unknown_fields_are_ignored_and_another_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (run, _journal) = create(directory.path(), "r");
    edit(&run, |json| {
        json["rate"] = json!(100);
        json["workload"]["compression"] = json!("zstd");
    });
    assert_eq!(RunDir::at(run.path()).unwrap().manifest, manifest("r"));
    edit(&run, |json| json["schema"] = json!("muster.run/v2"));
    check_refused(
        RunDir::at(run.path()),
        &directory,
        "'DIR/r/manifest.json' has the schema 'muster.run/v2' and this program reads 'muster.run/v1'; \
         use the version that created the run",
    );
}

#[test]
fn an_invalid_or_missing_manifest_is_reported_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let (run, _journal) = create(directory.path(), "r");
    edit(&run, |json| json["run_id"] = json!("../../etc"));
    let error = RunDir::at(run.path()).unwrap_err().to_string();
    assert!(error.contains("run id '../../etc' is not 1 to 24 characters"), "{error}");
    fs::write(run.path().join(MANIFEST), "{\"schema\": ").unwrap();
    check_refused(
        RunDir::at(run.path()),
        &directory,
        "cannot parse 'DIR/r/manifest.json': EOF while parsing a value at line 1 column 11",
    );
    fs::remove_file(run.path().join(MANIFEST)).unwrap();
    check_refused(
        RunDir::at(run.path()),
        &directory,
        "'DIR/r' is not a run directory: it has no manifest.json",
    );
}

#[test]
fn a_host_list_that_does_not_match_the_run_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (run, _journal) = create(directory.path(), "r");
    let check = |text: &str, problem: &str| {
        fs::write(run.path().join(HOSTS), text).unwrap();
        let expected = format!("'DIR/r/hosts.csv' does not match the run's manifest: {problem}");
        check_refused(run.hosts(), &directory, &expected);
    };
    check("", "its columns are not 'host' and 'rows'");
    check("rows,host\n", "its columns are not 'host' and 'rows'");
    check("host,rows\na,3\na,2\n", "line 3 is not a new host and its row count");
    check("host,rows\na,many\n", "line 2 is not a new host and its row count");
    check("host,rows\n,3\n", "line 2 is not a new host and its row count");
    check("host,rows\na,3\n", "it has 3 rows for 1 hosts, but the manifest has 5 rows for 2 hosts");
}
