//! The verdict on a disturbed load generator, with the built programs and a fake PostgreSQL whose delays are known: a busy machine, a CPU
//! quota, and a process, network or coordinator that stops for a while. Also checks that a server which is merely busy does not void a
//! run.
#![cfg(target_os = "linux")]

mod busy;
mod fixture;
mod healthy;
mod queueing;
mod quota;
mod still;
mod unasked;
