//! How a process of the load generator fared: one interval of about a second, and what intervals add up to. Integers all through, so
//! that a sum read back from a journal is the sum that was written. Nothing is measured here, and nothing is judged.

mod told;

use serde::{Deserialize, Serialize};

use crate::lateness::Lateness;
use crate::limits;

/// What an agent, or the coordinator, saw of itself since the last time. `None` is what the system does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interval {
    pub time_ns: u64,
    /// What the process may use at most, in thousandths of a core: affinity, cpuset and quota.
    pub cores_milli: u32,
    /// CPU time of the whole process.
    pub cpu_ns: Option<u64>,
    pub machine: Option<MachineTime>,
    /// For so long a quota kept threads of the process from running; 0 without a quota. Above `time_ns` when several cores wait.
    pub throttled_ns: Option<u64>,
    /// Of threads, or of a loop, that were due.
    pub late: Lateness,
    pub run_queue: Option<RunQueue>,
    pub starved: Starved,
    pub kept: Kept,
    /// The slowest beat from its sending to its acknowledgement.
    pub round_trip_ns: u64,
}

/// CPU time of all cores of the machine, whoever used it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTime {
    /// Idle time included.
    pub total_ns: u64,
    pub busy_ns: u64,
    /// The hypervisor gave it to others.
    pub stolen_ns: u64,
}

/// Worker threads on the run queues of the kernel while they ran queries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunQueue {
    /// Ready to run and without a processor; of all worker threads together.
    pub waited_ns: u64,
    /// How often one of them got a processor.
    pub turns: u64,
    /// Service times of the queries that ended, whatever became of them.
    pub in_flight_ns: u64,
}

/// Waits of workers that had no row although one came later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starved {
    pub times: u64,
    /// Of all workers together.
    pub time_ns: u64,
    /// The worker that waited longest since the session began.
    pub worst: Option<StarvedWorker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StarvedWorker {
    pub index: u16,
    pub time_ns: u64,
}

/// Results that were not acknowledged yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The most at any time.
    pub most: u64,
    /// How many there might have been at that time.
    pub bound: u64,
}

/// Everything that intervals add up to; a few hundred bytes, however long the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub time_ns: u64,
    /// The latest.
    pub cores_milli: u32,
    pub cpu: Option<Cpu>,
    pub machine: Option<MachineTime>,
    /// The busiest second of the machine.
    pub machine_worst_per_mille: u32,
    pub throttled: Option<Throttled>,
    pub late: Lateness,
    /// Journals of agents that did not tell it have none.
    #[serde(default)]
    pub run_queue: Option<RunQueue>,
    pub starved: Starved,
    pub kept: Kept,
    pub round_trip_max_ns: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    pub used_ns: u64,
    /// What it might have used in the same time.
    pub allowed_ns: u64,
    /// Of its busiest second, used ÷ allowed.
    pub worst_per_mille: u32,
    /// In intervals that used more than [`limits::CPU_SHARE_MAX_PER_MILLE`] of what was allowed.
    pub hot_ns: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    pub throttled_ns: u64,
    /// The time in which it was looked at.
    pub of_ns: u64,
}

impl MachineTime {
    fn merge(&mut self, other: &Self) {
        let Self { total_ns, busy_ns, stolen_ns } = other;
        self.total_ns = self.total_ns.saturating_add(*total_ns);
        self.busy_ns = self.busy_ns.saturating_add(*busy_ns);
        self.stolen_ns = self.stolen_ns.saturating_add(*stolen_ns);
    }
}

impl RunQueue {
    fn merge(&mut self, other: &Self) {
        let Self { waited_ns, turns, in_flight_ns } = other;
        self.waited_ns = self.waited_ns.saturating_add(*waited_ns);
        self.turns = self.turns.saturating_add(*turns);
        self.in_flight_ns = self.in_flight_ns.saturating_add(*in_flight_ns);
    }
}

impl Starved {
    fn merge(&mut self, other: &Self) {
        let Self { times, time_ns, worst } = other;
        self.times = self.times.saturating_add(*times);
        self.time_ns = self.time_ns.saturating_add(*time_ns);
        let time_of = |worker: &Option<StarvedWorker>| worker.map_or(0, |worker| worker.time_ns);
        if time_of(worst) > time_of(&self.worst) {
            self.worst = *worst;
        }
    }
}

impl Kept {
    /// The one that was nearer to its bound.
    pub fn merge(&mut self, other: &Self) {
        let full = |kept: &Self| u128::from(kept.most) * 1_000_000 / u128::from(kept.bound.max(1));
        if full(other) > full(self) {
            *self = *other;
        }
    }
}

impl Cpu {
    fn merge(&mut self, other: &Self) {
        let Self { used_ns, allowed_ns, worst_per_mille, hot_ns } = other;
        self.used_ns = self.used_ns.saturating_add(*used_ns);
        self.allowed_ns = self.allowed_ns.saturating_add(*allowed_ns);
        self.worst_per_mille = self.worst_per_mille.max(*worst_per_mille);
        self.hot_ns = self.hot_ns.saturating_add(*hot_ns);
    }
}

impl Throttled {
    fn merge(&mut self, other: &Self) {
        let Self { throttled_ns, of_ns } = other;
        self.throttled_ns = self.throttled_ns.saturating_add(*throttled_ns);
        self.of_ns = self.of_ns.saturating_add(*of_ns);
    }
}

impl Sum {
    pub fn add(&mut self, interval: &Interval) {
        self.merge(&Self::from(interval));
    }

    /// Of another session, or of a later part of this one.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            time_ns,
            cores_milli,
            cpu,
            machine,
            machine_worst_per_mille,
            throttled,
            late,
            run_queue,
            starved,
            kept,
            round_trip_max_ns,
        } = other;
        self.time_ns = self.time_ns.saturating_add(*time_ns);
        self.cores_milli = *cores_milli;
        merge_known(&mut self.cpu, cpu.as_ref(), Cpu::merge);
        merge_known(&mut self.machine, machine.as_ref(), MachineTime::merge);
        self.machine_worst_per_mille = self.machine_worst_per_mille.max(*machine_worst_per_mille);
        merge_known(&mut self.throttled, throttled.as_ref(), Throttled::merge);
        self.late.merge(late);
        merge_known(&mut self.run_queue, run_queue.as_ref(), RunQueue::merge);
        self.starved.merge(starved);
        self.kept.merge(kept);
        self.round_trip_max_ns = self.round_trip_max_ns.max(*round_trip_max_ns);
    }
}

/// Each sum has its own measure beside it, so what one of them does not know costs the other nothing.
fn merge_known<T: Copy>(own: &mut Option<T>, other: Option<&T>, merge: impl Fn(&mut T, &T)) {
    match (own.as_mut(), other) {
        (Some(own), Some(other)) => merge(own, other),
        (None, other) => *own = other.copied(),
        (Some(_), None) => {}
    }
}

impl From<&Interval> for Sum {
    fn from(interval: &Interval) -> Self {
        let Interval {
            time_ns,
            cores_milli,
            cpu_ns,
            machine,
            throttled_ns,
            late,
            run_queue,
            starved,
            kept,
            round_trip_ns,
        } = interval;
        // A part of a second says little: ticks are 10 ms long.
        let is_whole = *time_ns >= limits::HEALTH_SECOND_NS_MIN;
        let allowed_ns = scaled(*time_ns, *cores_milli, 1_000);
        let cpu = cpu_ns.map(|used_ns| {
            let share = per_mille(used_ns, allowed_ns);
            let is_hot = share > limits::CPU_SHARE_MAX_PER_MILLE;
            Cpu {
                used_ns,
                allowed_ns,
                worst_per_mille: if is_whole { share } else { 0 },
                hot_ns: if is_hot { *time_ns } else { 0 },
            }
        });
        let busiest = machine.filter(|_| is_whole).map_or(0, |time| per_mille(time.busy_ns, time.total_ns));
        Self {
            time_ns: *time_ns,
            cores_milli: *cores_milli,
            cpu,
            machine: *machine,
            machine_worst_per_mille: busiest,
            throttled: throttled_ns.map(|throttled_ns| Throttled { throttled_ns, of_ns: *time_ns }),
            late: late.clone(),
            run_queue: *run_queue,
            starved: *starved,
            kept: *kept,
            round_trip_max_ns: *round_trip_ns,
        }
    }
}

fn scaled(value: u64, by: u32, of: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(of)).unwrap_or(u64::MAX)
}

fn per_mille(part: u64, whole: u64) -> u32 {
    let share = u128::from(part) * 1_000 / u128::from(whole.max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result;

    const SECOND: u64 = 1_000_000_000;

    /// A second on two cores, of which the process used so many per mille.
    fn second(per_mille: u64) -> Interval {
        let total_ns = 2 * SECOND;
        Interval {
            time_ns: SECOND,
            cores_milli: 2_000,
            cpu_ns: Some(total_ns * per_mille / 1_000),
            machine: Some(MachineTime { total_ns, busy_ns: SECOND, stolen_ns: SECOND / 10 }),
            throttled_ns: Some(0),
            ..Interval::default()
        }
    }

    fn sum<'a>(intervals: impl IntoIterator<Item = &'a Interval>) -> Sum {
        let mut sum = Sum::default();
        intervals.into_iter().for_each(|interval| sum.add(interval));
        sum
    }

    #[test]
    fn shares_are_of_what_the_process_may_use_and_of_the_machine() {
        let health = result::ProcessHealth::from(&sum(&[second(100), second(900), second(200)]));
        assert_eq!((health.watched_ms, health.cores), (3_000.0, 2.0));
        assert_eq!((health.cpu_share, health.cpu_share_worst), (Some(0.4), Some(0.9)));
        assert_eq!(health.cpu_hot_ms, Some(1_000.0));
        assert_eq!((health.machine_busy_share, health.steal_share), (Some(0.5), Some(0.05)));
        assert_eq!(health.throttled_share, Some(0.0));
    }

    #[test]
    fn a_run_below_a_second_has_an_average_and_no_worst_second() {
        let part = Interval { time_ns: SECOND / 10, cpu_ns: Some(SECOND / 10), ..second(0) };
        let health = result::ProcessHealth::from(&sum(&[part]));
        assert_eq!((health.cpu_share, health.cpu_share_worst), (Some(0.5), Some(0.5)));
    }

    #[test]
    fn what_the_system_does_not_tell_stays_unknown() {
        let unknown = Interval { cpu_ns: None, machine: None, throttled_ns: None, ..second(0) };
        let health = result::ProcessHealth::from(&sum([&unknown]));
        assert_eq!((health.cpu_share, health.machine_busy_share, health.steal_share), (None, None, None));
        assert_eq!((health.throttled_share, health.late_ms), (None, None));
        // A successor on another system knows it, of its own time alone.
        let health = result::ProcessHealth::from(&sum(&[unknown, second(500)]));
        assert_eq!((health.cpu_share, health.steal_share), (Some(0.5), Some(0.05)));
    }

    #[test]
    fn a_sum_survives_json_and_does_not_depend_on_where_it_was_cut() {
        let starved =
            |index, time_ns| Starved { times: 1, time_ns, worst: Some(StarvedWorker { index, time_ns }) };
        let mut late = Lateness::default();
        late.record(70_000);
        let intervals = [
            Interval { starved: starved(3, 50), kept: Kept { most: 5, bound: 10 }, late, ..second(300) },
            Interval {
                starved: starved(1, 20),
                kept: Kept { most: 9, bound: 100 },
                run_queue: Some(RunQueue { waited_ns: 5, turns: 1, in_flight_ns: 20 }),
                ..second(400)
            },
            Interval { round_trip_ns: 7, ..second(100) },
        ];
        let whole = sum(&intervals);
        let (first, rest) = intervals.split_at(1);
        let mut parts: Sum = serde_json::from_str(&serde_json::to_string(&sum(first)).unwrap()).unwrap();
        parts.merge(&sum(rest));
        assert_eq!(parts, whole);
        assert_eq!((whole.starved.times, whole.starved.time_ns), (2, 70));
        assert_eq!(whole.starved.worst.unwrap().index, 3);
        assert_eq!(whole.kept, Kept { most: 5, bound: 10 }, "half full is fuller than 9 of 100");
        let agent = whole.of_agent(7e-5);
        assert_eq!((agent.starved_share, agent.starved_times), (0.5, 2));
    }

    fn share(run_queue: RunQueue) -> f64 {
        result::RunQueue::from(run_queue).share
    }

    #[test]
    fn the_share_of_waits_is_of_the_time_in_flight() {
        let run_queue = RunQueue { waited_ns: 50, turns: 9, in_flight_ns: 8_000 };
        assert_eq!(share(run_queue), 50.0 / 8_000.0);
        // Of a query in flight when the session was lost there is a wait and no time.
        assert_eq!(share(RunQueue { waited_ns: 9_000, ..run_queue }), 1.0);
        assert_eq!(share(RunQueue::default()), 0.0);
    }

    #[test]
    fn a_sum_that_was_written_without_run_queues_is_read() {
        let mut json = serde_json::to_value(sum(&[second(300)])).unwrap();
        json.as_object_mut().unwrap().remove("run_queue").unwrap();
        let read: Sum = serde_json::from_value(json).unwrap();
        assert_eq!(read, sum(&[second(300)]));
        assert!(read.of_agent(1.0).run_queue.is_none(), "unknown, and not 0");
    }
}
