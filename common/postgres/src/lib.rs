//! The client for PostgreSQL: resolves connection settings, opens connections, runs queries and reads the server's properties and
//! statistics. It knows the domain types of the protocol, but neither gRPC nor the phases of a run. Only [`environment`] reads the
//! environment of the process.

mod address;
mod attempt;
mod cancel;
mod channel_binding;
pub mod connect;
mod connection;
mod conninfo;
pub mod environment;
mod execute;
mod executor;
pub mod failure;
mod fence;
mod first_connection;
mod frontend;
pub mod handed_over_url;
mod identity;
mod in_flight;
mod live_connection;
mod lost_query;
mod peer;
mod pgpass;
pub mod pool;
mod pooler;
mod prepare_failure;
mod prepared_statement;
mod query_errors;
mod reconnector;
mod result_accumulator;
mod result_format;
mod role;
#[cfg(test)]
mod secrets_tests;
pub mod server;
mod server_error;
mod server_stats;
mod service;
mod session_attrs;
mod session_setup;
pub mod settings;
mod stream;
mod target;
mod tls;
mod transport;
mod verify;

pub use environment::Environment;
pub use execute::{Execute, Executed, Prepared, Reconnect};
pub use executor::Executor;
pub use fence::Fence;
pub use handed_over_url::{Demands, HandedOverError};
pub use prepare_failure::no_database;
pub use role::RoleRule;
pub use server_stats::StatsCollector;
pub use session_setup::SessionSetup;
pub use settings::{Settings, SettingsError};
pub use target::Target;
