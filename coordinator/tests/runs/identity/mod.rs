//! Tests with real servers that a run records the identity of its server, and reports a second server or a change of the first.
#![cfg(target_os = "linux")]

mod connections;
mod server;
mod servers;
mod versions;
