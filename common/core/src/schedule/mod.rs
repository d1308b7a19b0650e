//! Due times in an open loop: the rate of the whole run, and the arrivals of each worker. A worker's share of the rate is its share of the
//! rows, so that all workers finish at the same time. Pure: due times are nanoseconds since the start of the run.

mod arrivals;
mod rate;

use serde::{Deserialize, Serialize};

pub use arrivals::{Arrivals, Process, Share};
pub use rate::{InvalidRate, Rate};

/// An open loop: rows are due at their scheduled times, whether or not earlier queries have finished.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Rate of the whole run.
    pub rate: Rate,
    pub process: Process,
    pub seed: u64,
}

impl Schedule {
    /// Returns the same schedule with its initial rate for ever.
    pub fn at_initial_rate(&self) -> Self {
        Self { rate: self.rate.at_initial_rate(), ..self.clone() }
    }

    /// Returns the due times of one worker with this share of the rows.
    pub fn arrivals(&self, worker: usize, share: Share) -> Arrivals {
        Arrivals::new(self, worker, share)
    }
}
