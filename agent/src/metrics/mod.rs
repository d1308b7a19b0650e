//! What a process tells whoever watches it while it works: metrics over HTTP and health over gRPC, on the one port of `--metrics`. For
//! both programs: each brings a [`Source`] of its own figures. Nothing here waits, and nothing of it runs on a worker's thread.
//!
//! The names are a contract: `deploy/metrics.txt` lists them all, for dashboards, alerts and the tests that hold a page against it.

mod agent;
mod page;
mod process;
mod server;

pub use agent::AgentMetrics;
pub use page::{Page, Source, written};
pub use server::{BindError, Server};
