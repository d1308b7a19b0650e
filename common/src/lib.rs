//! The pure core of Muster: the types of a run (rows, slots, measurements, results) and the decisions about them.
//! This crate does no I/O, reads no clock and depends on neither tokio, tonic, clap nor PostgreSQL. Time is an argument, so that all of it
//! can be simulated.

pub mod bound;
pub mod buckets;
pub mod compare;
pub mod dispatch;
pub mod health;
pub mod ids;
pub mod join_string;
pub mod latency;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod objective;
pub mod outbox;
pub mod parameters;
pub mod passes;
pub mod placement;
pub mod printable;
pub mod protocol;
pub mod query;
pub mod queue;
pub mod random;
pub mod remote_clock;
pub mod result;
pub mod sample;
pub mod schedule;
pub mod scheduling_delay;
pub mod search;
pub mod server_identity;
pub mod server_side;
pub mod session_spec;
pub mod session_token;
pub mod slots;
pub mod statistics;
