//! Connections between coordinator and agents: addresses, encryption, dialing and listening, and the server of `--metrics`. Knows neither
//! the messages of a run nor PostgreSQL.

pub mod address;
pub mod happy_eyeballs;
pub mod join_string;
pub mod listen;
pub mod metrics;
pub mod peer_user;
pub mod security;
