//! What breaks, when it is drawn and when it comes.

use std::time::Duration;

use super::random::Random;
use super::world::World;

/// A fault and when it comes, since the beginning.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    pub(super) at: Duration,
    pub(super) fault: Fault,
}

/// Agents by their position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9`; the system closes its connections.
    Kill(usize),
    /// The machine is gone: nobody is told.
    PowerOff(usize),
    /// SIGTERM.
    Ask(usize),
    Start(usize),
    KillCoordinator,
    StartCoordinator,
    /// What is said between the two waits until it is released.
    Hold(usize),
    Release(usize),
    /// What is said between the two is lost, and with it whatever follows on the same connection.
    Partition(usize, Way),
    Repair(usize),
    /// The connections break, with what is on its way.
    Cut(usize, Ends),
    /// A message takes up to so long.
    Slow(usize, Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Both,
    ToAgent,
    ToCoordinator,
}

/// Who notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Both,
    Agent,
    Coordinator,
}

impl Fault {
    /// One to six of them with their ends. Everything that is killed comes back, and every link is repaired.
    pub(super) fn draw(random: &mut Random, agents: usize) -> Vec<Timed> {
        let mut faults = Vec::new();
        for _ in 0..random.between(1..=6) {
            let at = random.millis(50..=12_000);
            let lasts =
                if random.chance(60) { random.millis(50..=3_000) } else { random.millis(2_500..=9_000) };
            let agent = random.index(agents);
            let mut add = |after: Duration, fault| faults.push(Timed { at: at + after, fault });
            match random.between(0..=99) {
                0..=19 => {
                    add(Duration::ZERO, Self::Kill(agent));
                    add(lasts, Self::Start(agent));
                }
                20..=29 => {
                    add(Duration::ZERO, Self::PowerOff(agent));
                    add(lasts, Self::Repair(agent));
                    add(lasts, Self::Start(agent));
                }
                30..=37 => {
                    add(Duration::ZERO, Self::Ask(agent));
                    add(lasts, Self::Start(agent));
                }
                38..=52 => {
                    add(Duration::ZERO, Self::KillCoordinator);
                    add(lasts, Self::StartCoordinator);
                }
                53..=64 => {
                    add(Duration::ZERO, Self::Hold(agent));
                    add(lasts, Self::Release(agent));
                }
                65..=79 => {
                    let ways = [Way::Both, Way::ToAgent, Way::ToCoordinator];
                    add(Duration::ZERO, Self::Partition(agent, ways[random.index(3)]));
                    add(lasts, Self::Repair(agent));
                }
                80..=91 => {
                    let ends = [Ends::Both, Ends::Agent, Ends::Coordinator];
                    add(Duration::ZERO, Self::Cut(agent, ends[random.index(3)]));
                }
                _ => {
                    add(Duration::ZERO, Self::Slow(agent, random.millis(100..=1_200)));
                    add(lasts, Self::Slow(agent, Duration::from_millis(60)));
                }
            }
        }
        faults.sort_by_key(|timed| timed.at);
        faults
    }

    pub(super) fn strike(&self, world: &mut World<'_>) {
        match *self {
            Self::Kill(agent) => world.kill_agent(agent),
            Self::PowerOff(agent) => {
                world.partition(agent, Way::Both);
                world.kill_agent(agent);
            }
            Self::Ask(agent) => world.ask_agent(agent),
            Self::Start(agent) => world.start_agent(agent),
            Self::KillCoordinator => world.kill_coordinator(),
            Self::StartCoordinator => world.start_coordinator(),
            Self::Hold(agent) => world.hold(agent),
            Self::Release(agent) => world.release(agent),
            Self::Partition(agent, way) => world.partition(agent, way),
            Self::Repair(agent) => world.repair(agent),
            Self::Cut(agent, ends) => world.cut(agent, ends),
            Self::Slow(agent, latency_max) => world.slow(agent, latency_max),
        }
    }
}
