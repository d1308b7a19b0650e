//! Tests every way in which a run can end, with the built programs: the exit code, the report or its absence, totals that add up, and no
//! processes, connections or files left behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod asked;
mod changed;
mod crashed;
mod fixture;
mod itself;
mod local;
mod lost;
mod refused;
mod unjoined;
mod unwritten;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod hello;
    pub(crate) mod processes;
    pub(crate) mod report;
}
