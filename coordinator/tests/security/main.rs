//! Authentication and limits of the built programs over real TLS: docs/internals/security.md has the table.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod certificates;
mod enrolment;
mod exhaustion;
mod false_coordinator;
mod floods;
mod http2;
mod ipv6;
mod other_users;
mod read_only_role;
mod site;
mod strangers;
mod victim;

#[path = "../support"]
mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod hello;
    pub(crate) mod processes;
    pub(crate) mod report;
}
