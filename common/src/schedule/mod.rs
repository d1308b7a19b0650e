//! When rows are due in an open loop: the rate of the whole run, and the arrivals of each worker. A worker's share of the rate is its
//! share of the rows, so that all workers come to their end together. Pure: due times are nanoseconds since the start of the run.

mod arrivals;
mod rate;

use serde::{Deserialize, Serialize};

pub use arrivals::{Arrivals, Process, Share};
pub use rate::{InvalidRate, Rate};

/// An open loop: rows are due at their times, whether or not the answers before them have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Of the whole run.
    pub rate: Rate,
    pub process: Process,
    pub seed: u64,
}

impl Schedule {
    /// The same at the rate with which it begins, for ever.
    pub fn at_its_beginning(&self) -> Self {
        Self { rate: self.rate.at_its_beginning(), ..self.clone() }
    }

    /// The due times of one worker, which has this share of the rows.
    pub fn arrivals(&self, worker: usize, share: Share) -> Arrivals {
        Arrivals::new(self, worker, share)
    }
}
