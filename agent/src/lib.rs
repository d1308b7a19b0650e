//! The library behind the `agent` binary. `coordinator run --local` also uses it, to start agents in its own process.
//! An agent dials a coordinator, runs the rows that it receives, one at a time on each database connection, and returns their timings.

pub mod blocking;
pub mod cli;
mod clock;
mod config;
mod databases;
mod dial;
pub mod driver;
pub mod exit;
pub mod fd_limit;
mod happy_eyeballs;
pub mod health;
mod inbox;
mod join;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod null_database;
pub mod peer_user;
mod permit;
pub mod postgres;
mod results;
mod route;
pub mod runtime;
pub mod secret_file;
pub mod security;
mod serve;
mod session;
pub mod startup;
mod threads;
mod waiter;
mod worker;
mod worker_results;
mod worker_set;

pub use config::{
    AcceptDatabaseUrl, AgentConfig, Coordinator, Coordinators, InvalidCoordinator, parse_listen_address,
};
pub use serve::{AgentError, serve, serve_in};
