//! The pure core of Muster: what a row, a slot, a measurement and a result are, and every decision about them.
//! No I/O, no clock, no tokio, tonic, clap or PostgreSQL here: time comes in as an argument, so that all of it can be simulated.

pub mod bound;
pub mod buckets;
pub mod compare;
pub mod dispatch;
pub mod health;
pub mod ids;
pub mod join_string;
pub mod latency;
pub mod lateness;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod measurement;
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
pub mod schedule;
pub mod search;
pub mod server_identity;
pub mod server_side;
pub mod session_token;
pub mod slots;
pub mod statistics;
