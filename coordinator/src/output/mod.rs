//! From a result to what people and programs read. `write` alone touches files. No statistics here.

mod spec;
mod write;

pub use spec::{Format, Output, OutputSpec, OutputSpecError, Target};
pub use write::{WriteError, check_writable, write};
