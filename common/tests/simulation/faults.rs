//! What breaks, and when. Every fault that ends does so at the latest when the schedule becomes calm.

use std::time::Duration;

use crate::random::Random;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The process is gone. Its connections are closed, unless the machine went with it.
    Kill { agent: usize, with_machine: bool },
    /// A new process on the same machine; the first one, too.
    Start { agent: usize },
    /// SIGTERM.
    Terminate { agent: usize },
    /// SIGSTOP: nothing happens in this process; its query in the database goes on.
    Freeze { agent: usize },
    Thaw { agent: usize },
    /// Messages are held, in one direction or in both.
    Partition { agent: usize, to_agent: bool, to_coordinator: bool },
    /// The end of a partition. What was held arrives late, or is lost with its connection.
    Heal { agent: usize, with_reset: bool },
    /// The connection breaks, and perhaps only one end notices.
    Reset { agent: usize, agent_notices: bool, coordinator_notices: bool },
    /// Every message takes up to seconds.
    Slow { agent: usize },
    Fast { agent: usize },
    KillCoordinator,
    StartCoordinator,
    FreezeCoordinator,
    ThawCoordinator,
    /// Every query in flight fails, and every connection is closed.
    RestartDatabase,
    /// The end of all faults: whatever is stopped goes on, and enough agents live.
    Calm,
}

/// Faults of one schedule, in no order.
pub(crate) fn schedule(random: &mut Random, agents: usize, calm_at: Duration) -> Vec<(Duration, Fault)> {
    let window = u64::try_from(calm_at.as_millis()).expect("less than a minute");
    let mut faults = vec![(calm_at, Fault::Calm)];
    for _ in 0..random.between(1..=9) {
        let at = random.millis(300..=window);
        let agent = random.index(agents);
        let (first, then) = fault(random, agent);
        faults.push((at, first));
        if let Some((after, then)) = then {
            faults.push((calm_at.min(at + after), then));
        }
    }
    faults
}

fn fault(random: &mut Random, agent: usize) -> (Fault, Option<(Duration, Fault)>) {
    let outage = if random.chance(40) { random.millis(20..=3_000) } else { random.millis(3_000..=20_000) };
    match random.between(0..=99) {
        0..=15 => {
            let restarts = random.chance(70).then_some((outage, Fault::Start { agent }));
            (Fault::Kill { agent, with_machine: random.chance(50) }, restarts)
        }
        16..=23 => (Fault::Terminate { agent }, random.chance(50).then_some((outage, Fault::Start { agent }))),
        24..=41 => (Fault::Freeze { agent }, Some((outage, Fault::Thaw { agent }))),
        42..=57 => {
            let (to_agent, to_coordinator) = [(true, true), (true, false), (false, true)][random.index(3)];
            let heal = Fault::Heal { agent, with_reset: random.chance(40) };
            (Fault::Partition { agent, to_agent, to_coordinator }, Some((outage, heal)))
        }
        58..=71 => {
            let (agent_notices, coordinator_notices) =
                [(true, true), (true, false), (false, true), (false, false)][random.index(4)];
            (Fault::Reset { agent, agent_notices, coordinator_notices }, None)
        }
        72..=79 => (Fault::Slow { agent }, Some((outage, Fault::Fast { agent }))),
        80..=91 => (Fault::KillCoordinator, Some((outage, Fault::StartCoordinator))),
        92..=94 => (Fault::FreezeCoordinator, Some((outage, Fault::ThawCoordinator))),
        _ => (Fault::RestartDatabase, None),
    }
}
