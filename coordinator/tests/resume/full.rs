//! A journal that cannot grow any more: nothing is acknowledged that is not written down, and with room again the run goes on.

use crate::kept::Kept;
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
