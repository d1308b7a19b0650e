//! Runs through a real PgBouncer, whose server connections other applications use before, beside and after them: nothing is left
//! behind, and no run executes another one's statement.
#![cfg(target_os = "linux")]

mod cut;
mod mixed;
mod shared;
