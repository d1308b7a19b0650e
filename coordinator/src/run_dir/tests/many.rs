//! Several runs in one directory: finding one by name, and listing them with their progress.

use std::fs;

use muster_core::ids::Epoch;
use muster_report::result::Ending;
use serde_json::json;

use super::super::{MANIFEST, RunDir, RunDirError, State, Summary, list};
use super::{check_refused, create, sample};

fn report(ending: &str, completed: u64, failed: u64) -> String {
    json!({"ending": ending, "queries": {"total": 5, "completed": completed, "failed": failed}}).to_string()
}

#[test]
fn a_run_is_found_by_id_prefix_or_path() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path();
    for id in ["20261123-1", "20261123-12", "20261124-1"] {
        drop(create(parent, id));
    }
    fs::create_dir(parent.join("20261125-no-run")).unwrap();
    let open = |run: &str| RunDir::open(Some(parent), run);
    let found = |run: &str| open(run).unwrap().manifest.spec.run_id.to_string();
    assert_eq!(found("20261124-1"), "20261124-1");
    assert_eq!(found("20261124"), "20261124-1");
    assert_eq!(found("20261123-1"), "20261123-1", "an exact id takes precedence over a prefix");
    assert_eq!(found(&parent.join("20261123-12").display().to_string()), "20261123-12");
    check_refused(
        open("20261123"),
        &directory,
        "'20261123' matches 2 runs: 20261123-1, 20261123-12; use a longer prefix or the full id",
    );
    for none in ["20261125", "x", ""] {
        let expected = format!(
            "there is no run '{none}' in 'DIR'; list the runs with 'coordinator runs', \
             or choose another directory with --run-dir"
        );
        check_refused(open(none), &directory, &expected);
    }
    let missing = format!("{}/none", parent.display());
    check_refused(open(&missing), &directory, "'DIR/none' is not a run directory: it has no manifest.json");
}

#[test]
fn runs_are_listed_with_their_progress_even_if_one_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path();
    let (_running, mut journal) = create(parent, "1-running");
    journal.results(Epoch::new(1), &[sample(0), sample(4)]);
    journal.commit().unwrap();
    let (killed, mut killed_journal) = create(parent, "2-killed");
    killed_journal.results(Epoch::new(1), &[sample(0)]);
    killed_journal.sync().unwrap();
    drop(killed_journal);
    let (ended, _) = create(parent, "3-ended");
    ended.write_report(&report("agents_lost", 3, 1), "").unwrap();
    let (broken, _) = create(parent, "4-broken");
    fs::write(broken.path().join(MANIFEST), "").unwrap();
    let (resumed, _resumed_journal) = create(parent, "5-resumed");
    resumed.write_report(&report("interrupted", 2, 0), "").unwrap();
    fs::create_dir(parent.join(".new-x")).unwrap();
    fs::create_dir(parent.join("another")).unwrap();
    fs::write(parent.join("file"), "").unwrap();

    let listed = list(parent).unwrap();
    let ids: Vec<&str> = listed.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids, ["5-resumed", "4-broken", "3-ended", "2-killed", "1-running"]);
    let progress = |position: usize| {
        let Summary { state, settled, queries, ref file, .. } = *listed[position].summary.as_ref().unwrap();
        assert_eq!((queries, file.as_str()), (Some(5), "rows.csv"));
        (state, settled)
    };
    assert_eq!(progress(0), (State::Running, 0), "its report is out of date");
    assert!(matches!(listed[1].summary, Err(RunDirError::Json { .. })));
    assert_eq!(progress(2), (State::Ended(Ending::AgentsLost), 4));
    assert_eq!(progress(3), (State::Unfinished, 1));
    assert_eq!(progress(4), (State::Running, 2));
    assert_eq!(killed.report().unwrap(), None);
    ended.remove_report().unwrap();
    ended.remove_report().unwrap();
    assert_eq!(ended.report().unwrap(), None);
    assert!(list(&parent.join("none")).unwrap().is_empty());
}
