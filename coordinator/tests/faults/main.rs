//! Everything that can go wrong with an agent, the network or the database in mid-run, with the built programs: every row is still
//! counted once, no two queries of a host run side by side, and nothing stays behind. docs/FAULTS.md has the table.
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
