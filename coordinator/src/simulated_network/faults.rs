//! The faults, and how they are drawn at random.

use std::time::Duration;

use super::random::Random;

/// A fault and its time since the start of the simulation.
#[derive(Debug, Clone)]
pub(super) struct Timed {
    pub(super) at: Duration,
    pub(super) fault: Fault,
}

/// The kinds of faults. Agents are given by their index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Kills the agent with SIGKILL; the operating system closes its connections.
    Kill(usize),
    /// The agent's machine loses power: its connections are not closed.
    PowerOff(usize),
    /// Sends SIGTERM to the agent.
    Terminate(usize),
    Start(usize),
    KillCoordinator,
    StartCoordinator,
    /// Messages between the agent and the coordinator are delayed until `Release`.
    Hold(usize),
    Release(usize),
    /// Messages between the agent and the coordinator are lost, and so is everything that follows on the same connection.
    Partition(usize, Direction),
    Repair(usize),
    /// The agent's connections break, and data in flight is lost.
    Cut(usize, Ends),
    /// Sets the maximum latency of a message.
    Slow(usize, Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Both,
    ToAgent,
    ToCoordinator,
}

/// The ends that notice a cut connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Both,
    Agent,
    Coordinator,
}

impl Fault {
    /// Draws one to six faults, each with the event that ends it: every killed process is restarted, and every link is repaired.
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
                    add(Duration::ZERO, Self::Terminate(agent));
                    add(lasts, Self::Start(agent));
                }
                38..=52 => {
                    add(Duration::ZERO, Self::KillCoordinator);
                    add(lasts, Self::StartCoordinator);
                }
                53..=64 => {
                    // One in three is about as long as the lease.
                    let lasts = if random.chance(33) { random.millis(1_800..=3_600) } else { lasts };
                    add(Duration::ZERO, Self::Hold(agent));
                    add(lasts, Self::Release(agent));
                }
                65..=79 => {
                    let directions = [Direction::Both, Direction::ToAgent, Direction::ToCoordinator];
                    add(Duration::ZERO, Self::Partition(agent, random.pick(&directions)));
                    add(lasts, Self::Repair(agent));
                }
                80..=91 => {
                    let ends = random.pick(&[Ends::Both, Ends::Agent, Ends::Coordinator]);
                    cut(agent, ends).for_each(|(after, fault)| add(after, fault));
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
}

/// The faults, with their delays, by which the agent's connections break. The end that does not notice gets no message about it.
pub(super) fn cut(agent: usize, ends: Ends) -> impl Iterator<Item = (Duration, Fault)> {
    // Long enough for the other end to close its connection.
    const CLOSING: Duration = Duration::from_millis(20);
    let hidden = match ends {
        Ends::Both => None,
        Ends::Agent => Some(Direction::ToCoordinator),
        Ends::Coordinator => Some(Direction::ToAgent),
    };
    let hides = hidden.map(|direction| (Duration::ZERO, Fault::Partition(agent, direction)));
    let repairs = hidden.map(|_| (CLOSING, Fault::Repair(agent)));
    hides.into_iter().chain([(Duration::ZERO, Fault::Cut(agent, ends))]).chain(repairs)
}
