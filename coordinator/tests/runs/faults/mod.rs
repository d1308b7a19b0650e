//! Faults of agents, networks and databases in the middle of a run, with the built programs: every row is still counted once, no two
//! queries of a host overlap, and nothing is left behind. docs/internals/faults.md has the table.
#![cfg(target_os = "linux")]

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
