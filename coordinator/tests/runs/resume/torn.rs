//! Journals that lost their end, as after a power failure: the report covers what comes before, and a resumed run runs the lost rows
//! again and counts each once.

use std::fs;
use std::hash::{BuildHasher, RandomState};

use crate::resume::kept::KeptRun;
use muster_testing::load::TWO;
use muster_testing::report::Report;

const HEADER_BYTES: usize = 16;

/// Differs each time; a test that fails prints the value.
fn random(below: usize) -> usize {
    RandomState::new().hash_one(0u8) as usize % below
}

#[tokio::test]
async fn a_report_names_the_torn_tail_and_covers_what_precedes_it() {
    let Some(mut kept) = KeptRun::start("torn_report", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash_all().await;
    let whole = fs::read(kept.journal()).unwrap();
    let settled = Report::of(&kept.report(&[]).await).accounting().0;
    let mut offsets: Vec<usize> = (0..8).map(|_| random(whole.len())).collect();
    offsets.extend([0, 1, HEADER_BYTES]);
    offsets.sort_unstable();
    let mut last = 0;
    for offset in offsets {
        fs::write(kept.journal(), &whole[..offset]).unwrap();
        let ended = kept.report(&[]).await;
        let before = Report::of(&ended).accounting().0;
        assert!(last <= before && before <= settled, "at {offset}: {before} after {last}, of {settled}");
        last = before;
        let is_torn = ended.stderr.contains("unreadable bytes at byte ");
        // The cut may be exactly between two records.
        assert!(is_torn || ended.stderr.is_empty(), "at {offset}: {}", ended.stderr);
    }
    for _ in 0..4 {
        let at = HEADER_BYTES + random(whole.len() - HEADER_BYTES);
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << random(8);
        fs::write(kept.journal(), flipped).unwrap();
        let ended = kept.report(&[]).await;
        assert!(
            ended.stderr.contains("; the report covers the entries before them"),
            "at {at}: {}",
            ended.stderr
        );
        assert!(Report::of(&ended).accounting().0 <= settled, "at {at}");
    }
}

#[tokio::test]
async fn a_run_with_a_torn_journal_is_resumed_with_new_agents() {
    let Some(mut kept) = KeptRun::start("torn_resume", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash_all().await;
    let whole = fs::read(kept.journal()).unwrap();
    let offset = HEADER_BYTES + random(whole.len() - HEADER_BYTES);
    fs::write(kept.journal(), &whole[..offset]).unwrap();
    kept.resume();
    kept.join_all();
    kept.end_torn(&format!("torn at {offset}")).await;
}

/// The agents send results of sessions that the coordinator does not know any more.
#[tokio::test]
async fn a_run_is_resumed_with_its_agents_although_the_journal_lost_their_sessions() {
    for (name, keep) in [("torn_header", HEADER_BYTES), ("torn_empty", 0)] {
        let Some(mut kept) = KeptRun::start(name, TWO, &[]).await else { return };
        kept.load.coordinator.signal("STOP");
        let ran = kept.load.database.number("SELECT count(*) FROM ran").await;
        let more = format!("SELECT (count(*) >= {ran} + 10)::int::bigint FROM ran");
        kept.load.database.wait_for(1, &more).await;
        kept.crash().await;
        kept.wait_until_parked(1).await;
        fs::write(kept.journal(), &fs::read(kept.journal()).unwrap()[..keep]).unwrap();
        kept.resume();
        kept.end_torn(name).await;
    }
}

#[tokio::test]
async fn a_run_with_a_flipped_bit_in_its_journal_is_resumed_with_its_agents() {
    let Some(mut kept) = KeptRun::start("torn_flipped", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    let mut journal = fs::read(kept.journal()).unwrap();
    let at = journal.len() - 1 - random(journal.len() / 2);
    journal[at] ^= 1 << random(8);
    fs::write(kept.journal(), journal).unwrap();
    kept.resume();
    kept.load.coordinator.wait_for("they are removed, and their rows run again").await;
    kept.end_torn(&format!("flipped at {at}")).await;
}

impl KeptRun {
    /// Expects that a run which lost records of rows that ran has run them again, and has counted each row once.
    async fn end_torn(&mut self, how: &str) {
        let ended = self.load.coordinator.end().await;
        assert_eq!(ended.code, Some(0), "{how}:\n{}", ended.stderr);
        let (report, undisturbed) = (Report::of(&ended), self.load.undisturbed().await);
        assert_eq!(report.accounting(), (TWO.rows as u64, 0, 0), "{how}");
        for what in ["/result/digest", "/result/rows", "/result/bytes"] {
            assert_eq!(report.at(what), undisturbed.at(what), "{how}: {what}");
        }
        let again = self.report(&[]).await;
        assert_eq!((again.stdout, again.stderr.as_str()), (ended.stdout, ""), "{how}: the tail was cut");
        let overlapping = "SELECT count(*) FROM ran WHERE earlier_backends > 0 OR NOT alone";
        assert_eq!(self.load.database.number(overlapping).await, 0, "{how}");
        self.load.leave().await;
    }
}
