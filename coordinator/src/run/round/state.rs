//! One round: its rows, its workers and its time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use muster_common::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_common::limits;
use muster_common::placement::Candidates;
use muster_common::slots::Grant;
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
