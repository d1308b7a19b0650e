//! The result of a run and the comparison of two, as plain values, and how they are computed from measurements. Does no I/O.

pub mod compare;
mod health;
pub mod result;
