//! What the fuzzers begin with and what they found, replayed without them: `fuzz/seeds`. See `just fuzz`.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut replayed = 0;
    for seed in fs::read_dir(&directory).unwrap() {
        let path = seed.unwrap().path();
        let data = fs::read(&path).unwrap();
        // A panic alone would not say which one it was.
        let outcome = std::panic::catch_unwind(|| check(&data));
        assert!(outcome.is_ok(), "{} breaks what must hold", path.display());
        replayed += 1;
    }
    assert!(replayed > 0, "no seeds in {}", directory.display());
}

#[test]
fn any_file_as_a_journal() {
    replay("journal", muster_coordinator::journal::fuzzing::check);
}

#[test]
fn any_bytes_as_a_message() {
    replay("messages", muster_proto::fuzzing::check);
}

#[test]
fn any_text_as_a_statement() {
    replay("query", muster_common::query::fuzzing::check);
}

#[test]
fn any_file_as_a_workload() {
    replay("workload", muster_coordinator::workload::fuzzing::check);
}
