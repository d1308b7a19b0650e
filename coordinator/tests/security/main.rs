//! Who gets in and who does not, by the built programs over real TLS: docs/SECURITY.md has the table.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod certificates;
mod enrolment;
mod ipv6;
mod site;
mod strangers;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    pub(crate) mod files;
    pub(crate) mod processes;
    pub(crate) mod report;
}
