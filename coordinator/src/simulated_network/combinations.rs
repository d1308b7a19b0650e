//! Combinations of faults that do harm only together. Faults drawn one by one would seldom produce them.

use std::time::Duration;

use super::faults::{Direction, Ends, Fault, Timed, cut};
use super::random::Random;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combination {
    /// An agent is killed as often as it takes to quarantine a row.
    Killed,
    /// An agent loses its session several times with the same row and returns each time.
    Cut,
    /// An agent whose connection breaks, unnoticed by the coordinator, takes the slot of a dead one.
    ChangeOfSlot,
    /// The hosts of a lost slot have moved. Then the coordinator restarts with the first placement, and the agent that took them over dies.
    CrashAfterMove,
    /// The coordinator is killed and resumes, and an agent notices that only when its lease expires.
    CrashUnnoticed,
    /// The coordinator and an agent are on the same machine, which restarts. The queries of the agent continue.
    CrashOfMachine,
}

impl Combination {
    pub(super) fn draw(random: &mut Random) -> Option<Self> {
        match random.between(0..=99) {
            0..=9 => Some(Self::Killed),
            10..=19 => Some(Self::Cut),
            20..=29 => Some(Self::ChangeOfSlot),
            30..=39 => Some(Self::CrashAfterMove),
            40..=49 => Some(Self::CrashUnnoticed),
            50..=59 => Some(Self::CrashOfMachine),
            _ => None,
        }
    }

    /// Returns true if the run has to last for at least half a minute, with a long row at every moment.
    pub(super) fn needs_slow_host(self) -> bool {
        self != Self::ChangeOfSlot
    }

    /// A vacant slot is given up after `slot_grace`.
    pub(super) fn faults(self, random: &mut Random, agents: usize, slot_grace: Duration) -> Vec<Timed> {
        let agent = random.index(agents);
        let other = (agent + 1 + random.index(agents - 1)) % agents;
        let at = random.millis(1_200..=5_000);
        let faults = match self {
            Self::Killed => killed(random, agent, at),
            Self::Cut => cut_repeatedly(random, agent, at),
            Self::ChangeOfSlot => change_of_slot(random, agent, other, at),
            Self::CrashAfterMove => crash_after_move(random, agent, other, at, at + slot_grace),
            Self::CrashUnnoticed => crash_unnoticed(random, agent, at),
            Self::CrashOfMachine => crash_of_machine(random, agent, at),
        };
        faults.into_iter().map(|(at, fault)| Timed { at, fault }).collect()
    }
}

type Faults = Vec<(Duration, Fault)>;

/// The kills are so far apart that the next session runs the row again.
fn killed(random: &mut Random, agent: usize, mut at: Duration) -> Faults {
    let mut faults = Vec::new();
    for _ in 0..3 {
        faults.push((at, Fault::Kill(agent)));
        faults.push((at + random.millis(20..=300), Fault::Start(agent)));
        at += random.millis(4_000..=6_500);
    }
    faults
}

fn cut_repeatedly(random: &mut Random, agent: usize, mut at: Duration) -> Faults {
    let mut faults = Vec::new();
    for _ in 0..random.between(3..=5) {
        let ends = random.pick(&[Ends::Both, Ends::Agent]);
        faults.extend(cut(agent, ends).map(|(after, fault)| (at + after, fault)));
        at += random.millis(700..=3_000);
    }
    faults
}

/// Over a slow link, the agent has more results that are not acknowledged.
fn change_of_slot(random: &mut Random, lost: usize, agent: usize, at: Duration) -> Faults {
    let cut_at = at + random.millis(0..=3_000);
    let mut faults = vec![
        (at, Fault::Kill(lost)),
        (cut_at.saturating_sub(random.millis(100..=1_500)), Fault::Slow(agent, random.millis(400..=1_500))),
        (cut_at, Fault::Slow(agent, Duration::from_millis(60))),
        (cut_at + random.millis(5_000..=9_000), Fault::Start(lost)),
    ];
    faults.extend(cut(agent, Ends::Agent).map(|(after, fault)| (cut_at + after, fault)));
    faults
}

fn crash_after_move(
    random: &mut Random,
    lost: usize,
    other: usize,
    lost_at: Duration,
    given_up_at: Duration,
) -> Faults {
    let crashed_at = given_up_at + random.millis(3_500..=7_000);
    vec![
        (lost_at, Fault::Kill(lost)),
        (crashed_at, Fault::KillCoordinator),
        (crashed_at, Fault::Kill(other)),
        (crashed_at + random.millis(10..=100), Fault::StartCoordinator),
        (crashed_at + random.millis(0..=1_000), Fault::Start(lost)),
        (crashed_at + random.millis(0..=1_000), Fault::Start(other)),
    ]
}

fn crash_unnoticed(random: &mut Random, agent: usize, at: Duration) -> Faults {
    vec![
        (at, Fault::Partition(agent, Direction::Both)),
        (at, Fault::KillCoordinator),
        (at + random.millis(10..=100), Fault::StartCoordinator),
        (at + random.millis(2_500..=4_000), Fault::Repair(agent)),
    ]
}

fn crash_of_machine(random: &mut Random, agent: usize, at: Duration) -> Faults {
    vec![
        (at, Fault::KillCoordinator),
        (at, Fault::Kill(agent)),
        (at + random.millis(10..=1_500), Fault::StartCoordinator),
        (at + random.millis(10..=1_500), Fault::Start(agent)),
    ]
}
