//! The library behind the `agent` binary. `coordinator run --local` also uses it, to start agents in its own process.
//! An agent dials a coordinator, runs the rows that it receives, one at a time on each database connection, and returns their timings.

pub mod cli;
mod clock;
mod config;
mod databases;
mod dial;
pub mod driver;
pub mod exit;
mod health;
mod history;
mod inbox;
mod join;
pub mod metrics;
pub mod null_database;
mod permit;
mod phase;
mod result_sender;
mod route;
pub mod runtime;
mod serve;
mod session;
mod session_end;
mod targets;
mod threads;
mod waiter;
mod work_stream;
mod worker;
mod worker_results;
mod worker_set;

pub use config::{AcceptDatabaseUrl, AgentConfig};
pub use serve::{AgentError, serve, serve_in};
