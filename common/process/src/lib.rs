//! What both programs need from the process and the machine that they run on: threads, limits, logging, secret files and health. Knows
//! neither gRPC nor PostgreSQL.

pub mod blocking;
pub mod exit;
pub mod fd_limit;
pub mod health;
pub mod logging;
pub mod random;
pub mod secret_file;
pub mod startup;
