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
    /// `None`: as the server has it.
    pub plan_cache_mode: Option<PlanCacheMode>,
    /// `None`: binary, and text for a statement with a type that has no binary output.
    #[serde(default)]
    pub results: Option<ResultFormat>,
    /// `None` is a closed loop: a row is due when its worker is free.
    pub schedule: Option<Schedule>,
    /// Between a query and the next one of its worker, in a closed loop.
    pub think_time: Duration,
    pub warmup: Option<Warmup>,
    /// Every record so many times, at least once.
    pub repeat: u32,
    /// The clock ends the run, however often the records have come round.
    pub duration: Option<Duration>,
    /// The run looks for the highest rate that holds an objective; it has no other schedule then.
    #[serde(default)]
    pub search: Option<search::Plan>,
    /// Of everything that is left to chance.
    pub seed: u64,
    /// Every row is run against a second database as well.
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

/// What is run and not counted before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warmup {
    /// The first rows of the workload, again from the beginning where there are not so many.
    Rows(u32),
    Time(Duration),
}

impl Load {
    /// # Errors
    /// When the run would have more queries than can be counted.
    pub fn passes(&self, records: u32) -> Result<Passes, TooManyPasses> {
        let targets = if self.versus { 2 } else { 1 };
        match self.duration.is_some() || self.search.is_some() {
            true => Ok(Passes::endless(records, targets, self.seed)),
            false => Passes::try_new(records, targets, self.repeat, self.seed),
        }
    }

    /// Of a warm-up of so many rows, in whole passes where there are more than records.
    ///
    /// # Errors
    /// When there are no ids for so many.
    pub fn warmup_passes(&self, records: u32, rows: u32) -> Result<Passes, TooManyPasses> {
        let targets = if self.versus { 2 } else { 1 };
        Passes::try_new(records, targets, rows.div_ceil(records.max(1)), self.seed)
    }

    /// Rows wait for their time: lag is measured.
    pub fn has_due_times(&self) -> bool {
        self.schedule.is_some() || self.search.is_some() || !self.think_time.is_zero()
    }
}
