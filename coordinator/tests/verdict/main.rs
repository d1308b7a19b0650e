//! The verdict on a disturbed load generator, with the built programs and a fake PostgreSQL whose delays are known: a busy machine, a CPU
//! quota, and a process, network or coordinator that stops for a while. Also checks that a server which is merely busy does not void a
//! run.
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
