//! Where results go: the reports of `--output`, the list of runs, and exported samples. Rendering itself is in `muster_report`.

pub(crate) mod hlog;
pub(crate) mod runs;
pub mod samples;
mod spec;
mod write;

pub use spec::{Output, OutputSpec, OutputSpecError, Target};
pub use write::{WriteError, check_writable, write};
