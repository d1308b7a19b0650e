//! Metrics of this process, under the names that all exporters use. Metrics that this system does not provide are left out.

use std::fmt;

use muster_process::health;

use super::page::{Page, Source, seconds};

#[derive(Debug)]
pub(super) struct ThisProcess;

impl Source for ThisProcess {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(
            "muster_build_info",
            "Always 1; the label is the version of this program",
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
            page.gauge("process_resident_memory_bytes", "Resident memory of this process", bytes)?;
        }
        Ok(())
    }
}
