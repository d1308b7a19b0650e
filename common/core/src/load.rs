//! The load of a run: how its rows are sent to the database, how often, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::passes::{Passes, TooManyPasses};
use crate::protocol::{PlanCacheMode, Protocol, ResultFormat};
use crate::schedule::Schedule;
use crate::search;

/// How the rows are sent to the database, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub protocol: Protocol,
    /// `None` keeps the server's setting.
    pub plan_cache_mode: Option<PlanCacheMode>,
    /// `None` is binary, or text for a statement with a type that has no binary output.
    #[serde(default)]
    pub results: Option<ResultFormat>,
    /// `None` is a closed loop: a row is due when its worker is free.
    pub schedule: Option<Schedule>,
    /// Pause between two queries of a worker, in a closed loop.
    pub think_time: Duration,
    pub warmup: Option<Warmup>,
    /// How often every record runs; at least 1.
    pub repeat: u32,
    /// The run ends after this time, however often the records have run.
    pub duration: Option<Duration>,
    /// Searches for the highest rate that meets an objective; there is no other schedule then.
    #[serde(default)]
    pub search: Option<search::Plan>,
    /// Seed of all random choices.
    pub seed: u64,
    /// Runs every row against a second database as well.
    #[serde(default)]
    pub versus: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            plan_cache_mode: None,
            results: None,
            schedule: None,
            think_time: Duration::ZERO,
            warmup: None,
            repeat: 1,
            duration: None,
            search: None,
            seed: 0,
            versus: false,
        }
    }
}

/// Queries that run before the start and are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// The first rows of the workload; starts again from the beginning if there are fewer.
    Rows(u32),
    Time(Duration),
}

impl Load {
    /// # Errors
    /// Fails if the run would have more queries than one run can count.
    pub fn passes(&self, records: u32) -> Result<Passes, TooManyPasses> {
        let targets = if self.versus { 2 } else { 1 };
        match self.duration.is_some() || self.search.is_some() {
            true => Ok(Passes::endless(records, targets, self.seed)),
            false => Passes::try_new(records, targets, self.repeat, self.seed),
        }
    }

    /// Returns the passes of a warm-up with this many rows; whole passes if that is more than one.
    ///
    /// # Errors
    /// Fails if there are not enough row ids.
    pub fn warmup_passes(&self, records: u32, rows: u32) -> Result<Passes, TooManyPasses> {
        let targets = if self.versus { 2 } else { 1 };
        Passes::try_new(records, targets, rows.div_ceil(records.max(1)), self.seed)
    }

    /// Returns true if rows have due times, so that lag is measured.
    pub fn has_due_times(&self) -> bool {
        self.schedule.is_some() || self.search.is_some() || !self.think_time.is_zero()
    }
}
