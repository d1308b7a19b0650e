//! The client for PostgreSQL: resolves connection settings, opens connections, runs queries and reads the server's properties and
//! statistics. Does not depend on gRPC or on the rows of a run. Only [`environment`] reads the environment of the process.

pub mod address;
mod answer;
mod call;
mod channel_binding;
pub mod connect;
pub mod conninfo;
pub mod environment;
mod executor;
pub mod failure;
mod fence;
mod frontend;
pub mod handed_over;
mod identity;
mod in_flight;
mod peer;
pub mod pgpass;
pub mod pool;
mod pooler;
mod previous;
mod result_format;
mod role;
#[cfg(test)]
mod secrets_tests;
pub mod server;
mod server_error;
mod server_stats;
pub mod service;
mod session_attrs;
pub mod settings;
mod stream;
pub mod tls;
mod transport;
mod unprepared;
mod verify;

pub use connect::SessionSetup;
pub use environment::Environment;
pub use executor::{Executed, Prepared, Reconnect};
pub use executor::{Executor, Target};
pub use fence::Fence;
pub use handed_over::{Demands, HandedOverError};
pub use role::RoleRule;
pub use server_stats::StatsCollector;
pub use settings::{Settings, SettingsError};
pub use unprepared::no_database;
