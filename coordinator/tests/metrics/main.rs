//! The output on the port of `--metrics`, parsed as Prometheus parses it: exactly the series that `deploy/metrics.txt` lists, from the
//! beginning, with the numbers of the report; and the health check on the same port.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod agents;
mod contract;
mod port;
mod runs;
mod scrape;

#[allow(dead_code, reason = "a part of it is used")]
#[path = "../support"]
mod support {
    pub(crate) mod agent;
    mod backend;
    mod deadline;
    pub(crate) mod fake_postgres;
    pub(crate) mod files;
    mod interrupt;
    pub(crate) mod processes;
    pub(crate) mod record;
    pub(crate) mod report;
    mod script;
    mod wire;
}
