//! Executes what the membership decides: sends messages to agents, changes the rows of the round, and notes what happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::ids::{Epoch, RowId, SlotId};
use muster_core::limits;
use muster_core::prepare::Database;
use muster_core::slots::Grant;
use muster_proto::control::{FromCoordinator, Ready, Standby, Welcome};
use muster_report::result::Ending;
use tracing::debug;

use super::connections::{Connection, Connections};
use super::log::RunLog;
use super::messages::{ListenAddress, joined, list, rows};
use crate::clock;
use crate::run::health::SessionHealth;
use crate::run::membership::{Effect, EndReason, Loss, MemberId, Membership, Phase};
use crate::run::plan::RunPlan;
use crate::run::record::{Fact, Found};
use crate::run::round::Round;

pub(super) struct Executor<'a> {
    plan: Arc<RunPlan>,
    listen_address: ListenAddress,
    /// The zero of the run clock that the coordinator sends to agents.
    clock_zero: Instant,
    pub(super) log: RunLog<'a>,
    pub(super) connections: Connections,
    /// `None` while the run waits for agents.
    pub(super) round: Option<Round>,
    /// Health totals of the sessions that run.
    pub(super) health: SessionHealth,
}

impl<'a> Executor<'a> {
    pub(super) fn new(plan: Arc<RunPlan>, listen_address: ListenAddress, log: RunLog<'a>) -> Self {
        Self {
            plan,
            listen_address,
            clock_zero: clock::now(),
            log,
            connections: Connections::default(),
            round: None,
            health: SessionHealth::default(),
        }
    }

    pub(super) fn clock_zero(&self) -> Instant {
        self.clock_zero
    }

    pub(super) fn listen_address(&self) -> &ListenAddress {
        &self.listen_address
    }

    /// Executes all effects in order. Returns `Some` if the run cannot continue.
    pub(super) fn execute(&mut self, effects: Vec<Effect>, membership: &mut Membership) -> Option<Ending> {
        let mut ending = None;
        for effect in effects {
            match effect {
                Effect::Granted { member, grant, was_standby } => self.welcome(member, grant, was_standby),
                Effect::Waits { member } => self.stand_by(member),
                Effect::StandsBy { member } => {
                    let name = self.name_of(member);
                    self.log.log(format!("{name} is on standby"));
                }
                Effect::Ready { member, grant } => self.note_ready(member, grant),
                Effect::Ended { member, grant, is_forgotten } => {
                    self.connections.end(member, is_forgotten);
                    grant.into_iter().for_each(|grant| self.close_health(grant.epoch));
                }
                Effect::Lost { grant, name, was_ready, loss } => {
                    self.note_loss(grant, &name, was_ready, &loss, membership);
                }
                Effect::Returned { instance } => self.note_return(instance, membership),
                Effect::EndBackends { member, slot, below } => {
                    self.connections.send(member, FromCoordinator::EndBackends { slot, below });
                }
                Effect::BackendsEnded { slot, ended } => self.note_backends_ended(slot, ended, membership),
                Effect::BackendsUnknown { slot, problem, wait } => {
                    self.note_backends_unknown(slot, &problem, wait, membership);
                }
                Effect::Begin { member, grant } => self.begin(member, grant),
                Effect::Move { slot, to } => self.move_hosts(slot, &to),
                Effect::Quarantine { rows } => self.quarantine(rows),
                Effect::ShowMissing => {
                    let missing = self.listen_address.missing_agents(membership.members().slots());
                    self.log.display().println(&missing);
                }
                Effect::End(reason) => {
                    if reason == EndReason::NoAgentLeft {
                        self.log.report("no agent is left, and none joined within the grace period");
                    }
                    ending = Some(Ending::AgentsLost);
                }
            }
        }
        ending
    }

    fn name_of(&self, member: MemberId) -> String {
        self.connections.get(member).map(Connection::name).unwrap_or_default()
    }

    // -- joining -------------------------------------------------------------------------------------------------------

    fn welcome(&mut self, member: MemberId, grant: Grant, was_standby: bool) {
        let Some(connection) = self.connections.get(member) else { return };
        let (name, workers) = (connection.name(), connection.hello.workers);
        let config = self.plan.config_for(connection.hello.has_database, connection.is_private);
        let fact = Fact::joined(grant, &connection.hello);
        let welcome = Welcome { session: self.plan.session(grant), config };
        self.connections.send(member, FromCoordinator::Welcome(welcome));
        self.log.note(fact);
        let what = joined(grant.slot, &name, workers);
        match was_standby {
            true => self.log.report(format!("{} taken over by standby agent {name}", grant.slot)),
            // It becomes an event when the agent becomes ready.
            false if self.log.is_lost_repeatedly(grant.slot) => debug!("{what}"),
            false => self.log.log(what),
        }
    }

    fn stand_by(&mut self, member: MemberId) {
        let Some(connection) = self.connections.get(member) else { return };
        let config = self.plan.config_for(connection.hello.has_database, connection.is_private);
        let standby = Standby { run: self.plan.spec.run_id.clone(), config };
        self.connections.send(member, FromCoordinator::Standby(standby));
    }

    fn note_ready(&mut self, member: MemberId, Grant { slot, epoch }: Grant) {
        let Some(connection) = self.connections.get(member) else { return };
        let Some(ready) = &connection.ready else { return };
        let (found, what) = (Found::from(ready), joined(slot, &connection.name(), connection.hello.workers));
        if self.log.is_lost_repeatedly(slot) {
            self.log.log(what);
        }
        self.log.became_ready(slot);
        self.log.note_with_changes(Fact::Ready { epoch: epoch.get(), found: Box::new(found) });
    }

    /// Takes what an agent found in its database. Logs if the first prepared agent found something else: agents may use different databases,
    /// and the results are only comparable if these are alike.
    pub(super) fn prepared(&mut self, member: MemberId, ready: Ready, membership: &Membership) {
        let mut live = membership.members().live();
        let first = live
            .find(|(other, _)| other.is_ready)
            .and_then(|(other, grant)| Some((self.connections.get(other.id)?.ready.as_ref()?, grant.slot)));
        if let Some((first, other)) = first {
            let Database { server_version, timescaledb, settings, identities: _ } = &ready.database;
            let of_first = &first.database;
            let differs = (&of_first.server_version, &of_first.timescaledb, &of_first.settings, &first.sql)
                != (server_version, timescaledb, settings, &ready.sql);
            if differs {
                let grant = membership.members().present(member).and_then(|member| member.grant);
                let own = grant.map_or_else(|| self.name_of(member), |grant| grant.slot.to_string());
                self.log.log(format!("{own} and {other} found different databases"));
            }
        }
        self.connections.prepared(member, ready);
    }

    /// Notes that a process is alive although sessions of it were lost, so it did not die with the rows that they ran.
    fn note_return(&mut self, instance: u64, membership: &mut Membership) {
        let returned: Vec<Epoch> = self.log.record().presumed_dead(instance).collect();
        if !returned.is_empty() {
            self.log.note(Fact::Returned { instance });
            if let Some(round) = &self.round {
                round.discount(returned);
                membership.still_suspected(&round.rows().suspects());
            }
        }
    }

    // -- losses --------------------------------------------------------------------------------------------------------

    /// Notes the end of a session that held a slot. During the run its rows wait for the next holder.
    fn note_loss(
        &mut self,
        grant: Grant,
        name: &str,
        was_ready: bool,
        loss: &Loss,
        membership: &mut Membership,
    ) {
        let (slot, reason) = (grant.slot, &loss.reason);
        let mut what = format!("{slot} lost ({name}): {reason}");
        let round = self.round.as_ref().filter(|_| membership.phase() == Phase::Running);
        let mut is_event = was_ready;
        if let Some(round) = round {
            match loss.is_drained {
                true => {
                    let count = round.handed_back(grant);
                    what = format!("{slot} left ({name}): {reason}; {} handed back", rows(count));
                    is_event = true;
                }
                false => {
                    let count = round.lost(grant);
                    if count > 0 {
                        what.push_str(&format!("; {} may have run and will run again", rows(count)));
                    }
                    if loss.has_left {
                        round.discount([grant.epoch]);
                    }
                    membership.suspected(round.rows().suspects(), clock::now());
                }
            }
        }
        match is_event {
            true => self.log.report(what),
            false => self.log.report_unready_loss(slot, reason, what),
        }
        self.log.note(Fact::lost(grant.epoch, loss, self.log.run_ns()));
    }

    /// Records the health totals of a session that has ended.
    pub(super) fn close_health(&mut self, epoch: Epoch) {
        if let Some(totals) = self.health.close(epoch) {
            self.log.note(Fact::Health { epoch: epoch.get(), sum: Box::new(totals) });
        }
    }

    fn note_backends_ended(&mut self, slot: SlotId, ended: u32, membership: &Membership) {
        let plural = if ended == 1 { "" } else { "s" };
        self.log.report(match membership.phase() {
            Phase::WaitingForAgents => {
                format!("{slot}: {ended} backends of earlier sessions ended in the database")
            }
            _ => format!("{slot}: {ended} backend{plural} of the lost session ended in the database"),
        });
    }

    fn note_backends_unknown(
        &mut self,
        slot: SlotId,
        problem: &str,
        wait: Option<Duration>,
        membership: &Membership,
    ) {
        let then = match wait {
            Some(wait) => format!("waiting {wait:?}, until --timeout has ended them"),
            None => "continuing, because no --timeout is set that would end them".to_owned(),
        };
        self.log.report(match membership.phase() {
            Phase::WaitingForAgents => {
                format!("{slot}: it is not known whether queries of earlier sessions still run: {problem}")
            }
            _ => format!(
                "{slot}: it is not known whether queries of the lost session still run ({problem}); {then}"
            ),
        });
    }

    // -- rows ----------------------------------------------------------------------------------------------------------

    /// Gives the new holder of a slot its rows and starts it.
    fn begin(&mut self, member: MemberId, grant: Grant) {
        let Some(round) = &self.round else { return };
        let now = clock::now();
        let offset_ns = nanoseconds(round.clock.offset(now));
        round.begin(grant, offset_ns);
        if let Some(arm) = round.clock.arm_late(now, self.clock_zero) {
            self.connections.send(member, FromCoordinator::Arm(arm));
        }
        self.note_begun(grant, offset_ns);
        let name = self.name_of(member);
        self.log.report(format!("{} continues with {name}; no host moved", grant.slot));
    }

    fn note_begun(&mut self, Grant { slot, epoch }: Grant, offset_ns: u64) {
        if self.is_reported() {
            self.log.note(Fact::Began { slot: slot.get(), epoch: epoch.get(), offset_ns });
        }
    }

    /// Returns true if the sessions of the round are part of the record: in the round that counts, and in the steps of a search.
    fn is_reported(&self) -> bool {
        self.plan.spec.session.load.search.is_some() || self.round.as_ref().is_some_and(Round::is_counted)
    }

    /// Distributes the hosts of a lost slot over the workers of these slots. No other host moves.
    fn move_hosts(&mut self, slot: SlotId, to: &[SlotId]) {
        let Some(round) = &self.round else { return };
        let targets: Vec<usize> = to.iter().flat_map(|slot| round.workers_of(*slot)).collect();
        let moved = round.move_hosts(slot, &targets);
        self.log.note(Fact::Moved { from: slot.get(), to: targets });
        let (rows, to) = (rows(moved), list(to));
        self.log.report(format!("{slot} given up: its hosts and their {rows} move to {to}"));
    }

    fn quarantine(&mut self, rows: Vec<RowId>) {
        let Some(round) = &self.round else { return };
        let is_counted = round.is_counted();
        let quarantined = round.rows().quarantine(rows);
        for row in &quarantined {
            let died = limits::LOSSES_MAX;
            self.log.report(format!("row {row} is not run again: {died} agents died while running it"));
        }
        if is_counted && !quarantined.is_empty() {
            self.log.note(Fact::Quarantined { rows: quarantined.iter().map(|row| row.get()).collect() });
        }
    }

    /// Begins a round and gives each agent its share of the rows. Its Work stream then begins to send them.
    pub(super) fn begin_round(&mut self, round: Round, membership: &mut Membership) {
        // Slots that were given up in an earlier round have no hosts in this one either.
        for moved in &self.log.record().moves {
            round.move_hosts(moved.from, &moved.to);
        }
        let offset_ns = nanoseconds(round.clock.offset(clock::now()));
        let begun = membership.begin_round();
        membership.suspected(round.rows().suspects(), clock::now());
        begun.iter().for_each(|(_, grant)| round.begin(*grant, offset_ns));
        self.round = Some(round);
        begun.into_iter().for_each(|(_, grant)| self.note_begun(grant, offset_ns));
        membership.members().live().for_each(|(member, grant)| self.share(member.id, grant));
    }

    /// Gives an agent its part of the current round.
    pub(super) fn share(&self, member: MemberId, grant: Grant) {
        if let (Some(round), Some(connection)) = (&self.round, self.connections.get(member)) {
            connection.share(round.share(grant, connection.former()));
        }
    }

    /// Starts all agents that run together.
    pub(super) fn arm(&mut self, membership: &Membership) {
        let Some(round) = &mut self.round else { return };
        let arm = round.clock.arm(clock::now(), self.clock_zero);
        let is_counted = round.is_counted();
        let running = membership.members().running();
        running.clone().for_each(|(member, _)| self.connections.send(member.id, FromCoordinator::Arm(arm)));
        if is_counted {
            self.log.set_start(round.clock.started(), round.clock.ran_before());
            self.log.log(format!("all {} agents armed", running.count()));
        }
        if self.is_reported() {
            let at = jiff::Timestamp::try_from(std::time::SystemTime::now() + arm.countdown);
            self.log.note(Fact::Armed { at: at.map(|at| format!("{at:.3}")).unwrap_or_default() });
        }
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
