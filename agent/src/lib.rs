//! Muster's agent as a library: what `agent` runs, and what `coordinator run --local` starts inside its own process.
//! An agent dials a coordinator, runs the rows that it is given, one at a time on each of its connections, and returns the timings.

mod clock;
mod config;
mod crew;
mod databases;
mod dial;
pub mod files;
pub mod health;
mod join;
pub mod metrics;
pub mod null_database;
mod pace;
mod permit;
pub mod postgres;
mod reach;
mod results;
pub mod security;
mod serve;
mod session;
pub mod surroundings;
mod threads;
mod told;
mod worker;
pub mod workplace;

pub use config::{AgentConfig, Coordinator, Coordinators, InvalidCoordinator};
pub use serve::{AgentError, serve, serve_in};
