//! Invariants over random sequences of joins, losses, replies and time.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::limits;
use proptest::prelude::*;

use super::super::{EndReason, Phase};
use super::*;

const SLOTS: u16 = 3;

#[derive(Debug, Clone)]
enum Event {
    /// A new process joins, with one or two workers.
    Join {
        workers: u16,
        slot: Option<u16>,
    },
    /// The process of a member that has ended, or is still held to be connected, joins again.
    Return(usize),
    Ready(usize),
    Lose {
        member: usize,
        is_drained: bool,
        lapses_after_ms: u64,
    },
    /// An agent replies to the oldest request to end backends.
    Reply(bool),
    BeginRound,
    Pass {
        ms: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let member = 0..12usize;
    prop_oneof![
        3 => (1..=2u16, proptest::option::of(0..=SLOTS)).prop_map(|(workers, slot)| Event::Join { workers, slot }),
        2 => member.clone().prop_map(Event::Return),
        6 => member.clone().prop_map(Event::Ready),
        3 => (member, any::<bool>(), 0..6_000u64).prop_map(|(member, is_drained, lapses_after_ms)| {
            Event::Lose { member, is_drained, lapses_after_ms }
        }),
        4 => any::<bool>().prop_map(Event::Reply),
        1 => Just(Event::BeginRound),
        6 => (1..8_000u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// What an observer of the effects knows.
struct Model {
    run: Run,
    /// By member: what it said when it joined.
    applicants: BTreeMap<MemberId, Applicant>,
    last_epoch: u64,
    sessions: BTreeMap<MemberId, Grant>,
    ended: BTreeSet<MemberId>,
    /// By slot: the session that runs its rows.
    owners: BTreeMap<SlotId, MemberId>,
    /// By lost session that ran rows and was not drained: the time until which its agent may run queries.
    may_run_until: BTreeMap<(SlotId, u64), Instant>,
    retired: BTreeSet<SlotId>,
    requests: Vec<(MemberId, SlotId)>,
    has_ended: bool,
}

impl Model {
    fn new(on_agent_loss: OnAgentLoss) -> Self {
        let run = Run::running(SLOTS, on_agent_loss);
        let members = (0..u32::from(SLOTS)).map(MemberId);
        let sessions: BTreeMap<_, _> =
            members.zip(0..).map(|(member, slot)| (member, grant(slot, u64::from(slot) + 1))).collect();
        Self {
            applicants: sessions.keys().map(|member| (*member, agent(u64::from(member.0) + 1, 2))).collect(),
            last_epoch: SLOTS.into(),
            owners: sessions.iter().map(|(member, grant)| (grant.slot, *member)).collect(),
            sessions,
            ended: BTreeSet::new(),
            may_run_until: BTreeMap::new(),
            retired: BTreeSet::new(),
            requests: Vec::new(),
            has_ended: false,
            run,
        }
    }

    fn member(&self, number: usize) -> MemberId {
        *self.applicants.keys().nth(number % self.applicants.len()).unwrap()
    }

    fn step(&mut self, event: Event) {
        let now = self.run.now;
        let effects = match event {
            Event::Join { workers, slot } => {
                let process = self.applicants.len() as u64 + 1;
                self.join(Applicant { slot: slot.map(SlotId::new), ..agent(process, workers) })
            }
            Event::Return(member) => {
                let member = self.member(member);
                let ended = self.sessions.get(&member).copied();
                if let Some(Grant { slot, epoch }) = ended {
                    // The process has stopped its queries.
                    self.may_run_until.insert((slot, epoch.get()), now);
                }
                self.join(Applicant { ended, slot: None, ..self.applicants[&member].clone() })
            }
            Event::Ready(member) => self.run.ready(self.member(member)),
            Event::Lose { member, is_drained, lapses_after_ms } => {
                let member = self.member(member);
                let lapses_at = now + Duration::from_millis(lapses_after_ms);
                if !self.ended.contains(&member)
                    && !is_drained
                    && let Some(grant) = self.sessions.get(&member)
                {
                    self.may_run_until.insert((grant.slot, grant.epoch.get()), lapses_at);
                }
                let loss = Loss { is_drained, lapses_at: Some(lapses_at), ..Loss::because("killed") };
                self.run.membership.lost(member, loss, now)
            }
            Event::Reply(is_known) if !self.requests.is_empty() => {
                let (member, slot) = self.requests.remove(0);
                let outcome = if is_known { Ok(1) } else { Err("denied".to_owned()) };
                self.run.replied(member, slot.get(), outcome)
            }
            Event::Reply(_) => Vec::new(),
            Event::BeginRound => {
                let begun = self.run.membership.begin_round();
                begun.into_iter().map(|(member, grant)| Effect::Begin { member, grant }).collect()
            }
            Event::Pass { ms } => self.run.after(Duration::from_millis(ms)),
        };
        effects.into_iter().for_each(|effect| self.check(effect));
    }

    fn join(&mut self, applicant: Applicant) -> Vec<Effect> {
        let (member, effects) = self.run.membership.join(applicant.clone(), self.run.now);
        if let Ok(member) = member {
            assert!(self.applicants.insert(member, applicant).is_none(), "ids are not reused");
        }
        effects
    }

    fn check(&mut self, effect: Effect) {
        match effect {
            Effect::Granted { member, grant, .. } => {
                assert!(grant.epoch.get() > self.last_epoch, "epochs only grow");
                assert!(!self.retired.contains(&grant.slot), "a slot that was given up stays so");
                let holders = self.sessions.iter().filter(|(_, held)| held.slot == grant.slot);
                assert!(
                    holders.into_iter().all(|(holder, _)| self.ended.contains(holder)),
                    "one holder at a time"
                );
                assert_eq!(self.applicants[&member].workers, 2, "hosts keep their workers");
                self.last_epoch = grant.epoch.get();
                self.sessions.insert(member, grant);
            }
            Effect::Ended { member, .. } => assert!(self.ended.insert(member), "a session ends once"),
            Effect::Begin { member, grant } => {
                assert_eq!(self.sessions.get(&member), Some(&grant), "it holds the slot");
                assert!(!self.ended.contains(&member));
                if self.owners.insert(grant.slot, member) != Some(member) {
                    self.check_fenced(grant.slot, grant.epoch.get());
                }
            }
            Effect::EndBackends { member, slot, .. } => self.requests.push((member, slot)),
            Effect::Move { slot, to } => {
                self.retired.insert(slot);
                self.check_fenced(slot, u64::MAX);
                let live = |slot: &SlotId| self.owners.get(slot).is_some_and(|id| !self.ended.contains(id));
                assert!(!live(&slot), "hosts of live agents never move");
                assert!(!to.is_empty() && to.iter().all(live), "hosts move only to agents that run");
            }
            Effect::End(_) => self.has_ended = true,
            _ => {}
        }
    }

    /// No earlier session of the slot can still run queries.
    fn check_fenced(&self, slot: SlotId, below: u64) {
        let earlier = self.sessions.iter().filter(|(_, held)| held.slot == slot && held.epoch.get() < below);
        for (member, grant) in earlier {
            assert!(self.ended.contains(member), "{grant:?} still holds the slot");
            let until = self.may_run_until.get(&(slot, grant.epoch.get()));
            assert!(until.is_none_or(|until| *until <= self.run.now), "{grant:?} may still run queries");
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_events_breaks_an_invariant(
        on_agent_loss in prop_oneof![Just(OnAgentLoss::Reassign), Just(OnAgentLoss::Wait), Just(OnAgentLoss::Fail)],
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut model = Model::new(on_agent_loss);
        for event in events {
            model.step(event);
            if model.has_ended {
                return Ok(());
            }
        }
        // When every agent is lost, the run ends after the grace period.
        for number in 0..model.applicants.len() {
            model.step(Event::Lose { member: number, is_drained: false, lapses_after_ms: 3_000 });
        }
        prop_assert!(model.run.membership.members().is_empty());
        prop_assert_eq!(model.run.membership.phase(), Phase::Running);
        let effects = model.run.after(GRACE + limits::FENCE);
        prop_assert!(effects.contains(&Effect::End(EndReason::NoAgentLeft)), "{:?}", effects);
    }
}
