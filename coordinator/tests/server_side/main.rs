//! Server statistics in a report, with the built programs on a real PostgreSQL: counters beside the client's times, and plans.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod counters;
mod missing;
mod plans;
mod server;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod processes;
    pub(crate) mod report;
}
