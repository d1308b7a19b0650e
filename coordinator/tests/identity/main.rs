//! Tests with real servers that a run records the identity of its server, and reports a second server or a change of the first.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod connections;
mod server;
mod servers;
mod versions;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod processes;
    pub(crate) mod proxy;
    pub(crate) mod report;
    mod sieve;
}
