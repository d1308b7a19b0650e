//! Muster's agent as a library: what `agent` runs, and what `coordinator run --local` starts inside its own process.

pub mod postgres;
