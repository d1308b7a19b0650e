//! End-to-end tests of the built programs on a real PostgreSQL: data is loaded, rows reach the agents, and the report is correct.
#![cfg(target_os = "linux")]

mod answers;
mod cross_check;
mod loading;
mod protocols;
mod serving;
mod statements;
mod versus;
