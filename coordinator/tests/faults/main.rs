//! Faults of agents, networks and databases in the middle of a run, with the built programs: every row is still counted once, no two
//! queries of a host overlap, and nothing is left behind. docs/internals/faults.md has the table.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod cut;
mod early;
mod forged;
mod frozen;
mod killed;
mod kills;
mod left;
mod overlap;
mod phases;
mod poison;
mod restarted;
mod roles;
mod standby;
mod workers;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod hello;
    pub(crate) mod journal;
    pub(crate) mod load;
    pub(crate) mod processes;
    pub(crate) mod proxy;
    pub(crate) mod report;
    pub(crate) mod sieve;
}
