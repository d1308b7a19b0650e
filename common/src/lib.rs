//! The pure core of Muster: what a row, a slot, a measurement and a result are, and every decision about them.
//! No I/O, no clock, no tokio, tonic, clap or PostgreSQL here: time comes in as an argument, so that all of it can be simulated.

pub mod dispatch;
pub mod health;
pub mod ids;
pub mod latency;
pub mod lateness;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod measurement;
pub mod outbox;
pub mod parameters;
pub mod placement;
pub mod query;
pub mod result;
pub mod slots;
