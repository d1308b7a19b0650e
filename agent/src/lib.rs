//! Muster's agent as a library: what `agent` runs, and what `coordinator run --local` starts inside its own process.
//! An agent dials a coordinator, runs the rows that it is given, one at a time on each of its connections, and returns the timings.

pub mod blocking;
mod clock;
mod config;
mod crew;
mod databases;
mod dial;
pub mod files;
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
mod reach;
mod results;
mod route;
pub mod secret_file;
pub mod security;
mod serve;
mod session;
pub mod startup;
pub mod surroundings;
mod threads;
mod told;
mod waiter;
mod worker;
pub mod workplace;

pub use config::{
    AcceptDatabaseUrl, AgentConfig, Coordinator, Coordinators, InvalidCoordinator, parse_listen_address,
};
pub use serve::{AgentError, serve, serve_in};
