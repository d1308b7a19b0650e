//! The parameters of one seed: the size of the run, the duration of its queries, its policy after a loss, and its faults.

use std::time::Duration;

use muster_common::limits;

use crate::faults::Fault;
use crate::random::Random;
use crate::stories::Story;

/// The server's statement timeout; longer than any query here takes.
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
    /// When each agent starts. Agents beyond the number of slots are standbys.
    pub(crate) agents: Vec<Duration>,
    pub(crate) hosts: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) policy: Policy,
    /// True if the database lets agents end each other's backends.
    pub(crate) may_end_backends: bool,
    /// The longest time that the journal takes to reach the disk.
    pub(crate) fsync_ms: u64,
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// The latest end of the run.
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
        let story = Story::choose(random);
        let slots = if story == Story::Relapse { 2 } else { random.between(2..=5) };
        let workers = random.between(1..=2);
        let agents = agents(random, story, slots);
        let hosts: Vec<String> = (0..random.between(3..=8)).map(|number| format!("host_{number}")).collect();
        let rows = rows(random, story, hosts.len());
        let work: Duration = rows.iter().map(|row| row.service_time).sum();
        // There are few hosts, so the busiest worker has about three times its share.
        let busy = u64::try_from(work.as_millis()).expect("some minutes") * 3 / (slots * workers);
        let (faults, healed_at) = story.faults(random, agents.len(), busy.clamp(3_000, 30_000));
        let policy = match random.between(0..=9) {
            0..=6 => Policy::Reassign,
            7..=8 => Policy::Wait,
            _ => Policy::Fail,
        };
        Self {
            slots: u16::try_from(slots).expect("at most five"),
            workers: u16::try_from(workers).expect("at most two"),
            agents,
            hosts,
            policy: if story == Story::Relapse { Policy::Reassign } else { policy },
            may_end_backends: random.chance(80),
            fsync_ms: if random.chance(20) { random.between(100..=600) } else { 40 },
            faults,
            // One worker runs everything, every row runs twice, and every wait runs to its end.
            deadline: healed_at + work * 2 + limits::JOIN_TIMEOUT * 2,
            rows,
        }
    }
}

fn agents(random: &mut Random, story: Story, slots: u64) -> Vec<Duration> {
    let standbys = match story {
        Story::Relapse | Story::Poison => 0,
        Story::Unnoticed => 1,
        Story::Chance | Story::ChangeOfSlot | Story::LongOutage if random.chance(40) => random.between(1..=2),
        Story::Chance | Story::ChangeOfSlot | Story::LongOutage => 0,
    };
    let latest = if story == Story::Unnoticed || random.chance(50) { 1_000 } else { 20_000 };
    let first = (0..slots).map(|_| 300).collect::<Vec<_>>();
    let bounds = first.into_iter().chain((0..standbys).map(|_| latest));
    bounds.map(|latest| random.millis(0..=latest)).collect()
}

fn rows(random: &mut Random, story: Story, hosts: usize) -> Vec<Row> {
    let long = random.between(2..=40);
    let slow_host =
        (matches!(story, Story::Relapse | Story::Poison) || random.chance(10)).then(|| random.index(hosts));
    let count = random.between(20..=80);
    (0..count).map(|_| row(random, hosts, long, slow_host)).collect()
}

/// Most queries are short. Either `long` percent of them take up to 8 s, or those of one slow host do.
fn row(random: &mut Random, hosts: usize, long: u64, slow_host: Option<usize>) -> Row {
    let host = random.index(hosts);
    let service_time = match random.between(0..=99) {
        _ if slow_host == Some(host) => random.millis(6_500..=8_000),
        drawn if drawn < long && slow_host.is_none() => random.millis(1_000..=8_000),
        drawn if drawn < 50 => random.millis(50..=800),
        _ => random.millis(1..=50),
    };
    Row { host, service_time, fails: random.chance(4) }
}
