//! Tests of what a run measures: times, rates and the verdict. They take turns, with `muster_testing::exclusive`. Cargo runs the
//! programs in the order of their names, so `.ci/run` knows that no test measures any more once `runs` has begun.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failure fails the test, and a skipped test prints why"
)]

mod max_rate;
mod numbers;
mod pacing;
mod verdict;
