//! Whole runs of the built programs, which mostly wait: many of them run at the same time. Tests whose result depends on the time of
//! another test are in `measurement`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failure fails the test, and a skipped test prints why"
)]

mod compare;
mod delivery;
mod embedded;
mod endings;
mod failures;
mod faults;
mod floods;
mod fuzz_seeds;
mod identity;
mod job;
mod metrics;
mod pooler;
mod resume;
mod security;
mod server_side;
mod thresholds;
mod times;
mod usage;
mod web;
