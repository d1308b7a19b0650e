//! Authentication and limits of the built programs over real TLS: docs/internals/security.md has the table.
#![cfg(target_os = "linux")]

mod certificates;
mod enrolment;
mod exhaustion;
mod false_coordinator;
pub(crate) mod http2;
mod ipv6;
mod other_users;
mod read_only_role;
pub(crate) mod site;
mod strangers;
pub(crate) mod victim;
