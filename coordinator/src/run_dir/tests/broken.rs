//! Manifests and hosts that another version or another program wrote.

use std::fs;

use serde_json::json;

use super::super::{HOSTS, MANIFEST, RunDir};
use super::{check_refused, create, edit, manifest};

#[test]
fn a_later_versions_field_is_ignored_and_another_schema_refused() {
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
         use the one that made the run",
    );
}

#[test]
fn a_manifest_that_is_none_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let (run, _journal) = create(directory.path(), "r");
    edit(&run, |json| json["run_id"] = json!("../../etc"));
    let error = RunDir::at(run.path()).unwrap_err().to_string();
    assert!(error.contains("run id '../../etc' is not 1 to 24 characters"), "{error}");
    fs::write(run.path().join(MANIFEST), "{\"schema\": ").unwrap();
    check_refused(
        RunDir::at(run.path()),
        &directory,
        "'DIR/r/manifest.json' cannot be understood: EOF while parsing a value at line 1 column 11",
    );
    fs::remove_file(run.path().join(MANIFEST)).unwrap();
    check_refused(
        RunDir::at(run.path()),
        &directory,
        "'DIR/r' is not the directory of a run: it has no manifest.json",
    );
}

#[test]
fn hosts_that_are_not_those_of_the_run_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (run, _journal) = create(directory.path(), "r");
    let check = |text: &str, problem: &str| {
        fs::write(run.path().join(HOSTS), text).unwrap();
        let expected =
            format!("'DIR/r/hosts.csv' is not the list of hosts that the run was made with: {problem}");
        check_refused(run.hosts(), &directory, &expected);
    };
    check("", "its columns are not host and rows");
    check("rows,host\n", "its columns are not host and rows");
    check("host,rows\na,3\na,2\n", "line 3 is not a new host with its rows");
    check("host,rows\na,many\n", "line 2 is not a new host with its rows");
    check("host,rows\n,3\n", "line 2 is not a new host with its rows");
    check("host,rows\na,3\n", "it has 1 hosts with 3 rows, and the manifest 2 with 5");
}
