//! Statistics of measured times: samples, percentiles, histograms, confidence intervals, significance tests, and random numbers from a seed.
//! Knows nothing about runs.

pub mod buckets;
pub mod latency;
pub mod log_histogram;
pub mod random;
pub mod scheduling_delay;
pub mod statistics;
