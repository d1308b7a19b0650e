//! Reports that cannot be written, and readers that close the pipe early.

use std::fs::OpenOptions;
use std::process::Stdio;

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

/// A short local run.
async fn setup(name: &str) -> Option<(Files, Vec<String>)> {
    let database = Database::empty(name).await?;
    let files = Files::new();
    let own = ["run", "--local", "--database-url", database.url()].map(str::to_owned);
    let all = own.into_iter().chain(files.sleeps(20, 0.001)).collect();
    Some((files, all))
}

#[tokio::test]
async fn a_full_device_exits_with_74_and_the_other_reports_are_written() {
    let Some((files, run)) = setup("full_device").await else { return };
    let kept = files.path().join("kept.json");
    let kept = format!("text,json={}", kept.display());

    let mut command = coordinator(&[&args(&run)[..], &["--output", &kept]].concat());
    command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
    complete(command).await.expect(74).expect_stderr("cannot write the text report to stdout");
    assert_eq!(Report::read(&files.read("kept.json")).accounting(), (20, 0, 0));

    let full = ["--output", "text,csv=/dev/full"];
    let ended = complete(coordinator(&[&args(&run)[..], &full].concat())).await.expect(74);
    assert!(ended.stdout.contains("20"), "the text report is printed: {}", ended.stdout);
    ended.expect_stderr("cannot write the csv report to '/dev/full': the disk is full");
}

#[tokio::test]
async fn an_unwritable_path_is_reported_before_the_run_starts() {
    let files = Files::new();
    let missing = format!("json={}/no/such.json", files.path().display());
    // Without the check this would wait for an agent.
    let ended = complete(coordinator(&["run", "--output", &missing])).await.expect(74);
    assert!(!ended.stderr.contains("waiting for agents"), "{}", ended.stderr);
    ended.expect_stderr("the directory does not exist");
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_closed_pipe_on_stdout_is_not_an_error() {
    let Some((_files, run)) = setup("broken_pipe").await else { return };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = coordinator(&args(&run));
    command.stdout(Stdio::from(writer));
    let ended = complete(command).await.expect(0);
    assert!(!ended.stderr.contains("cannot write"), "{}", ended.stderr);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = coordinator(&["generate", "cpu-usage", "-"]);
    command.stdout(Stdio::from(writer));
    complete(command).await.expect(0);
}
