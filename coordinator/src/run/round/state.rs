//! One round: its rows, its workers and its time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use muster_core::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_core::limits;
use muster_core::placement::Candidates;
use muster_core::slots::Grant;
use tokio::sync::watch;

use super::clock::RoundClock;
use crate::run::keeper::{KeeperHandle, Progress};
use crate::run::link::Share;
use crate::run::rows::Rows;
use crate::workload::Workload;

#[derive(Clone)]
pub(crate) struct Round {
    pub(crate) clock: RoundClock,
    /// The step of a search that the round runs, for the display.
    pub(crate) step: Option<String>,
    /// True if rows have due times.
    pub(super) is_open_loop: bool,
    pub(super) workload: Arc<Workload>,
    pub(super) rows: Arc<Rows>,
    pub(super) keeper: KeeperHandle,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) workers: Vec<WorkerId>,
    /// By slot: the positions of its workers in `workers`.
    pub(super) workers_of_slot: Vec<Range<usize>>,
}

impl Round {
    pub(crate) fn is_counted(&self) -> bool {
        self.clock.spec().is_counted
    }

    pub(crate) fn rows(&self) -> &Arc<Rows> {
        &self.rows
    }

    pub(crate) fn keeper(&self) -> &KeeperHandle {
        &self.keeper
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// The number of queries of the round; 0 if the clock ends it.
    pub(crate) fn rows_expected(&self) -> u64 {
        match self.clock.spec().lasts {
            Some(_) => 0,
            None => self.rows.passes().rows().into(),
        }
    }

    /// Returns true if every row is settled or given up, and the keeper has counted all settled rows.
    pub(crate) fn is_finished(&self, so_far: &Progress) -> bool {
        self.rows.finished().is_some_and(|settled| settled == so_far.completed + so_far.failed)
    }

    /// The part of the round that a session runs.
    pub(crate) fn share(&self, Grant { slot, epoch }: Grant, former: Arc<[Grant]>) -> Share {
        Share {
            epoch,
            former,
            workers: self.workers_of(slot),
            workload: Arc::clone(&self.workload),
            rows: Arc::clone(&self.rows),
            keeper: self.keeper.clone(),
            is_open_loop: self.is_open_loop,
            in_flight_max: (limits::IN_FLIGHT_ROWS_MAX / self.workers.len().max(1))
                .max(limits::IN_FLIGHT_ROWS_OF_WORKER),
        }
    }

    /// Lets a session run its slot's rows from `offset_ns` after the start of the round.
    pub(crate) fn begin(&self, Grant { slot, epoch }: Grant, offset_ns: u64) {
        self.rows.begin(self.workers_of(slot), epoch, offset_ns);
    }

    /// Ends a session of which it is not known which of its rows were run. Returns the number of these rows.
    pub(crate) fn lost(&self, Grant { slot, epoch }: Grant) -> usize {
        self.rows.lost(self.workers_of(slot), epoch).len()
    }

    /// Ends a session that has reported everything that it ran. Returns the number of rows that it handed back.
    pub(crate) fn handed_back(&self, Grant { slot, epoch }: Grant) -> usize {
        self.rows.handed_back(self.workers_of(slot), epoch)
    }

    /// Records that no agent process died with these lost sessions.
    pub(crate) fn discount(&self, sessions: impl IntoIterator<Item = Epoch>) {
        self.rows.discount(sessions);
    }

    /// Moves a slot's hosts to the workers at these positions. Returns the number of rows that move with them.
    pub(crate) fn move_hosts(&self, slot: SlotId, to: &[usize]) -> usize {
        let ids: Vec<WorkerId> = to.iter().map(|position| self.workers[*position]).collect();
        let candidates = Candidates::new(&ids);
        let workload = &self.workload;
        let mut owners = HashMap::new();
        let owner = |record: RowId| {
            let host = workload.host_of(record).expect("records are of the workload");
            let best = || to[candidates.owner(workload.hosts().name(host)) as usize];
            *owners.entry(host).or_insert_with(best)
        };
        self.rows.reassign(self.workers_of(slot), owner)
    }

    /// The positions of a slot's workers in the placement's list.
    pub(crate) fn workers_of(&self, slot: SlotId) -> Range<usize> {
        self.workers_of_slot.get(slot.index()).cloned().unwrap_or(0..0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use muster_core::dispatch::Dispatch;
    use muster_core::ledger::Ledger;
    use muster_core::passes::Passes;
    use muster_core::placement::{self, Method};
    use muster_core::queue::Queue;

    use super::*;
    use crate::run::keeper::Keeper;
    use crate::run::round::{RoundSpec, WARMUP};
    use crate::run::scope::{Retried, Scope};
    use crate::run::tally::Tally;
    use crate::workload::{self, Checks, OnBadRow, Options};

    const ROWS: usize = 40;

    fn workload() -> Workload {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hostname").unwrap();
        (0..ROWS).for_each(|row| writeln!(file, "host-{}", row % 10).unwrap());
        let options = Options {
            host_column: "hostname".to_owned(),
            parameters: vec!["hostname".to_owned()],
            mix: None,
            checks: Checks::None,
            on_bad_row: OnBadRow::Fail,
            limit: None,
        };
        workload::open(file.path(), &options, &mut |_| ()).unwrap()
    }

    /// A round of 40 rows of ten hosts on two slots with one worker each.
    fn round() -> (Keeper, Round) {
        let workload = Arc::new(workload());
        let workers: Vec<WorkerId> = (0..2).map(|slot| WorkerId::new(SlotId::new(slot), 0)).collect();
        let hosts = workload.hosts().iter().map(|(_, name, rows)| (name, rows.into()));
        let assignment = placement::place(Method::Rendezvous, hosts, &workers);
        let passes = Passes::once(workload.rows());
        let records = workload.by_worker(assignment.workers(), workers.len());
        let queues = records.into_iter().map(|records| Queue::new(records, passes, None)).collect();
        let dispatch = Dispatch::new(Ledger::new(passes.rows_at_start()), passes, queues);
        let rows = Arc::new(Rows::new(Arc::clone(&workload), passes, WARMUP, dispatch));
        let scope =
            Scope { passes, retried: Retried::LeftOut, has_due_times: false, slowest: 0, has_metrics: false };
        let tally = Tally::new(&[0, 0], workload.hosts().len(), scope);
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, None);
        let spec = RoundSpec { number: WARMUP, lasts: None, is_counted: false };
        let round = Round {
            clock: RoundClock::new(spec, Duration::ZERO),
            step: None,
            is_open_loop: false,
            workload,
            rows,
            keeper: handle,
            progress: keeper.progress(),
            workers,
            workers_of_slot: vec![0..1, 1..2],
        };
        (keeper, round)
    }

    fn grant(slot: u16, epoch: u64) -> Grant {
        Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) }
    }

    #[tokio::test]
    async fn rows_of_a_lost_session_wait_and_move_with_the_hosts_of_its_slot() {
        let (_keeper, round) = round();
        assert_eq!(round.rows_expected(), ROWS as u64);
        round.begin(grant(0, 1), 0);
        let sent = round.rows().take(0, Epoch::new(1), 3).len();
        assert_eq!(round.lost(grant(0, 1)), sent, "they may have run");
        assert!(round.rows().take(0, Epoch::new(1), 3).is_empty());
        let moved = round.move_hosts(SlotId::new(0), &[1]);
        round.begin(grant(1, 2), 0);
        assert!(moved > 0 && moved < ROWS);
        assert_eq!(round.rows().take(1, Epoch::new(2), ROWS).len(), ROWS, "one worker runs all of them");
        assert!(!round.is_finished(&Progress::default()));
    }

    #[tokio::test]
    async fn a_session_that_has_reported_hands_back_what_it_did_not_run() {
        let (_keeper, round) = round();
        round.begin(grant(1, 1), 0);
        let sent = round.rows().take(1, Epoch::new(1), 2).len();
        assert_eq!(round.handed_back(grant(1, 1)), sent);
        assert!(round.rows().suspects().is_empty());
        let share = round.share(grant(1, 2), Arc::new([]));
        assert_eq!((share.workers, share.epoch), (1..2, Epoch::new(2)));
    }
}
