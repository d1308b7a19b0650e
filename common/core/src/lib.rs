//! The rules of a run: ids, its definition, placement, ledger, dispatch, leases, slots, outbox, schedules, and limits. Does no I/O, reads no
//! clock and depends on neither tokio, tonic, clap nor PostgreSQL. Time is an argument, so that all of it can be simulated.

pub mod bound;
pub mod dispatch;
pub mod duration;
pub mod health;
pub mod ids;
pub mod lease;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod objective;
pub mod outbox;
pub mod parameters;
pub mod passes;
pub mod placement;
pub mod prepare;
pub mod printable;
pub mod protocol;
pub mod query;
pub mod queue;
pub mod remote_clock;
pub mod sample;
pub mod schedule;
pub mod search;
pub mod server_identity;
pub mod server_side;
pub mod session_spec;
pub mod session_token;
pub mod slots;
