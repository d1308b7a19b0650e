//! The times of one worker's completed rows, in the classes that a report distinguishes: by database, by statement, and the first pass from
//! the later ones. Each time takes 4 bytes and is stored in order of arrival. If rows have due times, both parts of lag are stored with the
//! service time.

use std::collections::BTreeMap;

use muster_core::passes::Passes;
use muster_core::sample::Sample;
use muster_stats::latency::Samples;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Class {
    /// The database: 0 for the first, 1 for the second.
    pub(crate) target: u32,
    /// Position among the run's statements.
    pub(crate) statement: u16,
    /// True after the first pass, when the data has been read before.
    pub(crate) is_later_pass: bool,
    /// True for the first executions on a connection, for which PostgreSQL creates custom plans.
    pub(crate) is_early: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    pub(crate) classes: BTreeMap<Class, Timed>,
    capacity: usize,
    has_due_times: bool,
}

/// Nanoseconds, in order of arrival.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timed {
    pub(crate) service: Samples,
    /// The two parts of lag; as long as `service`, or empty in a closed loop.
    pub(crate) queueing: Samples,
    pub(crate) generator_delay: Samples,
    /// The number of completed rows, including those whose times are not kept.
    pub(crate) completed: u64,
    pub(crate) failed: u64,
}

impl Class {
    /// Returns true for the first or only database, to which the report's figures refer.
    pub(crate) fn is_first(&self) -> bool {
        self.target == 0
    }

    pub(crate) fn of(measurement: &Sample, passes: &Passes) -> Self {
        Self {
            target: passes.target_of(measurement.row),
            statement: measurement.execution.statement,
            is_later_pass: passes.pass_of(measurement.row) > 0,
            is_early: measurement.execution.is_early(),
        }
    }
}

impl Times {
    /// `capacity` is the expected number of rows. The memory is reserved when the first row is added.
    pub(crate) fn with_capacity(capacity: usize, has_due_times: bool) -> Self {
        Self { classes: BTreeMap::new(), capacity, has_due_times }
    }

    /// Adds a completed row's times.
    pub(crate) fn add(&mut self, class: Class, measurement: &Sample) {
        let has_due_times = self.has_due_times;
        let timed = self.class(class);
        timed.service.push(measurement.service_time_ns);
        if has_due_times {
            timed.queueing.push(measurement.lag.queueing_ns);
            timed.generator_delay.push(measurement.lag.generator_delay_ns);
        }
    }

    /// Counts a row, whether or not its times are kept.
    pub(crate) fn count(&mut self, class: Class, is_completed: bool) {
        let timed = self.class(class);
        match is_completed {
            true => timed.completed += 1,
            false => timed.failed += 1,
        }
    }

    fn class(&mut self, class: Class) -> &mut Timed {
        let has_due_times = self.has_due_times;
        self.classes.entry(class).or_insert_with(|| {
            // Apart from a few early executions there is usually one class.
            let capacity = if class.is_early { 0 } else { std::mem::take(&mut self.capacity) };
            let lags = if has_due_times { capacity } else { 0 };
            Timed {
                service: Samples::with_capacity(capacity),
                queueing: Samples::with_capacity(lags),
                generator_delay: Samples::with_capacity(lags),
                ..Timed::default()
            }
        })
    }

    /// The number of samples in all classes.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.classes.values().map(|timed| timed.service.len()).sum()
    }
}
