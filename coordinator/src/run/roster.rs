//! Who takes part: the slots and the sessions that hold them. Decides on joining and leaving; sends nothing but what it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_common::ids::{Epoch, SessionId, SlotId, WorkerId};
use muster_common::slots::{Grant, JoinError, Slots};
use muster_proto::control::{FromCoordinator, Hello, Ready, WorkerReport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::{Line, Share, WorkPorts};

pub(crate) struct Roster {
    slots: Slots,
    members: BTreeMap<SlotId, Member>,
}

/// One session and what it said so far.
pub(crate) struct Member {
    pub(crate) grant: Grant,
    pub(crate) hello: Hello,
    pub(crate) line: Line,
    /// Cancelled when the session's tasks are to end.
    pub(crate) ended: CancellationToken,
    pub(crate) share: watch::Sender<Option<Arc<Share>>>,
    pub(crate) ready: Option<Ready>,
    pub(crate) has_work: bool,
    pub(crate) has_prefetched: bool,
    /// When its countdown ended, by the coordinator's clock.
    pub(crate) started: Option<Instant>,
    pub(crate) report: Option<Vec<WorkerReport>>,
    pub(crate) lost: Option<String>,
}

impl Member {
    /// `db1/4711`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.hello.machine, self.hello.process_id)
    }
}

impl Roster {
    pub(crate) fn new(agents: u16) -> Self {
        Self { slots: Slots::new(agents, Epoch::new(1)), members: BTreeMap::new() }
    }

    pub(crate) fn join(&mut self, hello: Hello, line: Line) -> Result<&Member, JoinError> {
        let grant = self.slots.join(hello.slot)?;
        let member = Member {
            grant,
            hello,
            line,
            ended: CancellationToken::new(),
            share: watch::channel(None).0,
            ready: None,
            has_work: false,
            has_prefetched: false,
            started: None,
            report: None,
            lost: None,
        };
        Ok(self.members.entry(grant.slot).insert_entry(member).into_mut())
    }

    pub(crate) fn ready(&mut self, grant: Grant, ready: Ready) {
        if self.slots.ready(grant)
            && let Some(member) = self.member_mut(grant)
        {
            member.ready = Some(ready);
        }
    }

    /// Ends a session and vacates its slot. `None` when it is over already: every loss is handled once.
    pub(crate) fn lost(&mut self, grant: Grant, reason: &str) -> Option<&Member> {
        if !self.slots.lost(grant) {
            return None;
        }
        let member = self.members.get_mut(&grant.slot)?;
        member.ended.cancel();
        member.lost = Some(reason.to_owned());
        Some(member)
    }

    /// A session that hung up after Bye: no loss.
    pub(crate) fn hung_up(&mut self, grant: Grant) {
        self.slots.lost(grant);
    }

    /// The member of a session that still holds its slot.
    pub(crate) fn member_mut(&mut self, grant: Grant) -> Option<&mut Member> {
        let holds = self.slots.holds(grant);
        self.members.get_mut(&grant.slot).filter(|_| holds)
    }

    /// Once a session: a second Work stream would get the same rows.
    pub(crate) fn open_work(&mut self, session: &SessionId) -> Option<WorkPorts> {
        let grant = Grant { slot: session.slot, epoch: session.epoch };
        let member = self.member_mut(grant).filter(|member| !member.has_work)?;
        member.has_work = true;
        Some(WorkPorts { grant, ended: member.ended.clone(), share: member.share.subscribe() })
    }

    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The sessions that hold their slots, by slot.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| self.slots.holds(member.grant))
    }

    pub(crate) fn say_to_all(&self, message: &FromCoordinator) {
        for member in self.live() {
            // A line that is full belongs to a dead peer; its fence falls soon.
            member.line.say(message.clone());
        }
    }

    /// Ends the tasks of every session and takes their shares back: the keeper closes when nobody can settle rows any more.
    pub(crate) fn end_all(&self) {
        for member in self.members.values() {
            member.ended.cancel();
            member.share.send_replace(None);
        }
    }

    /// What the first prepared agent found; all others should find the same.
    pub(crate) fn first_ready(&self) -> Option<(&Member, &Ready)> {
        self.live().find_map(|member| Some((member, member.ready.as_ref()?)))
    }

    /// Every worker of the run, by slot and index.
    pub(crate) fn workers(&self) -> Vec<WorkerId> {
        let of_member = |member: &Member| {
            let slot = member.grant.slot;
            (0..member.hello.workers).map(move |index| WorkerId::new(slot, index))
        };
        self.members.values().flat_map(of_member).collect()
    }

    /// Latest minus earliest start, once all have started.
    pub(crate) fn start_skew(&self) -> Option<Duration> {
        let starts: Option<Vec<Instant>> = self.members.values().map(|member| member.started).collect();
        let starts = starts?;
        Some(starts.iter().max()?.duration_since(*starts.iter().min()?))
    }

    pub(crate) fn into_members(self) -> Vec<Member> {
        self.members.into_values().collect()
    }
}
