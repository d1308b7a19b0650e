//! Health of a process of the load generator: a sample covers about one second, and totals add samples up. All values are integers, so that
//! totals read back from a journal equal the totals that were written. This module neither measures nor judges.

use serde::{Deserialize, Serialize};

use muster_stats::scheduling_delay::SchedulingDelay;

use crate::limits;

/// Measurements that an agent, or the coordinator, made of its own process since the previous sample. `None` is unknown on this system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthSample {
    pub time_ns: u64,
    /// Available CPU in thousandths of a core: the least of CPU affinity, cpuset and quota.
    pub cores_milli: u32,
    /// CPU time of the whole process.
    pub cpu_ns: Option<u64>,
    pub machine: Option<MachineTime>,
    /// Time for which a CPU quota kept the process's threads from running; 0 without a quota. Exceeds `time_ns` when several cores wait.
    pub throttled_ns: Option<u64>,
    /// Scheduling delay of the worker threads, or of a timer loop.
    pub late: SchedulingDelay,
    pub run_queue: Option<RunQueue>,
    pub starved: Starved,
    pub kept: Unacked,
    /// Longest round trip of a heartbeat, from sending it to receiving its acknowledgement.
    pub round_trip_ns: u64,
}

/// CPU time of all cores of the machine, for all processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineTime {
    /// Includes idle time.
    pub total_ns: u64,
    pub busy_ns: u64,
    /// Time that the hypervisor gave to other virtual machines.
    pub stolen_ns: u64,
}

/// Time that worker threads spent in the kernel's run queues while they ran queries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunQueue {
    /// Time in which a thread was ready to run but had no processor, summed over all worker threads.
    pub waited_ns: u64,
    /// How often a thread was given a processor.
    pub turns: u64,
    /// Sum of the service times of finished queries, including failed ones.
    pub in_flight_ns: u64,
}

/// Waits of workers that had no row to run, counted if a row arrived later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starved {
    pub times: u64,
    /// Summed over all workers.
    pub time_ns: u64,
    /// The worker with the longest total wait since the session began.
    pub worst: Option<StarvedWorker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StarvedWorker {
    pub index: u16,
    pub time_ns: u64,
}

/// Results that are not yet acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unacked {
    /// Highest number at any time.
    pub most: u64,
    /// Upper limit at that time.
    pub bound: u64,
}

/// Sum of health samples; takes a few hundred bytes, however long the run is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthTotals {
    pub time_ns: u64,
    /// From the latest sample.
    pub cores_milli: u32,
    pub cpu: Option<Cpu>,
    pub machine: Option<MachineTime>,
    /// Busy share of the machine in its busiest second, in thousandths.
    pub machine_worst_per_mille: u32,
    pub throttled: Option<Throttled>,
    pub late: SchedulingDelay,
    /// Absent in journals of agents that did not report it.
    #[serde(default)]
    pub run_queue: Option<RunQueue>,
    pub starved: Starved,
    pub kept: Unacked,
    pub round_trip_max_ns: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    pub used_ns: u64,
    /// CPU time that was available in the same period.
    pub allowed_ns: u64,
    /// Used ÷ available in the busiest second, in thousandths.
    pub worst_per_mille: u32,
    /// Total time of the samples that used more than [`limits::CPU_SHARE_MAX_PER_MILLE`] of the available CPU time.
    pub hot_ns: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttled {
    pub throttled_ns: u64,
    /// Time over which throttling was observed.
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

impl Unacked {
    /// Keeps the value that is closer to its bound.
    pub fn merge(&mut self, other: &Self) {
        let full = |unacked: &Self| u128::from(unacked.most) * 1_000_000 / u128::from(unacked.bound.max(1));
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

impl HealthTotals {
    pub fn add(&mut self, sample: &HealthSample) {
        self.merge(&Self::from(sample));
    }

    /// Adds the totals of another session, or of a later part of this one.
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

/// Each total carries its own observed time, so a sample that lacks one value still counts for the others.
fn merge_known<T: Copy>(own: &mut Option<T>, other: Option<&T>, merge: impl Fn(&mut T, &T)) {
    match (own.as_mut(), other) {
        (Some(own), Some(other)) => merge(own, other),
        (None, other) => *own = other.copied(),
        (Some(_), None) => {}
    }
}

impl From<&HealthSample> for HealthTotals {
    fn from(sample: &HealthSample) -> Self {
        let HealthSample {
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
        } = sample;
        // A fraction of a second is not meaningful for a maximum, because CPU time is counted in ticks of 10 ms.
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
