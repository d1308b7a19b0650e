//! Conversion of an agent's health samples.

use muster_core::health::{HealthSample, MachineTime, RunQueue, Starved, StarvedWorker, Unacked};
use muster_stats::scheduling_delay::{Parts, SchedulingDelay, TooManyClasses};

use crate::v1;
use crate::wire::{WireError, narrow};

impl TryFrom<v1::Health> for HealthSample {
    type Error = WireError;

    fn try_from(wire: v1::Health) -> Result<Self, WireError> {
        let v1::Health {
            time_ns,
            cores_milli,
            cpu_ns,
            machine,
            throttled_ns,
            late,
            late_max_ns,
            starved,
            starved_ns,
            starved_worst,
            kept_max,
            kept_bound,
            round_trip_ns,
            run_queue,
        } = wire;
        let late = SchedulingDelay::try_from(Parts { counts: late, max_ns: late_max_ns });
        let worst = starved_worst.map(|v1::StarvedWorker { worker, time_ns }| {
            narrow("health.starved_worst.worker", worker).map(|index| StarvedWorker { index, time_ns })
        });
        Ok(Self {
            time_ns,
            cores_milli,
            cpu_ns,
            machine: machine.map(|v1::MachineTime { total_ns, busy_ns, stolen_ns }| MachineTime {
                total_ns,
                busy_ns,
                stolen_ns,
            }),
            throttled_ns,
            late: late.map_err(|TooManyClasses(found)| WireError::OutOfRange {
                field: "health.late",
                value: format!("{found} classes"),
            })?,
            run_queue: run_queue.map(Into::into),
            starved: Starved { times: starved, time_ns: starved_ns, worst: worst.transpose()? },
            kept: Unacked { most: kept_max, bound: kept_bound },
            round_trip_ns,
        })
    }
}

impl From<HealthSample> for v1::Health {
    fn from(sample: HealthSample) -> Self {
        let HealthSample {
            time_ns,
            cores_milli,
            cpu_ns,
            machine,
            throttled_ns,
            late,
            run_queue,
            starved: Starved { times, time_ns: starved_ns, worst },
            kept: Unacked { most, bound },
            round_trip_ns,
        } = sample;
        let Parts { counts, max_ns } = late.into();
        Self {
            time_ns,
            cores_milli,
            cpu_ns,
            machine: machine.map(|MachineTime { total_ns, busy_ns, stolen_ns }| v1::MachineTime {
                total_ns,
                busy_ns,
                stolen_ns,
            }),
            throttled_ns,
            late: counts,
            late_max_ns: max_ns,
            starved: times,
            starved_ns,
            starved_worst: worst
                .map(|StarvedWorker { index, time_ns }| v1::StarvedWorker { worker: index.into(), time_ns }),
            kept_max: most,
            kept_bound: bound,
            round_trip_ns,
            run_queue: run_queue.map(Into::into),
        }
    }
}

impl From<v1::RunQueue> for RunQueue {
    fn from(wire: v1::RunQueue) -> Self {
        let v1::RunQueue { waited_ns, turns, in_flight_ns } = wire;
        Self { waited_ns, turns, in_flight_ns }
    }
}

impl From<RunQueue> for v1::RunQueue {
    fn from(run_queue: RunQueue) -> Self {
        let RunQueue { waited_ns, turns, in_flight_ns } = run_queue;
        Self { waited_ns, turns, in_flight_ns }
    }
}

#[cfg(test)]
mod tests {
    use muster_stats::scheduling_delay::CLASSES_MAX;
    use prost::Message;

    use super::*;

    fn second() -> HealthSample {
        let mut late = SchedulingDelay::default();
        (0..200).for_each(|wake| late.record(60_000 + wake * 1_000));
        HealthSample {
            time_ns: 1_000_123_456,
            cores_milli: 1_500,
            cpu_ns: Some(234_567_890),
            machine: Some(MachineTime { total_ns: 2_000_000_000, busy_ns: 1_700_000_000, stolen_ns: 0 }),
            throttled_ns: Some(0),
            late,
            run_queue: Some(RunQueue { waited_ns: 31_000_000, turns: 9_000, in_flight_ns: 1_900_000_000 }),
            starved: Starved {
                times: 2,
                time_ns: 31_000_000,
                worst: Some(StarvedWorker { index: 3, time_ns: 20_000_000 }),
            },
            kept: Unacked { most: 250, bound: 500 },
            round_trip_ns: 412_000,
        }
    }

    #[test]
    fn a_sample_survives_the_round_trip_in_less_than_180_bytes() {
        let wire = v1::Health::from(second());
        let bytes = wire.encode_to_vec();
        assert!(bytes.len() < 180, "{} bytes", bytes.len());
        assert_eq!(HealthSample::try_from(v1::Health::decode(&bytes[..]).unwrap()), Ok(second()));
        let unknown =
            HealthSample { cpu_ns: None, machine: None, throttled_ns: None, run_queue: None, ..second() };
        assert_eq!(HealthSample::try_from(v1::Health::from(unknown.clone())), Ok(unknown));
    }

    #[test]
    fn too_many_classes_are_refused() {
        let wire = v1::Health { late: vec![1; CLASSES_MAX + 1], ..v1::Health::from(second()) };
        let error = HealthSample::try_from(wire).unwrap_err();
        assert!(error.to_string().contains("'health.late' has the value '141 classes'"), "{error}");
    }
}
