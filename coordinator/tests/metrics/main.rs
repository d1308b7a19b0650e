//! What both programs tell on the port of `--metrics`, read as Prometheus reads it and asked as a probe asks: exactly the series that
//! `deploy/metrics.txt` lists, from the first moment on, with the numbers of the report; and that they are healthy.
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
