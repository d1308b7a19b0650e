//! Muster's coordinator as a library, for the `coordinator` binary and for tests.

pub mod cli;
mod clock;
pub mod demo;
pub mod embedded;
pub mod exit;
mod grpc;
mod identity;
pub mod journal;
pub mod output;
pub mod progress;
#[cfg(test)]
mod reference;
mod run;
pub mod run_dir;
#[cfg(test)]
mod simulated_network;
pub mod spec;
pub mod threshold;
mod web;
pub mod workload;
