//! Shared by tests of whole runs: a fake PostgreSQL that records times, and the built programs to run against it.
#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod agent;
mod backend;
mod deadline;
pub(crate) mod fake_postgres;
mod interrupt;
pub(crate) mod programs;
pub(crate) mod record;
mod script;
mod wire;
