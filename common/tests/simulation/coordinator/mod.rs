//! The coordinator: thin glue around `Slots`, `Fence` and `Dispatch`. This file handles messages and events; counting, losses, phases,
//! rows and the journal have their own files.

mod counting;
pub(crate) mod journal;
mod losses;
mod phases;
mod rows;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use muster_common::dispatch::Dispatch;
use muster_common::ids::{Epoch, RowId, SlotId};
use muster_common::lease::Fence;
use muster_common::limits;
use muster_common::slots::{Grant, Slots};

use self::journal::{Entry, Journal};
use self::losses::{Cleanup, EndCause};
use self::phases::Phase;
use crate::messages::{Envelope, FromAgent, FromCoordinator, Process};
use crate::mutants::Mutant;
use crate::network::End;
use crate::world::World;

#[derive(Debug)]
pub(crate) enum CoordinatorEvent {
    Wake,
    Synced,
    BackendsEnded { slot: SlotId, is_allowed: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    AgentsLost,
    NotJoined,
}

pub(crate) struct Coordinator {
    life: u32,
    began: Instant,
    /// The first epoch of this coordinator. Smaller epochs belong to earlier coordinators.
    first_epoch: Epoch,
    phase: Phase,
    slots: Slots,
    dispatch: Dispatch,
    /// The sessions that hold a slot.
    members: BTreeMap<Epoch, Member>,
    /// The process of each session, including sessions of earlier coordinators.
    processes: BTreeMap<Epoch, Process>,
    /// Rows that may have killed processes, and the time until which these processes may return.
    suspects: Vec<(Instant, Vec<RowId>)>,
    standbys: Vec<Standby>,
    /// By slot.
    cleanups: Vec<Cleanup>,
    /// Retired slots whose rows have not been moved yet.
    retired: Vec<SlotId>,
    journal: Journal,
    wakes_at: Option<Instant>,
}

struct Member {
    grant: Grant,
    connection: usize,
    fence: Fence,
    is_ready: bool,
    /// The slot's rows have been given to this session.
    has_begun: bool,
    /// By worker: total rows granted and total rows sent.
    flow: Vec<(u64, u64)>,
    has_reported: bool,
    /// Settled entries that are not journaled yet; only used by `Mutant::SettledApart`.
    unjournaled: Vec<Entry>,
}

struct Standby {
    connection: usize,
    process: Process,
    fence: Fence,
}

impl Coordinator {
    /// Starts the first coordinator of a run, or one that resumes it from the journal.
    pub(crate) fn start(world: &mut World, life: u32) -> Self {
        let slots = world.scenario.slots;
        let workers = usize::from(slots) * usize::from(world.scenario.workers);
        let (dispatch, processes, first_epoch) = journal::replay(world, workers);
        let resumes = life > 1;
        let lease_wait = if world.is(Mutant::NoLeaseWait) { Duration::ZERO } else { limits::FENCE };
        // Agents of the previous coordinator may go on for one lease, and their queries for longer.
        let cleanup =
            if resumes { Cleanup::Pending { quiet_at: world.now + lease_wait } } else { Cleanup::Done };
        world.checks.coordinator_started();
        let mut coordinator = Self {
            life,
            began: world.now,
            first_epoch,
            phase: Phase::WaitingForAgents,
            slots: Slots::new(slots, first_epoch),
            dispatch,
            members: BTreeMap::new(),
            processes,
            suspects: Vec::new(),
            standbys: Vec::new(),
            cleanups: vec![cleanup; slots.into()],
            retired: Vec::new(),
            journal: Journal::default(),
            wakes_at: None,
        };
        coordinator.watch_suspects(world);
        coordinator.proceed(world);
        coordinator
    }

    /// SIGKILL, or the loss of the machine: then the agents are not notified. Only the journal remains.
    pub(crate) fn kill(self, world: &mut World, with_machine: bool) {
        if !with_machine {
            let members = self.members.values().map(|member| member.connection);
            let standbys = self.standbys.iter().map(|standby| standby.connection);
            members.chain(standbys).for_each(|connection| world.close(connection, End::Coordinator));
        }
        self.journal.tear(world);
    }

    pub(crate) fn uses(&self, connection: usize) -> bool {
        self.members.values().any(|member| member.connection == connection)
            || self.standbys.iter().any(|standby| standby.connection == connection)
    }

    pub(crate) fn handle(&mut self, world: &mut World, event: CoordinatorEvent) {
        match event {
            CoordinatorEvent::Wake => self.wakes_at = None,
            CoordinatorEvent::Synced => {
                let unjournaled = self.members.values_mut().flat_map(|member| member.unjournaled.drain(..));
                unjournaled.for_each(|entry| self.journal.add(entry));
                self.journal.sync(world);
            }
            CoordinatorEvent::BackendsEnded { slot, is_allowed } => {
                self.backends_ended(world, slot, is_allowed)
            }
        }
        self.proceed(world);
    }

    pub(crate) fn receive(&mut self, world: &mut World, connection: usize, envelope: Envelope) {
        match envelope {
            Envelope::FromAgent(message) => {
                let is_beat = matches!(message, FromAgent::Beat(_));
                self.take(world, connection, message);
                // A heartbeat makes nothing due, and most messages are heartbeats.
                if is_beat {
                    return;
                }
            }
            Envelope::Closed => {
                self.standbys.retain(|standby| standby.connection != connection);
                if let Some(member) = self.members.values().find(|member| member.connection == connection) {
                    self.end_session(world, member.grant, EndCause::Broken);
                }
            }
            Envelope::FromCoordinator(_) => unreachable!("the coordinator does not write to itself"),
        }
        self.proceed(world);
    }

    fn take(&mut self, world: &mut World, connection: usize, message: FromAgent) {
        match message {
            FromAgent::Hello(process) => self.join(world, connection, process),
            FromAgent::Beat(number) => self.beat(world, connection, number),
            FromAgent::Ready(grant) => {
                if self.slots.ready(grant)
                    && let Some(member) = self.members.get_mut(&grant.epoch)
                {
                    member.is_ready = true;
                }
            }
            FromAgent::Credit(grant, credit) => {
                if let Some(member) = self.members.get_mut(&grant.epoch) {
                    let (granted, _) = &mut member.flow[usize::from(credit.worker)];
                    *granted = credit.rows.max(*granted);
                }
            }
            FromAgent::Results(grant, results) => self.results(world, connection, grant, results),
            FromAgent::Leave(grant) => self.end_session(world, grant, EndCause::HandedBack),
            FromAgent::Report(grant) => {
                if let Some(member) = self.members.get_mut(&grant.epoch) {
                    member.has_reported = true;
                }
            }
        }
    }

    fn join(&mut self, world: &mut World, connection: usize, process: Process) {
        self.returned(world, process);
        if matches!(self.phase, Phase::Draining { .. } | Phase::Finished(_)) {
            world.send_to_agent(connection, FromCoordinator::Bye);
        } else if let Ok(grant) = self.slots.join(None, world.now) {
            self.welcome(world, connection, process, grant);
        } else if self.standbys.len() < limits::STANDBYS_MAX {
            self.standbys.push(Standby { connection, process, fence: Fence::new(world.now) });
            world.send_to_agent(connection, FromCoordinator::Standby);
        }
    }

    fn welcome(&mut self, world: &mut World, connection: usize, process: Process, grant: Grant) {
        world.checks.session_begun(grant, process);
        self.processes.insert(grant.epoch, process);
        self.journal.add(Entry::Session(grant.epoch, process));
        self.journal.then_send(connection, FromCoordinator::Welcome(grant));
        let member = Member {
            grant,
            connection,
            fence: Fence::new(world.now),
            is_ready: false,
            has_begun: false,
            flow: vec![(0, 0); world.scenario.workers.into()],
            has_reported: false,
            unjournaled: Vec::new(),
        };
        self.members.insert(grant.epoch, member);
    }

    fn beat(&mut self, world: &mut World, connection: usize, number: u64) {
        let members = self.members.values_mut().map(|member| (member.connection, &mut member.fence));
        let standbys = self.standbys.iter_mut().map(|standby| (standby.connection, &mut standby.fence));
        let known = members.chain(standbys).find(|(known, _)| *known == connection);
        if let Some((_, fence)) = known {
            fence.beat(world.now);
        } else if !world.is(Mutant::LapsedResume) {
            return;
        }
        world.send_to_agent(connection, FromCoordinator::BeatAck(number));
    }

    /// How the run ended; `None` while it has not.
    pub(crate) fn ending(&self) -> Option<Ending> {
        match self.phase {
            Phase::Finished(ending) => Some(ending),
            Phase::WaitingForAgents | Phase::Running | Phase::Draining { .. } => None,
        }
    }

    pub(crate) fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The connections of the sessions that held their slots until the end and sent their report.
    pub(crate) fn reporters(&self) -> impl Iterator<Item = usize> {
        self.members.values().filter(|member| member.has_reported).map(|member| member.connection)
    }
}
