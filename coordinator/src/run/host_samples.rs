//! Service times by host. They are used only for thresholds on hosts: they take four bytes per row of the hosts that a threshold names, and
//! nothing without such a threshold. At most [`limits::HOST_SAMPLES_MAX`] are kept, and a threshold on a host with missing samples cannot
//! be evaluated.

use muster_core::limits;
use muster_report::result::Latency;
use muster_stats::latency::{Samples, Sorted, Summary};

use crate::threshold::{HostFigures, Threshold};
use crate::workload::{HostIndex, HostTable};

/// The sums of one host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HostTally {
    pub(crate) completed: u32,
    pub(crate) failed: u32,
    /// Completed rows whose times are among the latencies.
    pub(crate) timed: u32,
    pub(crate) service_time_sum_ns: u64,
    pub(crate) service_time_max_ns: u64,
}

#[derive(Debug, Default)]
pub(crate) struct HostSamples {
    /// By host. `None` for hosts that no threshold names; empty if no threshold names any.
    hosts: Vec<Option<OneHost>>,
    count: usize,
}

#[derive(Debug, Default)]
struct OneHost {
    samples: Samples,
    /// True if samples are missing.
    is_cut: bool,
}

impl HostSamples {
    /// Creates a store for the samples of the hosts that the thresholds name.
    pub(crate) fn wanted(thresholds: &[Threshold], hosts: &HostTable) -> Self {
        let about_hosts: Vec<&Threshold> =
            thresholds.iter().filter(|threshold| threshold.is_for_hosts()).collect();
        if about_hosts.is_empty() {
            return Self::default();
        }
        let is_wanted = |name: &str| about_hosts.iter().any(|threshold| threshold.needs_samples_of(name));
        let hosts = hosts.iter().map(|(_, name, _)| is_wanted(name).then(OneHost::default)).collect();
        Self { hosts, count: 0 }
    }

    /// Adds a sample of a host if a threshold names the host.
    pub(crate) fn add(&mut self, host: HostIndex, service_time_ns: u64) {
        let Some(Some(of_host)) = self.hosts.get_mut(host.index()) else { return };
        if self.count >= limits::HOST_SAMPLES_MAX {
            of_host.is_cut = true;
            return;
        }
        self.count += 1;
        of_host.samples.push(service_time_ns);
    }

    pub(crate) fn into_sorted(self) -> SortedHosts {
        let Self { hosts, count: _ } = self;
        let sorted = |OneHost { samples, is_cut }| (samples.into_sorted(), is_cut);
        SortedHosts(hosts.into_iter().map(|of_host| of_host.map(sorted)).collect())
    }
}

/// By host: the sorted samples, and whether samples are missing.
pub(crate) struct SortedHosts(Vec<Option<(Sorted, bool)>>);

impl SortedHosts {
    /// The figures of the hosts that `wants` accepts.
    pub(crate) fn figures<'a>(
        &'a self,
        table: &'a HostTable,
        tallies: &'a [HostTally],
        wants: &dyn Fn(&str) -> bool,
    ) -> impl Iterator<Item = HostFigures<'a>> + use<'a> {
        let wanted: Vec<HostIndex> =
            table.iter().filter(|(_, name, _)| wants(name)).map(|(host, _, _)| host).collect();
        wanted.into_iter().map(move |host| {
            let HostTally { completed, failed, .. } = tallies[host.index()];
            let of_host = self.0.get(host.index()).and_then(Option::as_ref);
            let summary = of_host.and_then(|(sorted, _)| Summary::of(std::slice::from_ref(sorted)));
            HostFigures {
                name: table.name(host),
                completed: completed.into(),
                failed: failed.into(),
                service: summary.as_ref().map(Latency::from),
                is_cut: of_host.is_some_and(|(_, is_cut)| *is_cut),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> HostTable {
        let mut hosts = HostTable::default();
        for name in ["db-1", "web-1", "db-2"] {
            assert!(hosts.push(name, 3));
        }
        hosts
    }

    fn samples(thresholds: &[&str]) -> HostSamples {
        let thresholds: Vec<Threshold> = thresholds.iter().map(|text| text.parse().unwrap()).collect();
        let mut samples = HostSamples::wanted(&thresholds, &hosts());
        for row in 0..9 {
            samples.add(HostIndex::new(row % 3), u64::from(row) * 1_000_000);
        }
        samples
    }

    #[test]
    fn only_samples_of_named_hosts_are_kept() {
        let count = |thresholds: &[&str]| samples(thresholds).count;
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&["p99<5ms", "host:*:failed=0"]), 0, "failures are counted without samples");
        assert_eq!(count(&["host:db-2:p99<5ms"]), 3);
        assert_eq!(count(&["host:db-*:p99<5ms", "host:db-1:max<5ms"]), 6);
    }

    #[test]
    fn each_host_has_its_own_figures() {
        let (table, tallies) = (hosts(), [HostTally { completed: 3, ..HostTally::default() }; 3]);
        let sorted = samples(&["host:*:max<5ms"]).into_sorted();
        let found = sorted.figures(&table, &tallies, &|name| name.starts_with("db"));
        let found: Vec<_> = found.map(|host| (host.name, host.completed, host.service.unwrap())).collect();
        let figures =
            found.iter().map(|(name, completed, service)| (*name, *completed, service.median, service.max));
        assert_eq!(figures.collect::<Vec<_>>(), [("db-1", 3, 3.0, 6.0), ("db-2", 3, 5.0, 8.0)]);
    }

    #[test]
    fn a_host_with_samples_beyond_the_limit_is_marked() {
        let mut samples = samples(&["host:*:max<5ms"]);
        samples.count = limits::HOST_SAMPLES_MAX;
        samples.add(HostIndex::new(1), 5);
        let sorted = samples.into_sorted();
        let (table, tallies) = (hosts(), [HostTally::default(); 3]);
        let cut: Vec<bool> = sorted.figures(&table, &tallies, &|_| true).map(|host| host.is_cut).collect();
        assert_eq!(cut, [false, true, false]);
    }
}
