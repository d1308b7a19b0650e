//! What every process tells of itself, under the names that all exporters have for it. What this system does not tell is left out.

use std::fmt;

use super::page::{Page, Source, seconds};
use crate::health;

#[derive(Debug)]
pub(super) struct ThisProcess;

impl Source for ThisProcess {
    fn tell(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(
            "muster_build_info",
            "Always 1; the label tells this program's version",
            "version",
            [(env!("CARGO_PKG_VERSION"), 1)],
        )?;
        if let Some(ns) = health::cpu_ns() {
            page.counter_of_seconds(
                "process_cpu_seconds_total",
                "CPU time of all threads, user and system",
                seconds(ns.into()),
            )?;
        }
        if let Some(bytes) = health::resident_bytes() {
            page.gauge(
                "process_resident_memory_bytes",
                "Memory of this process that is not paged out",
                bytes,
            )?;
        }
        Ok(())
    }
}
