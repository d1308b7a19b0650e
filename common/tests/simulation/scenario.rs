//! What one seed stands for: how large the run is, what its queries cost, how it treats a loss, and which faults come when.

use std::time::Duration;

use muster_common::limits;

use crate::faults::{self, Fault};
use crate::random::Random;

/// The server cancels a query after this; longer than any query here takes.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(9);

/// `--on-agent-loss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Reassign,
    Wait,
    Fail,
}

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) slots: u16,
    pub(crate) workers: u16,
    /// When each agent starts; some are late and stand by.
    pub(crate) agents: Vec<Duration>,
    pub(crate) hosts: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) policy: Policy,
    /// Whether the database lets agents end each other's backends.
    pub(crate) may_end_backends: bool,
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// From now on nothing breaks any more.
    pub(crate) calm_at: Duration,
    /// No run takes longer than this.
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) host: usize,
    pub(crate) service_time: Duration,
    pub(crate) fails: bool,
}

impl Scenario {
    pub(crate) fn new(random: &mut Random) -> Self {
        let slots = random.between(2..=5);
        let late = if random.chance(40) { random.between(1..=2) } else { 0 };
        let mut agents: Vec<Duration> = (0..slots).map(|_| random.millis(0..=300)).collect();
        agents.extend((0..late).map(|_| random.millis(0..=20_000)));
        let hosts: Vec<String> = (0..random.between(3..=8)).map(|number| format!("host_{number}")).collect();
        let long = random.between(2..=25);
        let rows = (0..random.between(20..=80)).map(|_| row(random, hosts.len(), long)).collect::<Vec<_>>();
        let policy = match random.between(0..=9) {
            0..=6 => Policy::Reassign,
            7..=8 => Policy::Wait,
            _ => Policy::Fail,
        };
        let calm_at = random.millis(3_000..=40_000);
        let work: Duration = rows.iter().map(|row| row.service_time).sum();
        Self {
            slots: u16::try_from(slots).expect("at most five"),
            workers: u16::try_from(random.between(1..=2)).expect("at most two"),
            faults: faults::schedule(random, agents.len(), calm_at),
            agents,
            hosts,
            rows,
            policy,
            may_end_backends: random.chance(80),
            calm_at,
            // One worker alone, every row twice, and every wait that there is.
            deadline: calm_at + work * 2 + limits::JOIN_TIMEOUT * 2,
        }
    }
}

/// Most queries are short; `long` in a hundred take up to 8 s.
fn row(random: &mut Random, hosts: usize, long: u64) -> Row {
    let service_time = match random.between(0..=99) {
        drawn if drawn < long => random.millis(1_000..=8_000),
        drawn if drawn < 50 => random.millis(50..=800),
        _ => random.millis(1..=50),
    };
    Row { host: random.index(hosts), service_time, fails: random.chance(4) }
}
