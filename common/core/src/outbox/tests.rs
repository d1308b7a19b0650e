use super::*;
use crate::ids::{Epoch, RowId, SlotId};
use crate::sample::{Answer, Execution, Outcome};

fn measurement(row: u32, service_time: Duration) -> (u16, Sample) {
    let service_time_ns = u64::try_from(service_time.as_nanos()).unwrap();
    let (execution, outcome) = (Execution::default(), Outcome::Completed(Answer::default()));
    let row = RowId::new(row);
    (0, Sample { service_time_ns, execution, outcome, ..Sample::zero(row) })
}

fn run_rows(outbox: &mut Outbox, rows: std::ops::Range<u32>, service_time: Duration) {
    for row in rows {
        let (worker, measurement) = measurement(row, service_time);
        outbox.add(worker, measurement);
    }
}

#[test]
fn the_window_grows_to_half_a_second_of_work_and_no_further() {
    let mut outbox = Outbox::new(1, Vec::new());
    for round in 0..20 {
        run_rows(&mut outbox, round * 10..round * 10 + 10, Duration::from_millis(1));
        let number = outbox.take_batch().unwrap().number;
        outbox.acknowledge(number);
    }
    assert_eq!(outbox.windows[0].rows, 500);
}

#[test]
fn slow_queries_get_the_smallest_window() {
    let mut outbox = Outbox::new(1, Vec::new());
    run_rows(&mut outbox, 0..1, Duration::from_secs(10));
    let number = outbox.take_batch().unwrap().number;
    let credits = outbox.acknowledge(number);
    assert_eq!(outbox.windows[0].rows, limits::CREDIT_ROWS_MIN);
    assert_eq!(credits, [], "16 rows were granted before; a grant is never revoked");
}

#[test]
fn a_repeated_acknowledgement_has_no_effect() {
    let mut outbox = Outbox::new(1, Vec::new());
    run_rows(&mut outbox, 0..10, Duration::from_millis(1));
    let number = outbox.take_batch().unwrap().number;
    assert!(!outbox.acknowledge(number).is_empty());
    assert_eq!(outbox.acknowledge(number), []);
    assert!(!outbox.has_unacknowledged());
}

#[test]
fn results_are_kept_until_they_are_acknowledged() {
    let mut outbox = Outbox::new(1, Vec::new());
    run_rows(&mut outbox, 0..1, Duration::from_millis(1));
    outbox.take_batch().unwrap();
    run_rows(&mut outbox, 1..2, Duration::from_millis(1));
    outbox.take_batch().unwrap();
    assert_eq!(outbox.unacked(), health::Unacked { most: 2, bound: limits::CREDIT_ROWS_FIRST.into() });
    outbox.acknowledge(1);
    assert_eq!(outbox.unacked().most, 1);
    assert_eq!(outbox.unacknowledged.len(), 1);
    assert_eq!(outbox.unacknowledged[0].number, 2);
}

#[test]
fn results_are_sent_when_half_of_the_window_is_unsent() {
    let mut outbox = Outbox::new(1, Vec::new());
    run_rows(&mut outbox, 0..8, Duration::from_millis(1));
    outbox.take_batch().unwrap();
    assert!(outbox.until_due().eq([8]), "of a first window of 16");
    run_rows(&mut outbox, 8..13, Duration::from_millis(1));
    assert!(outbox.until_due().eq([3]));
    run_rows(&mut outbox, 13..28, Duration::from_millis(1));
    assert!(outbox.until_due().eq([0]));
    outbox.take_batch().unwrap();
    assert!(outbox.until_due().eq([8]), "sent results do not count");
}

#[test]
fn the_first_two_results_are_sent_at_once_and_let_the_window_grow() {
    let mut outbox = Outbox::new(1, Vec::new());
    assert!(outbox.until_due().eq([2]));
    run_rows(&mut outbox, 0..2, Duration::from_millis(1));
    assert!(outbox.until_due().eq([0]));
    assert_eq!(
        outbox.acknowledge(0),
        [Credit { worker: 0, rows: 48 }],
        "each adds the size of the first window"
    );
    assert_eq!(outbox.acknowledge(0), [], "only once");
    outbox.take_batch().unwrap();
    assert!(outbox.until_due().eq([6]));
}

#[test]
fn a_message_has_at_most_a_batch_of_rows() {
    let mut outbox = Outbox::new(1, Vec::new());
    let rows = u32::try_from(limits::BATCH_ROWS_MAX).unwrap() + 1;
    run_rows(&mut outbox, 0..rows, Duration::from_millis(1));
    let unacked = outbox.into_unacked(Grant { slot: SlotId::new(0), epoch: Epoch::new(1) });
    let sizes: Vec<usize> = unacked.iter().map(|unacked| unacked.measurements.len()).collect();
    assert_eq!(sizes, [limits::BATCH_ROWS_MAX, 1]);
}

#[test]
fn a_later_session_sends_unacknowledged_results_again() {
    let grant = |epoch| Grant { slot: SlotId::new(0), epoch: Epoch::new(epoch) };
    let rows_of =
        |unacked: &Unacked| unacked.measurements.iter().map(|(_, m)| m.row.get()).collect::<Vec<_>>();
    let mut first = Outbox::new(1, Vec::new());
    for row in 0..3 {
        run_rows(&mut first, row..row + 1, Duration::from_millis(1));
        first.take_batch().unwrap();
    }
    run_rows(&mut first, 3..4, Duration::from_millis(1));
    first.acknowledge(1);
    let unacked = first.into_unacked(grant(1));
    assert_eq!(unacked.iter().map(rows_of).collect::<Vec<_>>(), [[1], [2], [3]]);

    let mut second = Outbox::new(1, unacked);
    assert_eq!(second.first_credits(), [], "no new rows before the inherited results are acknowledged");
    let sent: Vec<Results> = std::iter::from_fn(|| second.take_batch()).collect();
    assert!(sent.iter().all(|results| results.ran_under == Some(grant(1))));
    assert_eq!(sent.iter().map(|results| results.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(second.acknowledge(2), []);
    let credit = Credit { worker: 0, rows: limits::CREDIT_ROWS_FIRST.into() };
    assert_eq!(second.acknowledge(3), [credit], "all are acknowledged, so the session gets its first credit");

    run_rows(&mut second, 4..5, Duration::from_millis(1));
    let unacked = second.into_unacked(grant(2));
    assert_eq!((unacked.len(), unacked[0].ran_under, rows_of(&unacked[0])), (1, grant(2), vec![4]));
}

#[test]
fn a_message_contains_results_of_one_round() {
    let mut outbox = Outbox::new(1, Vec::new());
    for (row, round) in [(0, 1), (1, 1), (0, 2)] {
        let (worker, measured) = measurement(row, Duration::from_millis(1));
        let execution = Execution { round, ..Execution::default() };
        outbox.add(worker, Sample { execution, ..measured });
    }
    let sizes: Vec<usize> =
        std::iter::from_fn(|| outbox.take_batch()).map(|results| results.measurements.len()).collect();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn rows_that_were_not_run_return_their_credit() {
    let mut outbox = Outbox::new(1, Vec::new());
    let credit = outbox.note_left_out(0, 16);
    assert_eq!(credit, Some(Credit { worker: 0, rows: 32 }), "16 more, with the first window");
}
