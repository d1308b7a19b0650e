//! Between the last agent's Ready and the first row: hosts are placed, books are opened or taken up, each agent gets its share.

use std::sync::Arc;
use std::time::Duration;

use muster_common::dispatch::Dispatch;
use muster_common::ids::SlotId;
use muster_common::ledger::Ledger;
use muster_common::placement::{self, Assignment};
use muster_common::slots::Grant;

use super::{Conductor, Field};
use crate::journal::Writer;
use crate::run::host_samples::HostSamples;
use crate::run::keeper::Keeper;
use crate::run::link::MemberId;
use crate::run::record::{Fact, Record};
use crate::run::replay::Replayed;
use crate::run::roster::Roster;
use crate::run::rows::Rows;
use crate::run::tally::Tally;

impl Conductor<'_> {
    /// An earlier coordinator ran a part of this run.
    pub(super) fn take_up(&mut self, record: Record) {
        let told_until = record.events.last().map_or(0.0, |event| event.at_ms);
        let before = Duration::try_from_secs_f64(told_until / 1e3).unwrap_or_default();
        self.listening_since = self.listening_since.checked_sub(before).unwrap_or(self.listening_since);
        let slots = Roster::new(self.plan.agents, record.next_epoch());
        (self.roster, self.record) = (slots, record);
        self.note(Fact::Resumed);
        self.tell("the run goes on where an earlier coordinator left it".to_owned());
    }

    /// The books and the rows of every worker.
    pub(super) fn lay_out(
        &mut self,
        assignment: &Assignment,
        journal: Option<Writer>,
        taken_up: Option<Replayed>,
    ) -> (Keeper, Arc<Field>) {
        let workload = Arc::clone(&self.plan.workload);
        let workers = self.record.workers();
        let rows_of_worker: Vec<u64> = assignment.table().workers.iter().map(|load| load.rows).collect();
        let (ledger, tally, losses) = match taken_up {
            Some(Replayed { ledger, mut tally, losses, .. }) => {
                tally.widen(workers.len());
                (ledger, tally, losses)
            }
            None => {
                let tally = Tally::new(&rows_of_worker, workload.hosts().len(), self.plan.retried);
                let host_samples = HostSamples::wanted(&self.plan.thresholds, workload.hosts());
                (Ledger::new(workload.rows()), tally.keeping(host_samples), Vec::new())
            }
        };
        let mut dispatch = Dispatch::new(ledger, workload.by_worker(assignment.workers(), workers.len()));
        for (epoch, rows) in losses {
            dispatch.remember_loss(rows, epoch);
        }
        let rows = Arc::new(Rows::new(Arc::clone(&workload), dispatch));
        for session in &self.record.sessions {
            if let Some(offset_ns) = session.offset_ns {
                let Grant { slot, epoch } = session.grant;
                rows.remember(self.record.workers_of(slot), epoch, offset_ns);
            }
        }
        let ran_before_ns = tally.ran_for_ns;
        let (keeper, handle) = Keeper::start(Arc::clone(&rows), tally, journal);
        let workers_of_slot =
            (0..self.plan.agents).map(|slot| self.record.workers_of(SlotId::new(slot))).collect();
        let field = Field { ran_before_ns, workload, rows, keeper: handle, workers, workers_of_slot };
        (keeper, Arc::new(field))
    }

    /// In mid-run and in one that goes on, a slot is taken by as many workers as it had; else by as many as came.
    pub(super) fn workers_of_slots(&self) -> Vec<u16> {
        self.roster.live().map(|member| member.hello.workers).collect()
    }

    pub(super) fn place(&self) -> Assignment {
        let hosts = self.plan.workload.hosts();
        placement::place(
            self.plan.placement,
            hosts.iter().map(|(_, name, rows)| (name, rows.into())),
            &self.record.workers(),
        )
    }

    /// Gives each agent its share; its Work stream begins to send.
    pub(super) fn hand_out(&mut self, field: Arc<Field>) {
        let grants: Vec<(MemberId, Grant)> =
            self.roster.live().filter_map(|member| Some((member.id, member.grant?))).collect();
        for (id, Grant { slot, epoch }) in grants {
            let workers = field.workers_of(slot);
            field.rows.begin(workers.clone(), epoch, field.ran_before_ns);
            self.note(Fact::Began { slot: slot.get(), epoch: epoch.get(), offset_ns: field.ran_before_ns });
            if let Some(member) = self.roster.present_mut(id) {
                member.has_begun = true;
                member.share.send_replace(Some(field.share(epoch, workers)));
            }
        }
        self.field = Some(field);
    }
}
