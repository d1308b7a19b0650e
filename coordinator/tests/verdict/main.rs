//! What the verdict says of a load generator that something was done to, with the built programs and a fake PostgreSQL whose delays
//! are known: a busy machine, a CPU quota, a process that stands still, a network or a coordinator that does. And that it does not
//! void what is merely busy.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod busy;
mod fixture;
mod healthy;
mod queueing;
mod quota;
mod still;
mod unasked;

#[path = "../support"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod support {
    pub(crate) mod agent;
    mod backend;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod fake_postgres;
    pub(crate) mod files;
    mod interrupt;
    pub(crate) mod processes;
    pub(crate) mod proxy;
    pub(crate) mod record;
    pub(crate) mod report;
    mod script;
    pub(crate) mod sieve;
    mod wire;
}
