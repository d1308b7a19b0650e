//! PostgreSQL as the agent meets it: where the database is, how to reach it, and what it says about itself.
//! Nothing here knows of gRPC, rows or runs, and nothing is read from the process's environment but in [`environment`].

pub mod address;
mod answer;
mod call;
pub mod connect;
pub mod conninfo;
pub mod environment;
mod executor;
pub mod failure;
mod fence;
mod frontend;
mod handshake;
mod lent;
mod look;
pub mod pgpass;
pub mod pool;
pub mod server;
mod server_error;
pub mod service;
pub mod settings;
pub mod socket;
pub mod tls;
mod unix;
mod unprepared;
mod verify;

pub use connect::SessionSetup;
pub use environment::Environment;
pub use executor::{Executed, Prepared};
pub(crate) use executor::{Executor, Target};
pub(crate) use fence::end_backends;
pub(crate) use look::Lookout;
pub use settings::{Settings, SettingsError};
pub(crate) use unprepared::no_database;
