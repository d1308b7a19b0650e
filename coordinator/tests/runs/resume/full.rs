//! A journal that cannot grow any more: only results that are written are acknowledged, and with free space the run can be resumed.

use crate::resume::kept::KeptRun;
use muster_testing::disk::Disk;
use muster_testing::load::{Shape, TWO};
use muster_testing::processes::limited;
use muster_testing::report::Report;

/// Enough for the journal to hold some settled rows, and too little for all of them.
const KIB: u32 = 12;
const MANY: Shape = Shape { agents: 2, rows: 600, seconds: 0.004 };

#[tokio::test]
async fn a_run_whose_journal_is_full_ends_and_can_be_resumed_once_there_is_space() {
    let limit = |command| limited(&command, KIB);
    let Some(mut kept) = KeptRun::start_coordinator_with("full_once", MANY, &[], limit).await else { return };
    kept.join_all();
    let ended = kept
        .load
        .coordinator
        .end()
        .await
        .expect(74)
        .expect_stderr("nothing more is acknowledged, and the run ends");
    let printed = Report::of(&ended);
    assert_eq!(printed.text("/ending"), "cannot_write");
    let again = kept.report(&[]).await;
    let kept_rows = Report::of(&again).accounting();
    println!(
        "printed {:?} kept {kept_rows:?} {}",
        printed.accounting(),
        std::fs::metadata(kept.journal()).unwrap().len()
    );
    assert!(kept_rows.0 > 0 && kept_rows.2 > 0, "{kept_rows:?}");
    ended.expect_stderr("to resume this run: coordinator run --resume ");
    kept.resume();
    kept.end_complete().await;
}

/// A page each for the manifest and the hosts, and the rest for the journal.
const DISK_KIB: u32 = 20;
const PAGE_BYTES: u64 = 4096;

#[tokio::test]
async fn a_disk_that_fills_during_a_write_loses_no_row() {
    let Some(disk) = Disk::of_kib(DISK_KIB) else { return };
    let kept = KeptRun::start_coordinator_at(disk.path(), "full_disk", MANY, &[], |command| command).await;
    let Some(mut kept) = kept else { return };
    kept.join_all();
    let ended = kept.load.coordinator.end().await.expect(74);
    let ended = ended
        .expect_stderr("nothing more is acknowledged, and the run ends")
        .expect_stderr("No space left on device");
    assert_eq!(Report::of(&ended).text("/ending"), "cannot_write");
    let length = std::fs::metadata(kept.journal()).unwrap().len();
    assert!(
        length > 0 && length % PAGE_BYTES == 0,
        "{length} bytes: the last write is expected to fill the disk"
    );
    let again = kept.report(&[]).await.expect_stderr(" unreadable bytes at byte ");
    let (completed, _, open) = Report::of(&again).accounting();
    assert!(completed > 0 && open > 0, "{completed} rows are in the journal, {open} are not");

    kept.resume();
    kept.load.coordinator.end().await.expect(74).expect_stderr("No space left on device");
    assert!(
        Report::of(&kept.report(&[]).await).accounting().0 >= completed,
        "rows that were in the journal are gone"
    );

    disk.grow_to_kib(1024);
    kept.resume();
    let report = kept.end_complete().await;
    assert_eq!(kept.load.reruns().await, 0, "a row was acknowledged but not written: {}", report.events());
}

#[tokio::test]
async fn resuming_without_free_space_loses_nothing() {
    let Some(mut kept) = KeptRun::start("full_again", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash().await;
    kept.wait_until_parked(1).await;
    let settled = Report::of(&kept.report(&[]).await).accounting().0;
    let command = limited(&kept.resume_command(&[]), 1);
    kept.load.coordinator = muster_testing::processes::Process::start(command);
    kept.load.coordinator.end().await.expect(74);
    assert_eq!(Report::of(&kept.report(&[]).await).accounting().0, settled);
    kept.resume();
    kept.end_complete().await;
}
