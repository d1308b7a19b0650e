//! The faults and their random times. Every temporary fault ends at the latest when `HealAll` is injected.

use std::time::Duration;

use crate::random::Random;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The process ends. Its connections are closed, unless its machine is lost too.
    Kill {
        agent: usize,
        with_machine: bool,
    },
    /// Starts a process of the agent: the first one or a new one.
    Start {
        agent: usize,
    },
    /// SIGTERM.
    Terminate {
        agent: usize,
    },
    /// SIGSTOP: the process stops; its query in the database goes on.
    Freeze {
        agent: usize,
    },
    Thaw {
        agent: usize,
    },
    /// Messages are held in one direction or in both.
    Partition {
        agent: usize,
        to_agent: bool,
        to_coordinator: bool,
    },
    /// The end of a partition. The held messages are delivered late, or lost with their connection.
    Heal {
        agent: usize,
        with_reset: bool,
    },
    /// The connection breaks, and possibly only one end notices.
    Reset {
        agent: usize,
        agent_notices: bool,
        coordinator_notices: bool,
    },
    /// A message takes up to 2.5 s.
    Slow {
        agent: usize,
    },
    Fast {
        agent: usize,
    },
    KillCoordinator {
        with_machine: bool,
    },
    StartCoordinator,
    FreezeCoordinator,
    ThawCoordinator,
    /// Every query in flight fails, and every connection is closed.
    RestartDatabase,
    /// Ends all faults: stopped processes go on, and enough agents run.
    HealAll,
}

/// Random faults. In some schedules they come in a burst, and in some they affect only two of the agents.
pub(crate) fn by_chance(
    random: &mut Random,
    agents: usize,
    window: u64,
    most: u64,
) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let weights = WEIGHTS[random.index(WEIGHTS.len())];
    let affected = if random.chance(40) { 2 } else { agents };
    let burst_at = random.chance(35).then(|| random.between(300..=window));
    for _ in 0..random.between(0..=most) {
        let at = match burst_at {
            Some(at) => random.millis(at..=at + 4_000),
            None => random.millis(300..=window),
        };
        let agent = random.index(affected);
        let (first, then) = fault(random, &weights, agent);
        faults.push((at, first));
        faults.extend(then.map(|(after, then)| (at + after, then)));
    }
    faults
}

/// The frequency of each kind of fault in percent: processes, freezes, network, coordinator, database.
const WEIGHTS: [[u64; 5]; 5] =
    [[25, 18, 38, 14, 5], [60, 15, 10, 10, 5], [10, 60, 20, 8, 2], [8, 5, 80, 5, 2], [15, 10, 25, 48, 2]];

/// Returns a fault and, if it is temporary, the fault that ends it.
fn fault(random: &mut Random, weights: &[u64; 5], agent: usize) -> (Fault, Option<(Duration, Fault)>) {
    let outage = if random.chance(40) { random.millis(20..=3_000) } else { random.millis(3_000..=20_000) };
    let mut drawn = random.between(0..=99);
    let kind = weights.iter().position(|weight| {
        let is_it = drawn < *weight;
        drawn = drawn.saturating_sub(*weight);
        is_it
    });
    match kind {
        Some(0) if random.chance(65) => {
            let restarts = random.chance(70).then_some((outage, Fault::Start { agent }));
            (Fault::Kill { agent, with_machine: random.chance(50) }, restarts)
        }
        Some(0) => {
            (Fault::Terminate { agent }, random.chance(50).then_some((outage, Fault::Start { agent })))
        }
        Some(1) => (Fault::Freeze { agent }, Some((outage, Fault::Thaw { agent }))),
        Some(2) => network_fault(random, agent, outage),
        Some(3) if random.chance(85) => {
            // A coordinator that is restarted soon meets everything that the previous one left behind.
            let outage = if random.chance(60) { random.millis(10..=1_500) } else { outage };
            (
                Fault::KillCoordinator { with_machine: random.chance(40) },
                Some((outage, Fault::StartCoordinator)),
            )
        }
        Some(3) => (Fault::FreezeCoordinator, Some((outage, Fault::ThawCoordinator))),
        _ => (Fault::RestartDatabase, None),
    }
}

fn network_fault(random: &mut Random, agent: usize, outage: Duration) -> (Fault, Option<(Duration, Fault)>) {
    match random.between(0..=9) {
        0 => {
            // A stall about as long as the lease.
            let stall = random.millis(1_800..=3_600);
            let heal = Fault::Heal { agent, with_reset: false };
            (Fault::Partition { agent, to_agent: true, to_coordinator: true }, Some((stall, heal)))
        }
        1..=3 => {
            let (to_agent, to_coordinator) = [(true, true), (true, false), (false, true)][random.index(3)];
            let heal = Fault::Heal { agent, with_reset: random.chance(40) };
            (Fault::Partition { agent, to_agent, to_coordinator }, Some((outage, heal)))
        }
        4..=7 => {
            let (agent_notices, coordinator_notices) =
                [(true, true), (true, false), (false, true), (false, true), (false, false)][random.index(5)];
            (Fault::Reset { agent, agent_notices, coordinator_notices }, None)
        }
        _ => (Fault::Slow { agent }, Some((outage, Fault::Fast { agent }))),
    }
}
