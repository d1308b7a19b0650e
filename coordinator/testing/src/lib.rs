//! What the tests and benchmarks of whole runs share: the built programs as processes, servers for them, and files, networks and reports.
//!
//! | task | modules |
//! |---|---|
//! | run the built programs | [`binaries`], [`processes`]; [`scripted_run`] for one run against the stand-in server |
//! | databases | [`database`]: a real PostgreSQL; [`fake_postgres`]: a stand-in that records times; [`pgbouncer`] |
//! | runs whose rows leave evidence on the server | [`load`] |
//! | faults | [`proxy`] between an agent and its coordinator, [`disk`] |
//! | input and output | [`files`], [`hello`], [`journal`], [`report`] |
//! | limits | [`deadline`] for each test, [`exclusive`] for tests that others would disturb |
//!
//! It contains no tests and checks nothing about a single feature.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a part of tests: a failure fails the test, and a skipped test prints the reason"
)]

pub mod binaries;
pub mod database;
pub mod deadline;
pub mod disk;
pub mod exclusive;
pub mod fake_postgres;
pub mod files;
pub mod hello;
pub mod journal;
pub mod load;
pub mod pgbouncer;
pub mod processes;
pub mod proxy;
pub mod report;
pub mod scripted_run;
mod sieve;
