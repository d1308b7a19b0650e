//! The server of `--metrics`: metrics over HTTP and health over gRPC on one port. Both programs use it, each with its own [`Source`].
//! Nothing here waits, and nothing runs on a worker's thread.
//!
//! The names of metrics are a contract. `deploy/metrics.txt` lists all of them, for dashboards, alerts and the tests that check a page.

mod page;
mod process;
mod served;
mod server;

pub use page::{Page, Source, seconds};
pub use served::written;
pub use server::{BindError, Server};
