//! Stored runs, with the built programs: they are reported after their process has ended, and resumed by another one. Whatever was killed
//! and whatever the journal lost, every row is counted once.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod asked;
mod full;
mod kept;
mod killed;
mod phases;
mod reported;
mod thresholds;
mod torn;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod disk;
    pub(crate) mod files;
    pub(crate) mod journal;
    pub(crate) mod load;
    pub(crate) mod processes;
    pub(crate) mod proxy;
    pub(crate) mod report;
    pub(crate) mod sieve;
}
