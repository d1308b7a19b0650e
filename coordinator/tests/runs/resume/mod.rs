//! Stored runs, with the built programs: they are reported after their process has ended, and resumed by another one. Whatever was killed
//! and whatever the journal lost, every row is counted once.
#![cfg(target_os = "linux")]

mod asked;
mod full;
mod kept;
mod killed;
mod phases;
mod reported;
mod thresholds;
mod torn;
