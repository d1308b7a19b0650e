//! Reads a journal while it is written. Facts are stored as JSON.

use std::fs;
use std::path::Path;

use tokio::time::{Duration, Instant, sleep};

use crate::processes::TIMEOUT;

/// There is no notification when a file grows, so it is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

pub fn has_fact(journal: &Path, text: &str) -> bool {
    position(journal, text).is_some()
}

/// Facts are written in the order in which they happened, so that positions can be compared.
pub fn position(journal: &Path, text: &str) -> Option<usize> {
    let written = fs::read(journal).unwrap();
    written.windows(text.len()).position(|window| window == text.as_bytes())
}

/// Waits until the journal contains this text.
pub async fn wait_for_fact(journal: &Path, text: &str) {
    let deadline = Instant::now() + TIMEOUT;
    while !has_fact(journal, text) {
        assert!(Instant::now() < deadline, "'{text}' is not in the journal");
        sleep(POLL_INTERVAL).await;
    }
}
