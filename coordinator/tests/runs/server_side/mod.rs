//! Server statistics in a report, with the built programs on a real PostgreSQL: counters beside the client's times, and plans.
#![cfg(target_os = "linux")]

mod counters;
mod missing;
mod plans;
mod server;
