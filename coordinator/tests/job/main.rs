//! End-to-end tests of the built programs on a real PostgreSQL: data is loaded, rows reach the agents, and the report is correct.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod answers;
mod cross_check;
mod loading;
mod protocols;
mod serving;
mod statements;
mod versus;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod processes;
    pub(crate) mod report;
}
