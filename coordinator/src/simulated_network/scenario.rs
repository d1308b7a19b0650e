//! The scenario of a seed: the run, its rows and its timed faults. It is drawn before the simulation starts.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::SlotId;

use super::combinations::Combination;
use super::faults::{Fault, Timed};
use super::random::Random;
use crate::spec::OnAgentLoss;

pub(super) struct Scenario {
    pub(super) slots: u16,
    /// The first `slots` agents start at the beginning.
    pub(super) agents: Vec<Agent>,
    /// Workers of each agent.
    pub(super) workers: u16,
    pub(super) rows: Arc<Vec<Row>>,
    /// `--duration`: the rows are repeated for this long.
    pub(super) duration: Option<Duration>,
    pub(super) on_agent_loss: OnAgentLoss,
    pub(super) slot_grace: Duration,
    /// `--timeout`. No query takes this long. If `refuses` is set, a slot's new owner waits this long.
    pub(super) timeout: Option<Duration>,
    /// The database denies permission to terminate other backends.
    pub(super) refuses: bool,
    pub(super) latency_max: Duration,
    /// Sorted by time.
    pub(super) faults: Vec<Timed>,
    /// The seed of the random numbers drawn during the simulation.
    pub(super) seed: u64,
}

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) starts_after: Duration,
    pub(super) slot: Option<SlotId>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) host: String,
    pub(super) takes: Duration,
    pub(super) fails: bool,
}

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let slots = random.pick(&[2, 3, 4]);
        let spares = random.pick(&[0, 1, 2]);
        let names_slots = random.chance(20);
        let agents = (0..slots + spares)
            .map(|index| {
                let is_spare = index >= slots;
                Agent {
                    starts_after: random.millis(if is_spare { 0..=9_000 } else { 0..=300 }),
                    slot: (names_slots && !is_spare).then(|| SlotId::new(index)),
                }
            })
            .collect::<Vec<_>>();
        let refuses = random.chance(20);
        let combination = Combination::draw(&mut random);
        let rows = rows(&mut random, combination.is_some_and(Combination::needs_slow_host));
        let on_agent_loss = if random.chance(80) { OnAgentLoss::Reassign } else { OnAgentLoss::Wait };
        let mut faults = Fault::draw(&mut random.fork(), agents.len());
        let workers = random.pick(&[1, 2]);
        let slot_grace = random.millis(1_000..=8_000);
        if let Some(combination) = combination {
            faults.extend(combination.faults(&mut random.fork(), agents.len(), slot_grace));
            faults.sort_by_key(|timed| timed.at);
        }
        Self {
            slots,
            workers,
            rows: Arc::new(rows),
            duration: None,
            on_agent_loss,
            slot_grace,
            timeout: refuses.then_some(Duration::from_secs(8)),
            refuses,
            latency_max: random.millis(1..=60),
            faults,
            seed: random.between(0..=u64::MAX - 1),
            agents,
        }
    }

    /// A short run without faults that is ended by its duration.
    pub(super) fn short(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let row = |number| Row {
            host: format!("host-{}", number % 10),
            takes: random.millis(1..=20),
            fails: false,
        };
        let rows = (0..40).map(row).collect();
        let agent = |starts_after| Agent { starts_after, slot: None };
        Self {
            slots: 2,
            workers: random.pick(&[1, 2]),
            agents: (0..2).map(|_| agent(random.millis(0..=300))).collect(),
            rows: Arc::new(rows),
            duration: Some(random.millis(150..=250)),
            on_agent_loss: OnAgentLoss::Reassign,
            slot_grace: Duration::from_secs(8),
            timeout: None,
            refuses: false,
            latency_max: random.millis(0..=20),
            faults: Vec::new(),
            seed: random.between(0..=u64::MAX - 1),
        }
    }

    /// The content of the workload file.
    pub(super) fn csv(&self) -> String {
        let mut csv = "hostname,takes_ms,fails\n".to_owned();
        for Row { host, takes, fails } in self.rows.iter() {
            writeln!(csv, "{host},{},{fails}", takes.as_millis()).expect("writing to a String does not fail");
        }
        csv
    }
}

/// Draws rows for some seconds of work. Most queries are short; some take longer than a lease. All rows of a slow host are long.
fn rows(random: &mut Random, has_slow_host: bool) -> Vec<Row> {
    let hosts = random.between(3..=8);
    let count = random.between(if has_slow_host { 20..=45 } else { 30..=90 });
    let longest_ms = random.between(50..=600);
    let row = |_| {
        let host = random.between(1..=hosts);
        let takes = match random.between(0..=99) {
            _ if has_slow_host && host == 1 => random.millis(2_000..=7_500),
            0..=3 => random.millis(3_500..=7_000),
            4..=7 => random.millis(500..=2_500),
            _ => random.millis(1..=longest_ms),
        };
        Row { host: format!("host-{host}"), takes, fails: random.chance(5) }
    };
    (0..count).map(row).collect()
}
