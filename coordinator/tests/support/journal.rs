//! A journal seen from outside while it is written: facts are JSON in it.

use std::fs;
use std::path::Path;

use tokio::time::{Duration, Instant, sleep};

use super::processes::WITHIN;

/// Nothing tells that a file has grown, so it is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub(crate) fn has_fact(journal: &Path, words: &str) -> bool {
    position(journal, words).is_some()
}

/// Facts are written down in the order in which they happened.
pub(crate) fn position(journal: &Path, words: &str) -> Option<usize> {
    let written = fs::read(journal).unwrap();
    written.windows(words.len()).position(|window| window == words.as_bytes())
}

/// Until the journal has these words.
pub(crate) async fn wait_for_fact(journal: &Path, words: &str) {
    let deadline = Instant::now() + WITHIN;
    while !has_fact(journal, words) {
        assert!(Instant::now() < deadline, "'{words}' is not in the journal");
        sleep(LOOK_EVERY).await;
    }
}
