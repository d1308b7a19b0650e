//! Tests every way in which a run can end, with the built programs: the exit code, the report or its absence, totals that add up, and no
//! processes, connections or files left behind.
#![cfg(target_os = "linux")]

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
