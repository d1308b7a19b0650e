//! The sessions of a run: turns what arrives from agents into calls of the membership, whose decisions the executor carries out.

use std::sync::Arc;
use std::time::Instant;

use muster_core::health::HealthSample;
use muster_core::ids::Epoch;
use muster_core::limits;
use muster_core::server_identity::Reconnects;
use muster_core::session_token::GrantedSession;
use muster_proto::control::{BackendsEnded, FromCoordinator, Hello, Ran, Ready, WorkerReport};
use muster_report::result::Ending;
use tracing::warn;

use super::connections::grant_of;
use super::executor::Executor;
use super::log::RunLog;
use super::messages::ListenAddress;
use super::outage::Outage;
use crate::clock;
use crate::run::link::{Admission, Joining, WorkPorts};
use crate::run::live;
use crate::run::membership::{
    Applicant, Effect, Loss, MemberId, Members, Membership, Phase, Policy, Refusal,
};
use crate::run::metrics::{Stage, Status};
use crate::run::plan::RunPlan;
use crate::run::record::{Fact, Record};
use crate::run::round::{COUNTED, Round};
use crate::run::servers::Broken;

pub(super) struct Sessions<'a> {
    plan: Arc<RunPlan>,
    membership: Membership,
    executor: Executor<'a>,
    outage: Outage,
}

impl<'a> Sessions<'a> {
    pub(super) fn new(plan: Arc<RunPlan>, listen_address: ListenAddress, log: RunLog<'a>) -> Self {
        let membership = membership(&plan, Epoch::new(1), Vec::new());
        let executor = Executor::new(Arc::clone(&plan), listen_address, log);
        Self { plan, membership, executor, outage: Outage::default() }
    }

    /// Continues from the record of an earlier coordinator that ran a part of this run.
    pub(super) fn resume(&mut self, record: Record) {
        self.membership = membership(&self.plan, record.next_epoch(), record.workers_of_slot.clone());
        self.log().resume(record);
    }

    pub(super) fn log(&mut self) -> &mut RunLog<'a> {
        &mut self.executor.log
    }

    pub(super) fn record(&self) -> &Record {
        self.executor.log.record()
    }

    pub(super) fn into_record(self) -> Record {
        self.executor.log.into_record()
    }

    pub(super) fn phase(&self) -> Phase {
        self.membership.phase()
    }

    pub(super) fn members(&self) -> &Members {
        self.membership.members()
    }

    /// Returns true if a round would begin with every agent.
    pub(super) fn are_settled(&self) -> bool {
        self.membership.is_settled()
    }

    pub(super) fn listen_address(&self) -> &ListenAddress {
        self.executor.listen_address()
    }

    pub(super) fn round(&self) -> Option<&Round> {
        self.executor.round.as_ref()
    }

    pub(super) fn set_round(&mut self, round: Option<Round>) {
        self.executor.round = round;
    }

    pub(super) fn send(&self, id: MemberId, message: FromCoordinator) {
        self.executor.connections.send(id, message);
    }

    /// Connected agents that can read server statistics, by slot.
    pub(super) fn able_to_report_stats(&self) -> Vec<MemberId> {
        let connection = |id| self.executor.connections.get(id);
        let live = self.members().live().map(|(member, _)| member.id);
        live.filter(|id| connection(*id).is_some_and(|it| it.hello.can_report_stats)).collect()
    }

    /// The time until which connected agents ran rows under an earlier coordinator. Their last results are not in the journal: this
    /// coordinator receives them later, and its own rows must not begin before those ended.
    pub(super) fn former_sessions_ran_for_ns(&self) -> u64 {
        let live = self.members().live().map(|(member, _)| member.id);
        let all = live.chain(self.members().standbys().map(|member| member.id));
        let ran = all.filter_map(|id| self.executor.connections.get(id)?.hello.ran.as_ref());
        let until_ns = |ran: &Ran| {
            let former = (ran.round == COUNTED).then(|| self.record().session(ran.session.id.epoch))??;
            let ran_for_ns = u64::try_from(ran.ran_for.as_nanos()).unwrap_or(u64::MAX);
            Some(former.offset_ns?.saturating_add(ran_for_ns))
        };
        ran.filter_map(until_ns).max().unwrap_or(0)
    }

    // -- phases --------------------------------------------------------------------------------------------------------

    /// In a resumed run: ends the backends of all earlier sessions.
    pub(super) fn clear(&mut self) {
        let effects = self.membership.clear(clock::now());
        self.execute(effects);
    }

    /// The time at which the rows of a resumed run may begin, as far as is known. `None` if an agent was lost.
    pub(super) fn clear_until(&self) -> Option<Instant> {
        self.membership.clear_until()
    }

    /// Starts the run with the agents that have joined.
    pub(super) fn start(&mut self) {
        let workers = self.membership.start();
        self.log().note(Fact::Placed { workers });
    }

    pub(super) fn begin_round(&mut self, round: Round) {
        let step = round.step.clone().or_else(|| (!round.is_counted()).then(|| "warm-up".to_owned()));
        let lasts = round.clock.spec().lasts;
        let rows = if lasts.is_some() { 0 } else { round.rows_expected() };
        self.plan.live.begin(round.keeper(), live::Round { step, rows, lasts });
        self.executor.begin_round(round, &mut self.membership);
        self.publish_status();
    }

    pub(super) fn arm(&mut self) {
        self.executor.arm(&self.membership);
        self.publish_status();
    }

    /// Handles the time that has passed while rows run. Returns `Some` if the run cannot continue.
    pub(super) fn tick(&mut self) -> Option<Ending> {
        let now = clock::now();
        let outage = self.outage.close_if_quiet(now);
        self.report_all(outage);
        let effects = self.membership.tick(now);
        self.execute(effects)
    }

    /// Asks every agent to finish its queries in flight and to report.
    pub(super) fn drain(&mut self) {
        self.membership.drain();
        self.publish_status();
        self.send_to_all(&FromCoordinator::Drain);
    }

    pub(super) fn send_to_all(&self, message: &FromCoordinator) {
        self.members().live().for_each(|(member, _)| self.send(member.id, message.clone()));
    }

    pub(super) fn dismiss(&mut self, reason: &str) {
        self.membership.dismiss();
        let live = self.members().live().map(|(member, _)| member.id);
        for id in live.chain(self.members().standbys().map(|member| member.id)) {
            self.send(id, FromCoordinator::Bye { reason: reason.to_owned() });
        }
    }

    pub(super) fn end_all(&self) {
        self.executor.connections.end_all();
    }

    // -- what arrives from agents --------------------------------------------------------------------------------------

    pub(super) fn join(&mut self, mut joining: Joining) -> Result<Admission, Refusal> {
        joining.hello = self.without_unproven(joining.hello);
        let hello = &joining.hello;
        let applicant = Applicant {
            name: format!("{}/{}", hello.machine, hello.process_id),
            workers: hello.workers,
            slot: hello.slot,
            instance: hello.instance,
            ended: hello.ended.as_ref().map(grant_of),
        };
        let (admitted, effects) = self.membership.join(applicant, clock::now());
        let ended = admitted.as_ref().ok().map(|member| self.executor.connections.add(*member, joining));
        self.execute(effects);
        let clock_zero = self.executor.clock_zero();
        admitted.map(|member| Admission { member, ended: ended.unwrap_or_default(), clock_zero })
    }

    /// Removes the sessions that the agent cannot prove to have held. Otherwise another process could evict an agent or report results for
    /// it.
    fn without_unproven(&self, mut hello: Hello) -> Hello {
        let all = hello.former.iter().chain(&hello.ended).chain(hello.ran.as_ref().map(|ran| &ran.session));
        let own = |session: &&GrantedSession| session.id.run == self.plan.spec.run_id;
        let unproven = all.filter(own).find(|session| !self.plan.has_granted(session));
        if let Some(GrantedSession { id, .. }) = unproven {
            let (machine, process) = (&hello.machine, hello.process_id);
            warn!(
                "{machine}/{process} names the session of {} with epoch {}, but does not have its token",
                id.slot, id.epoch
            );
        }
        hello.ended = hello.ended.filter(|session| self.plan.has_granted(session));
        hello.ran = hello.ran.filter(|ran| self.plan.has_granted(&ran.session));
        hello.former.retain(|session| self.plan.has_granted(session));
        hello
    }

    /// Gives a Work stream its ports. An agent that joins during a run also gets a share of the round, because it may have results of an
    /// earlier session, which count at once. It receives rows only when it begins.
    pub(super) fn open_work(&mut self, session: &GrantedSession) -> Option<WorkPorts> {
        let grant = self.plan.has_granted(session).then(|| grant_of(session))?;
        let holder = self.members().holder(grant.slot).filter(|member| member.grant == Some(grant))?.id;
        let ports = self.executor.connections.open_work(holder)?;
        if !self.executor.connections.get(holder).is_some_and(|connection| connection.has_share()) {
            self.executor.share(holder, grant);
        }
        Some(ports)
    }

    pub(super) fn prefetched(&mut self, id: MemberId) {
        if let Some(round) = &mut self.executor.round {
            round.clock.prefetched(id);
        }
    }

    pub(super) fn round_over(&mut self, id: MemberId, number: u32) {
        if let Some(round) = &mut self.executor.round {
            round.clock.over(id, number);
        }
    }

    pub(super) fn ready(&mut self, id: MemberId, ready: Ready) {
        self.executor.prepared(id, ready, &self.membership);
        let effects = self.membership.ready(id, clock::now());
        self.execute(effects);
    }

    /// Handles every kind of loss.
    pub(super) fn lose(&mut self, id: MemberId, loss: Loss) {
        let effects = self.membership.lost(id, loss, clock::now());
        self.execute(effects);
    }

    pub(super) fn backends_ended(&mut self, id: MemberId, BackendsEnded { slot, outcome }: BackendsEnded) {
        let effects = self.membership.backends_ended(id, slot, outcome, clock::now());
        self.execute(effects);
    }

    pub(super) fn started(&mut self, id: MemberId, at: Option<std::time::Duration>) {
        let at = at.and_then(|at| self.executor.clock_zero().checked_add(at));
        self.membership.started(id, at);
    }

    /// Records that a session has reported everything that it ran.
    pub(super) fn reported(&mut self, id: MemberId, reports: &[WorkerReport]) {
        let Some(grant) = self.membership.reported(id) else { return };
        self.executor.close_health(grant.epoch);
        let outages = || reports.iter().filter_map(|report| report.disconnected);
        let outage_max = outages().max().unwrap_or_default();
        let disconnected = outages().count() as u64;
        let disconnected_max_ns = u64::try_from(outage_max.as_nanos()).unwrap_or(u64::MAX);
        let epoch = grant.epoch.get();
        self.log().note(Fact::Reported { epoch, disconnected, disconnected_max_ns });
        let broken = Broken { disconnected, disconnected_max_ns, ..Broken::default() };
        if let Some(what) = broken.still_broken() {
            self.log().report(format!("{}: {what}", grant.slot));
        }
    }

    pub(super) fn health(&mut self, id: MemberId, sample: &HealthSample) {
        // The health of a warm-up is not part of the verdict.
        if self.round().is_some_and(|round| !round.is_counted()) {
            return;
        }
        let Some(grant) = self.members().present(id).and_then(|member| member.grant) else { return };
        if let Some(totals) = self.executor.health.add(grant.epoch, sample) {
            self.log().note(Fact::Health { epoch: grant.epoch.get(), sum: Box::new(totals) });
        }
    }

    pub(super) fn reconnected(&mut self, id: MemberId, number: u32, reconnects: Reconnects) {
        let Some(grant) = self.members().present(id).and_then(|member| member.grant) else { return };
        self.outage.add(grant.slot, &reconnects, clock::now());
        // A report of the warm-up may arrive when the counted round has begun.
        let is_of_counted = |round: &Round| round.is_counted() && round.clock.spec().number == number;
        let (epoch, is_counted) = (grant.epoch.get(), self.round().is_none_or(is_of_counted));
        let fact = Fact::Reconnected { epoch, reconnects: Box::new(reconnects), is_counted };
        self.log().note_with_changes(fact);
    }

    // -- the end -------------------------------------------------------------------------------------------------------

    /// Records what is still open at the end of the run.
    pub(super) fn close(&mut self) {
        let outage = self.outage.close();
        self.report_all(outage);
        for (epoch, totals) in self.executor.health.close_all() {
            self.log().note(Fact::Health { epoch: epoch.get(), sum: Box::new(totals) });
        }
    }

    fn report_all(&mut self, what: Option<String>) {
        what.into_iter().for_each(|what| self.log().report(what));
    }

    fn execute(&mut self, effects: Vec<Effect>) -> Option<Ending> {
        self.executor.execute(effects, &mut self.membership)
    }

    // -- status --------------------------------------------------------------------------------------------------------

    /// Publishes the status of the run as metrics and for the live page.
    pub(super) fn publish_status(&self) {
        let status = || {
            let running = self.members().running();
            let is_running = running.filter(|(member, _)| member.started.is_some() && !member.has_reported);
            let passes = &self.plan.passes;
            Status {
                stage: Some(self.stage()),
                rows: if passes.is_endless() { 0 } else { passes.rows().into() },
                agents_wanted: self.plan.spec.agents.into(),
                agents_joined: self.members().slots().joined() as u64,
                agents_running: is_running.count() as u64,
                agents_lost: self.record().lost_while_running().count() as u64,
                started: self.round().and_then(|round| round.clock.started()),
            }
        };
        self.plan.metrics.set_status(status);
        self.plan.live.set_status(status);
    }

    fn stage(&self) -> Stage {
        let started = self.round().and_then(|round| round.clock.started());
        match (self.phase(), started) {
            (Phase::WaitingForAgents, _) if !self.members().slots().vacant().is_empty() => {
                Stage::WaitingForAgents
            }
            (Phase::WaitingForAgents, _) | (Phase::Running, None) => Stage::Preparing,
            (Phase::Running, Some(at)) if clock::now() < at => Stage::Armed,
            (Phase::Running, Some(_)) => Stage::Running,
            (Phase::Draining | Phase::Dismissed, _) => Stage::Draining,
        }
    }
}

fn membership(plan: &RunPlan, first_epoch: Epoch, workers_of_slot: Vec<u16>) -> Membership {
    let policy = Policy {
        slot_grace: plan.spec.slot_grace,
        on_agent_loss: plan.spec.on_agent_loss,
        queries_end_within: plan.spec.session.timeout.map(|limit| limit + limits::CANCEL_GRACE),
    };
    Membership::new(plan.spec.agents, first_epoch, workers_of_slot, policy)
}
