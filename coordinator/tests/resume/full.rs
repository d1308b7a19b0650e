//! A journal that cannot grow any more: nothing is acknowledged that is not written down, and with room again the run goes on.

use crate::kept::Kept;
use crate::support::disk::Disk;
use crate::support::load::{Shape, TWO};
use crate::support::processes::limited;
use crate::support::report::Report;

/// More than a journal of this run needs before it has settled some rows, less than all of them need.
const KIB: u32 = 12;
const MANY: Shape = Shape { agents: 2, rows: 600, seconds: 0.004 };

#[tokio::test]
async fn a_run_whose_journal_is_full_ends_and_goes_on_once_there_is_room() {
    let limit = |command| limited(&command, KIB);
    let Some(mut kept) = Kept::gather_within("full_once", MANY, &[], limit).await else { return };
    kept.join_all();
    let ended =
        kept.load.coordinator.end().await.expect(74).says("nothing more is acknowledged, and the run ends");
    let printed = Report::of(&ended);
    assert_eq!(printed.text("/ending"), "cannot_write");
    let again = kept.report(&[]).await;
    let kept_rows = Report::of(&again).books();
    println!(
        "printed {:?} kept {kept_rows:?} {}",
        printed.books(),
        std::fs::metadata(kept.journal()).unwrap().len()
    );
    assert!(kept_rows.0 > 0 && kept_rows.2 > 0, "{kept_rows:?}");
    ended.says("to go on with this run: coordinator run --resume ");
    kept.go_on();
    kept.end_whole().await;
}

/// A page each for manifest and hosts, and the rest for the journal.
const DISK_KIB: u32 = 20;
const PAGE_BYTES: u64 = 4096;

#[tokio::test]
async fn a_disk_that_fills_half_way_through_a_write_costs_no_row() {
    let Some(disk) = Disk::of_kib(DISK_KIB) else { return };
    let kept = Kept::gather_at(disk.path(), "full_disk", MANY, &[], |command| command).await;
    let Some(mut kept) = kept else { return };
    kept.join_all();
    let ended = kept.load.coordinator.end().await.expect(74);
    let ended = ended.says("nothing more is acknowledged, and the run ends").says("No space left on device");
    assert_eq!(Report::of(&ended).text("/ending"), "cannot_write");
    let length = std::fs::metadata(kept.journal()).unwrap().len();
    assert!(
        length > 0 && length % PAGE_BYTES == 0,
        "{length} bytes: it was not written as far as there was room"
    );
    let again = kept.report(&[]).await.says(" bytes that cannot be read, from byte ");
    let (completed, _, open) = Report::of(&again).books();
    assert!(completed > 0 && open > 0, "{completed} rows are kept, {open} are not");

    kept.go_on();
    kept.load.coordinator.end().await.expect(74).says("No space left on device");
    assert!(Report::of(&kept.report(&[]).await).books().0 >= completed, "what was kept is gone");

    disk.grow_to_kib(1024);
    kept.go_on();
    let report = kept.end_whole().await;
    assert_eq!(kept.load.reruns().await, 0, "a row was acknowledged and not kept: {}", report.events());
}

#[tokio::test]
async fn a_run_that_goes_on_where_there_is_still_no_room_loses_nothing() {
    let Some(mut kept) = Kept::start("full_again", TWO, &[]).await else { return };
    kept.load.database.wait_for(1, "SELECT (count(*) > 100)::int::bigint FROM ran").await;
    kept.crash().await;
    kept.until_parked(1).await;
    let settled = Report::of(&kept.report(&[]).await).books().0;
    let command = limited(&kept.resume(&[]), 1);
    kept.load.coordinator = crate::support::processes::Process::start(command);
    kept.load.coordinator.end().await.expect(74);
    assert_eq!(Report::of(&kept.report(&[]).await).books().0, settled);
    kept.go_on();
    kept.end_whole().await;
}
