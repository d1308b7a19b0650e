//! The live page of `--web`: the report of a run while it goes on. Pages only read; what they ask for is computed at most
//! [`limits::WEB_RENDERS_PER_SECOND`] times per second however many there are, and nothing without a page.
//!
//! [`limits::WEB_RENDERS_PER_SECOND`]: muster_core::limits::WEB_RENDERS_PER_SECOND

mod guard;
mod page;
mod server;

pub(crate) use guard::WebAccess;
pub(crate) use server::WebServer;
