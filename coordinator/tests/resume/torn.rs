//! Journals that lost their end, as after a power failure: the report is of what comes before, and a run that goes on runs the lost
//! rows again and counts each once.

use std::fs;
use std::hash::{BuildHasher, RandomState};

use crate::kept::Kept;
use crate::support::load::TWO;
use crate::support::report::Report;

const HEADER_BYTES: usize = 16;

/// Another one each time; a test that fails says which it was.
fn random(below: usize) -> usize {
    RandomState::new().hash_one(0u8) as usize % below
}

#[tokio::test]
async fn a_report_names_the_torn_tail_and_tells_what_is_before_it() {
    let Some(mut kept) = Kept::start("torn_report", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash_all().await;
    let whole = fs::read(kept.journal()).unwrap();
    let settled = Report::of(&kept.report(&[]).await).books().0;
    let mut offsets: Vec<usize> = (0..8).map(|_| random(whole.len())).collect();
    offsets.extend([0, 1, HEADER_BYTES]);
    offsets.sort_unstable();
    let mut last = 0;
    for offset in offsets {
        fs::write(kept.journal(), &whole[..offset]).unwrap();
        let ended = kept.report(&[]).await;
        let before = Report::of(&ended).books().0;
        assert!(last <= before && before <= settled, "at {offset}: {before} after {last}, of {settled}");
        last = before;
        let is_torn = ended.stderr.contains("bytes that cannot be read, from byte ");
        // By chance it is torn between two records.
        assert!(is_torn || ended.stderr.is_empty(), "at {offset}: {}", ended.stderr);
    }
    for _ in 0..4 {
        let at = HEADER_BYTES + random(whole.len() - HEADER_BYTES);
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << random(8);
        fs::write(kept.journal(), flipped).unwrap();
        let ended = kept.report(&[]).await;
        assert!(ended.stderr.contains("; the report is of what comes before"), "at {at}: {}", ended.stderr);
        assert!(Report::of(&ended).books().0 <= settled, "at {at}");
    }
}

#[tokio::test]
async fn a_run_goes_on_before_the_torn_tail_with_new_agents() {
    let Some(mut kept) = Kept::start("torn_resume", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash_all().await;
    let whole = fs::read(kept.journal()).unwrap();
    let offset = HEADER_BYTES + random(whole.len() - HEADER_BYTES);
    fs::write(kept.journal(), &whole[..offset]).unwrap();
    kept.go_on();
    kept.join_all();
    kept.end_torn(&format!("torn at {offset}")).await;
}

/// The agents tell results of sessions that nobody knows any more.
#[tokio::test]
async fn a_run_goes_on_with_the_agents_that_it_had_when_their_joining_was_lost_too() {
    for (name, keep) in [("torn_header", HEADER_BYTES), ("torn_empty", 0)] {
        let Some(mut kept) = Kept::start(name, TWO, &[]).await else { return };
        kept.load.coordinator.signal("STOP");
        let ran = kept.load.database.number("SELECT count(*) FROM ran").await;
        let more = format!("SELECT (count(*) >= {ran} + 10)::int::bigint FROM ran");
        kept.load.database.wait_for(1, &more).await;
        kept.crash().await;
        kept.until_parked(1).await;
        fs::write(kept.journal(), &fs::read(kept.journal()).unwrap()[..keep]).unwrap();
        kept.go_on();
        kept.end_torn(name).await;
    }
}

#[tokio::test]
async fn a_run_goes_on_before_a_flipped_byte_with_the_agents_that_it_had() {
    let Some(mut kept) = Kept::start("torn_flipped", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash().await;
    kept.until_parked(1).await;
    let mut journal = fs::read(kept.journal()).unwrap();
    let at = journal.len() - 1 - random(journal.len() / 2);
    journal[at] ^= 1 << random(8);
    fs::write(kept.journal(), journal).unwrap();
    kept.go_on();
    kept.load.coordinator.wait_for("they are cut off, and their rows run again").await;
    kept.end_torn(&format!("flipped at {at}")).await;
}

impl Kept {
    /// The end of a run that forgot rows which ran: it ran them again without knowing, and counted each once.
    async fn end_torn(&mut self, how: &str) {
        let ended = self.load.coordinator.end().await;
        assert_eq!(ended.code, Some(0), "{how}:\n{}", ended.stderr);
        let (report, undisturbed) = (Report::of(&ended), self.load.undisturbed().await);
        assert_eq!(report.books(), (TWO.rows as u64, 0, 0), "{how}");
        for what in ["/result/digest", "/result/rows", "/result/bytes"] {
            assert_eq!(report.at(what), undisturbed.at(what), "{how}: {what}");
        }
        let again = self.report(&[]).await;
        assert_eq!((again.stdout, again.stderr.as_str()), (ended.stdout, ""), "{how}: the tail was cut");
        let apart = "SELECT count(*) FROM ran WHERE elders > 0 OR NOT alone";
        assert_eq!(self.load.database.number(apart).await, 0, "{how}");
        self.load.leave().await;
    }
}
