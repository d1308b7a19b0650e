//! Descriptive statistics of latencies over every sample: exact nearest-rank percentiles, and only those that the sample size supports.
//! [`figure`] lists them for every format. Reads no clock.

pub mod distribution;
pub mod figure;
pub mod parts;
pub mod percentile;
pub mod samples;
pub mod summary;
#[cfg(test)]
mod tests;

pub use distribution::Latency;
pub use percentile::{Percentile, samples_needed};
pub use samples::{Samples, Sorted};
pub use summary::{Intervals, Summary};
