//! The job itself, by the built programs on a real PostgreSQL: data in, rows to the agents, the right numbers out.
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
