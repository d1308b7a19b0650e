//! Runs through a real PgBouncer, whose server connections other applications use before, beside and after them: nothing is left
//! behind, and no run executes another one's statement.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod cut;
mod mixed;
mod shared;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod pgbouncer;
    pub(crate) mod processes;
    pub(crate) mod proxy;
    pub(crate) mod report;
    pub(crate) mod sieve;
}
