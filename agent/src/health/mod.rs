//! Measures the health of this agent while it runs queries: one sample per second, sent to the coordinator, which evaluates it. Runs on
//! separate tasks and one separate thread, and reads only counters of the workers.

mod gauges;
mod probe;
mod reporter;
mod run_queue;

pub(crate) use gauges::Gauges;
pub(crate) use reporter::Reporter;
pub(crate) use run_queue::Registered;
