//! PostgreSQL as the agent meets it: where the database is, how to reach it, and what it says about itself.
//! Nothing here knows of gRPC, rows or runs, and nothing is read from the process's environment but in [`environment`].

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
mod look;
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
pub(crate) use executor::{Executor, Target};
pub(crate) use fence::Fence;
pub(crate) use handed_over::{Demands, HandedOverError};
pub(crate) use look::Lookout;
pub use role::RoleRule;
pub use settings::{Settings, SettingsError};
pub(crate) use unprepared::no_database;
