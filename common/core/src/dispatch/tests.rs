use super::*;

const A: Epoch = Epoch::new(1);
const B: Epoch = Epoch::new(2);
const C: Epoch = Epoch::new(3);

fn row(number: u32) -> RowId {
    RowId::new(number)
}

fn rows(numbers: impl IntoIterator<Item = u32>) -> Vec<RowId> {
    numbers.into_iter().map(RowId::new).collect()
}

fn queue(records: impl IntoIterator<Item = u32>, passes: Passes) -> Queue {
    Queue::new(rows(records), passes, None)
}

/// One worker with rows 0 to `count − 1`, whose session is A.
fn one_worker(count: u32) -> Dispatch {
    let passes = Passes::once(count);
    let mut dispatch = Dispatch::new(Ledger::new(count), passes, vec![queue(0..count, passes)]);
    dispatch.begin(0..1, A);
    dispatch
}

fn take(dispatch: &mut Dispatch, worker: usize, epoch: Epoch, count: usize) -> Vec<RowId> {
    dispatch.take(worker, epoch, count).into_iter().map(|task| task.row).collect()
}

#[test]
fn a_result_is_counted_once_and_only_from_the_session_that_has_the_row() {
    let mut dispatch = one_worker(3);
    assert_eq!(take(&mut dispatch, 0, A, 2), rows([0, 1]));
    assert_eq!(dispatch.settle(0, A, row(2), Settled::Completed), Receipt::NotGiven);
    assert_eq!(dispatch.settle(0, A, row(0), Settled::Completed), Receipt::Counted { attempt: 1 });
    assert_eq!(dispatch.settle(0, A, row(0), Settled::Failed), Receipt::Duplicate);
    assert_eq!(dispatch.settle(0, B, row(1), Settled::Completed), Receipt::Stale);
    assert_eq!(take(&mut dispatch, 0, B, 9), [], "another session does not run this worker");
    assert_eq!(dispatch.settle(7, A, row(1), Settled::Completed), Receipt::NotGiven);
}

#[test]
fn lost_rows_come_first_in_order_and_count_as_retried() {
    let mut dispatch = one_worker(5);
    dispatch.take(0, A, 3);
    dispatch.settle(0, A, row(0), Settled::Completed);
    assert_eq!(dispatch.lost(0..1, A), rows([1, 2]));
    assert_eq!(dispatch.lost(0..1, A), [], "a loss is handled once");
    assert_eq!(dispatch.settle(0, A, row(1), Settled::Completed), Receipt::Stale);
    dispatch.begin(0..1, B);
    assert_eq!(take(&mut dispatch, 0, B, 9), rows([1, 2, 3, 4]));
    assert_eq!(dispatch.settle(0, B, row(1), Settled::Completed), Receipt::Counted { attempt: 2 });
    assert_eq!(dispatch.settle(0, B, row(3), Settled::Completed), Receipt::Counted { attempt: 1 });
}

#[test]
fn a_delayed_result_is_the_first_attempt_and_its_row_is_not_run_again() {
    let mut dispatch = one_worker(4);
    dispatch.take(0, A, 3);
    dispatch.lost(0..1, A);
    dispatch.begin(0..1, B);
    assert_eq!(take(&mut dispatch, 0, B, 1), rows([0]));
    assert_eq!(dispatch.settle_stale(A, row(0), Settled::Completed), Receipt::Counted { attempt: 1 });
    assert_eq!(dispatch.settle_stale(A, row(1), Settled::Failed), Receipt::Counted { attempt: 1 });
    assert_eq!(dispatch.settle_stale(A, row(3), Settled::Completed), Receipt::NotGiven);
    assert_eq!(
        dispatch.settle(0, B, row(0), Settled::Completed),
        Receipt::Duplicate,
        "the second run is dropped"
    );
    assert_eq!(take(&mut dispatch, 0, B, 9), rows([2, 3]), "row 1 is settled");
}

#[test]
fn rows_handed_back_were_not_run() {
    let mut dispatch = one_worker(3);
    dispatch.take(0, A, 2);
    assert_eq!(dispatch.handed_back(0..1, A), 2);
    dispatch.begin(0..1, B);
    assert_eq!(take(&mut dispatch, 0, B, 9), rows([0, 1, 2]));
    assert_eq!(dispatch.settle(0, B, row(0), Settled::Completed), Receipt::Counted { attempt: 1 });
}

#[test]
fn a_row_settled_by_a_delayed_result_is_not_handed_back() {
    let mut dispatch = one_worker(2);
    dispatch.take(0, A, 2);
    dispatch.lost(0..1, A);
    dispatch.begin(0..1, B);
    dispatch.take(0, B, 2);
    dispatch.settle_stale(A, row(0), Settled::Completed);
    assert_eq!(dispatch.handed_back(0..1, B), 1);
}

/// Three sessions are lost with row 0. The first two are lost with its neighbours as well.
fn three_deaths() -> Dispatch {
    let mut dispatch = one_worker(3);
    for epoch in [A, B] {
        dispatch.begin(0..1, epoch);
        assert_eq!(take(&mut dispatch, 0, epoch, 9), rows([0, 1, 2]));
        dispatch.lost(0..1, epoch);
        assert_eq!(dispatch.suspects(), []);
    }
    dispatch.begin(0..1, C);
    assert_eq!(take(&mut dispatch, 0, C, 9), rows([0]), "alone");
    assert_eq!(take(&mut dispatch, 0, C, 9), [], "no row is sent after it");
    dispatch.lost(0..1, C);
    assert_eq!(dispatch.suspects(), rows([0]));
    dispatch
}

#[test]
fn a_suspect_is_held_back_and_runs_again_when_its_process_returns() {
    let next = Epoch::new(4);
    for is_quarantined in [false, true] {
        let mut dispatch = three_deaths();
        if is_quarantined {
            dispatch.quarantine(rows([0]));
        }
        dispatch.begin(0..1, next);
        assert_eq!(take(&mut dispatch, 0, next, 9), rows([1]), "row 0 is held back");
        assert_eq!(dispatch.settle(0, next, row(1), Settled::Completed), Receipt::Counted { attempt: 3 });
        dispatch.discount([B]);
        assert_eq!(dispatch.suspects(), []);
        assert_eq!(dispatch.quarantine(rows([0])), [], "two deaths are too few");
        assert_eq!(take(&mut dispatch, 0, next, 9), rows([0]), "before the others, and alone");
        assert_eq!(dispatch.settle(0, next, row(0), Settled::Completed), Receipt::Counted { attempt: 4 });
        assert_eq!(take(&mut dispatch, 0, next, 9), rows([2]));
        dispatch.settle(0, next, row(2), Settled::Completed);
        assert!(dispatch.is_finished() && dispatch.quarantined().is_empty());
    }
}

#[test]
fn lost_sessions_without_a_death_are_no_evidence_against_a_row() {
    let mut dispatch = one_worker(2);
    for epoch in (1..=9).map(Epoch::new) {
        dispatch.begin(0..1, epoch);
        assert_eq!(take(&mut dispatch, 0, epoch, 9), rows([0, 1]), "neither held back nor alone");
        // The return of a process may become known before the loss or after it.
        if epoch.get() % 2 == 0 {
            dispatch.discount([epoch]);
        }
        dispatch.lost(0..1, epoch);
        dispatch.discount([epoch]);
    }
    assert_eq!(dispatch.suspects(), []);
}

#[test]
fn rows_held_back_move_with_the_other_rows_of_a_retired_worker() {
    let mut dispatch = three_deaths();
    dispatch.begin(0..1, Epoch::new(4));
    assert_eq!(take(&mut dispatch, 0, Epoch::new(4), 1), rows([1]));
    dispatch.lost(0..1, Epoch::new(4));
    let moved = dispatch.retire(0, |_| 0).remove(&0).unwrap();
    assert_eq!(moved.len(), 3);
    dispatch.give(0, moved);
    dispatch.begin(0..1, Epoch::new(5));
    dispatch.discount([A, B]);
    assert_eq!(take(&mut dispatch, 0, Epoch::new(5), 9), rows([0, 1, 2]));
}

#[test]
fn a_row_that_kills_agents_is_quarantined_and_its_neighbours_run() {
    let mut dispatch = three_deaths();
    assert_eq!(dispatch.quarantine(rows([0, 1, 2])), rows([0]));
    assert_eq!((dispatch.suspects(), dispatch.quarantine(rows([0]))), (Vec::new(), Vec::new()), "once");
    let next = Epoch::new(4);
    dispatch.begin(0..1, next);
    for number in [1, 2] {
        assert_eq!(take(&mut dispatch, 0, next, 9), rows([number]));
        assert!(!dispatch.is_finished());
        dispatch.settle(0, next, row(number), Settled::Completed);
    }
    assert!(dispatch.is_finished());
    assert_eq!(dispatch.ledger().unaccounted(), 1);
    assert_eq!(dispatch.settle_stale(B, row(0), Settled::Completed), Receipt::Counted { attempt: 2 });
    assert!(dispatch.is_finished() && dispatch.quarantined().is_empty());
}

#[test]
fn the_rows_of_a_retired_worker_go_to_another_worker() {
    let once = Passes::once(3);
    let waiting = vec![queue([0, 2], once), queue([1], once)];
    let mut dispatch = Dispatch::new(Ledger::new(3), once, waiting);
    dispatch.begin(0..1, A);
    dispatch.begin(1..2, B);
    dispatch.take(0, A, 1);
    dispatch.lost(0..1, A);
    for (worker, moved) in dispatch.retire(0, |_| 1) {
        dispatch.give(worker, moved);
    }
    assert!(dispatch.is_drained(0));
    assert_eq!(take(&mut dispatch, 1, B, 9), rows([0, 1, 2]), "rows that were in flight come first");
}

#[test]
fn rows_sent_by_a_killed_coordinator_may_have_run() {
    let mut ledger = Ledger::new(3);
    ledger.settle(row(0), Settled::Completed);
    let once = Passes::once(3);
    let mut dispatch = Dispatch::new(ledger, once, vec![queue([0, 1, 2], once)]);
    dispatch.remember_loss(rows([0, 1]), A);
    dispatch.begin(0..1, B);
    assert_eq!(take(&mut dispatch, 0, B, 9), rows([1, 2]));
    assert_eq!(dispatch.settle(0, B, row(1), Settled::Completed), Receipt::Counted { attempt: 2 });
    assert_eq!(dispatch.settle(0, B, row(2), Settled::Completed), Receipt::Counted { attempt: 1 });
}

#[test]
fn the_ledger_grows_with_the_passes_and_a_run_ends_when_its_time_is_over() {
    let passes = Passes::endless(2, 1, 0);
    let mut dispatch = Dispatch::new(Ledger::new(2), passes, vec![queue([0, 1], passes)]);
    dispatch.begin(0..1, A);
    assert_eq!(take(&mut dispatch, 0, A, 5), rows([0, 1, 2, 3, 4]));
    for number in [0, 1, 2] {
        dispatch.settle(0, A, row(number), Settled::Completed);
    }
    assert!(!dispatch.is_finished());
    dispatch.close();
    assert!(dispatch.is_finished() && take(&mut dispatch, 0, A, 5).is_empty());
    let ledger = dispatch.ledger();
    assert_eq!((ledger.expected(), ledger.unaccounted()), (3, 0), "3, 4 and 5 were not run");
}

#[test]
fn rows_of_a_lost_session_are_unaccounted_when_the_time_is_over() {
    let passes = Passes::endless(2, 1, 0);
    let mut dispatch = Dispatch::new(Ledger::new(2), passes, vec![queue([0, 1], passes)]);
    dispatch.begin(0..1, A);
    dispatch.take(0, A, 1);
    dispatch.lost(0..1, A);
    dispatch.close();
    assert_eq!(dispatch.ledger().unaccounted_ranges(), [[row(0), row(0)]]);
}

#[test]
fn a_run_of_several_passes_ends_after_the_last() {
    let passes = Passes::try_new(1, 1, 2, 0).unwrap();
    let mut dispatch = Dispatch::new(Ledger::new(1), passes, vec![queue([0], passes)]);
    dispatch.begin(0..1, A);
    for number in [0, 1] {
        assert!(!dispatch.is_finished());
        assert_eq!(take(&mut dispatch, 0, A, 1), rows([number]));
        dispatch.settle(0, A, row(number), Settled::Completed);
    }
    assert!(dispatch.is_finished());
}

#[test]
fn a_worker_is_sent_rows_up_to_its_limit_in_batches_of_at_least_a_quarter() {
    let mut dispatch = one_worker(20);
    assert_eq!(dispatch.send_capacity(0, 8), 8);
    take(&mut dispatch, 0, A, 8);
    assert_eq!(dispatch.send_capacity(0, 8), 0);
    dispatch.settle(0, A, row(0), Settled::Completed);
    assert_eq!(dispatch.send_capacity(0, 8), 0, "one row does not justify a message");
    dispatch.settle(0, A, row(1), Settled::Failed);
    assert_eq!(dispatch.send_capacity(0, 8), 2);
    assert_eq!(dispatch.send_capacity(0, 4), 0, "more than the limit is in flight");
    dispatch.lost(0..1, A);
    assert_eq!(dispatch.send_capacity(0, 8), 8);
}
