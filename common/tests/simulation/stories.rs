//! Combinations of faults that do harm only together. Random faults alone would seldom produce them; a few random faults are added.

use std::time::Duration;

use crate::faults::{self, Fault};
use crate::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// Random faults at random times.
    Chance,
    /// A slot is lost and its hosts move; then the coordinator restarts with the initial slots while another agent dies that ran one of
    /// these hosts.
    Relapse,
    /// One agent is lost, and another agent, whose connection breaks without the coordinator noticing, takes the slot of the first.
    ChangeOfSlot,
    /// The coordinator notices that a connection broke or fell silent, and its agent does not; a standby is available.
    Unnoticed,
    /// No coordinator runs for longer than agents keep their results.
    LongOutage,
    /// A long row kills the agent that runs it, several times.
    Poison,
}

impl Story {
    pub(crate) fn choose(random: &mut Random) -> Self {
        match random.between(0..=99) {
            0..=50 => Self::Chance,
            51..=56 => Self::Poison,
            57..=71 => Self::Relapse,
            72..=83 => Self::ChangeOfSlot,
            84..=95 => Self::Unnoticed,
            _ => Self::LongOutage,
        }
    }

    /// Returns all faults, unordered, and the time at which they are over. Without faults the work takes about `busy` milliseconds.
    pub(crate) fn faults(
        self,
        random: &mut Random,
        agents: usize,
        busy: u64,
    ) -> (Vec<(Duration, Fault)>, Duration) {
        let (mut faults, window) = match self {
            Self::Chance => (Vec::new(), random.between(2_000..=busy + 10_000)),
            Self::Relapse => (relapse(random, agents), 30_000),
            Self::ChangeOfSlot => (change_of_slot(random, agents, busy), busy + 10_000),
            Self::Unnoticed => (unnoticed(random, agents, busy), busy + 10_000),
            Self::LongOutage => (long_outage(random, busy), busy + 80_000),
            Self::Poison => (poison(random, agents), busy + 40_000),
        };
        let by_chance = if self == Self::Chance { 12 } else { 2 };
        faults.extend(faults::by_chance(random, agents, window, by_chance));
        let healed_at = Duration::from_millis(window);
        for (at, _) in &mut faults {
            *at = healed_at.min(*at);
        }
        faults.push((healed_at, Fault::HealAll));
        (faults, healed_at)
    }
}

fn relapse(random: &mut Random, agents: usize) -> Vec<(Duration, Fault)> {
    let lost = random.index(agents);
    let lost_at = random.millis(300..=2_000);
    let crashed_at = lost_at + random.millis(13_500..=20_000);
    let other = (lost + 1) % agents;
    let with_machine = random.chance(60);
    vec![
        (lost_at, Fault::Kill { agent: lost, with_machine: random.chance(50) }),
        (crashed_at, Fault::KillCoordinator { with_machine }),
        (crashed_at + random.millis(10..=100), Fault::StartCoordinator),
        (crashed_at + random.millis(0..=3_000), Fault::Start { agent: lost }),
        (crashed_at + random.millis(0..=100), Fault::Kill { agent: other, with_machine }),
        (crashed_at + random.millis(3_000..=5_000), Fault::Start { agent: other }),
    ]
}

fn change_of_slot(random: &mut Random, agents: usize, busy: u64) -> Vec<(Duration, Fault)> {
    let lost = random.index(agents);
    let other = (lost + 1) % agents;
    let lost_at = random.millis(300..=busy);
    let broken_at = lost_at + random.millis(0..=9_000);
    // Over a slow link, more results are measured and unacknowledged when it breaks.
    let slow_at = broken_at.saturating_sub(random.millis(100..=2_500));
    vec![
        (lost_at, Fault::Kill { agent: lost, with_machine: random.chance(20) }),
        (slow_at, Fault::Slow { agent: other }),
        (broken_at, Fault::Reset { agent: other, agent_notices: true, coordinator_notices: false }),
        (broken_at, Fault::Fast { agent: other }),
    ]
}

fn unnoticed(random: &mut Random, agents: usize, busy: u64) -> Vec<(Duration, Fault)> {
    let agent = random.index(agents);
    let at = random.millis(500..=busy);
    let broken = Fault::Reset { agent, agent_notices: false, coordinator_notices: true };
    let silent = Fault::Partition { agent, to_agent: true, to_coordinator: true };
    let silence = random.millis(1_800..=6_000);
    match random.between(0..=2) {
        0 => vec![(at, broken)],
        1 => vec![(at, silent), (at + silence, Fault::Heal { agent, with_reset: random.chance(50) })],
        _ => vec![(at, Fault::Freeze { agent }), (at + silence, Fault::Thaw { agent })],
    }
}

fn long_outage(random: &mut Random, busy: u64) -> Vec<(Duration, Fault)> {
    let at = random.millis(500..=busy);
    vec![
        (at, Fault::KillCoordinator { with_machine: random.chance(50) }),
        (at + random.millis(56_000..=72_000), Fault::StartCoordinator),
    ]
}

/// The kills are as far apart as the longest rows take and the slot's next owner waits, so that the row has begun again.
fn poison(random: &mut Random, agents: usize) -> Vec<(Duration, Fault)> {
    let agent = random.index(agents);
    let mut faults = Vec::new();
    let mut at = random.millis(1_000..=3_000);
    for _ in 0..3 {
        faults.push((at, Fault::Kill { agent, with_machine: random.chance(20) }));
        faults.push((at + random.millis(20..=300), Fault::Start { agent }));
        at += random.millis(5_000..=9_000);
    }
    faults
}
