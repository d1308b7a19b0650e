//! Evaluates thresholds on a finished result. A threshold on a figure that the sample cannot support cannot be decided and counts as
//! missed, so that a threshold never passes without evidence.

use muster_report::result::{self, Latency, RunResult};
use muster_stats::latency::figure::Figure;

use muster_report::units::{count, counted};

use super::{Metric, Scope, Threshold, Times};

/// The figures of one host.
pub(crate) struct HostFigures<'a> {
    pub(crate) name: &'a str,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    /// `None` if none of its queries was timed.
    pub(crate) service: Option<Latency>,
    /// True if not every sample could be stored, see [`muster_core::limits::HOST_SAMPLES_MAX`].
    pub(crate) is_cut: bool,
}

/// Evaluates `thresholds` on `result`. `hosts` returns the figures of the hosts that match a predicate; it is called only for host
/// thresholds.
pub(crate) fn judge<'a, H>(
    thresholds: &[Threshold],
    result: &RunResult,
    mut hosts: impl FnMut(&dyn Fn(&str) -> bool) -> H,
) -> Vec<result::Threshold>
where
    H: Iterator<Item = HostFigures<'a>>,
{
    let judged = thresholds.iter().map(|threshold| match &threshold.scope {
        Scope::Run => threshold.for_run(result),
        Scope::Hosts(_) => threshold.for_hosts(hosts(&|host| threshold.matches_host(host))),
    });
    judged.collect()
}

impl Threshold {
    fn for_run(&self, result: &RunResult) -> result::Threshold {
        let queries = &result.queries;
        let value = match self.metric {
            Metric::Time(times, figure) => {
                let latency = match times {
                    Times::Service => &result.service_time_ms,
                    Times::Response => &result.response_time_ms,
                    Times::Lag => &result.lag_ms,
                    Times::Queueing => &result.queueing_ms,
                    Times::GeneratorDelay => &result.generator_delay_ms,
                };
                match result.load.cut_off(result.workers.len()) {
                    // Queries that did not start waited at least until the end, and their waits are not in the figures.
                    Some((not_begun, due))
                        if matches!(times, Times::Response | Times::Lag | Times::Queueing) =>
                    {
                        let (not_begun, due) = (count(not_begun), count(due));
                        Err(format!(
                            "{not_begun} of {due} due queries had not started when the duration ended"
                        ))
                    }
                    _ => figure_of(figure, latency.as_ref()),
                }
            }
            Metric::FailedShare => failed_share(queries.completed, queries.failed),
            Metric::FailedCount => failed_count(queries.completed, queries.failed),
            Metric::Throughput => Ok(result.throughput_qps),
        };
        match value {
            Ok(value) => self.judged(Some(value), self.comparison.holds(value, self.bound), None),
            Err(why) => self.judged(None, false, Some(format!("cannot be decided: {why}"))),
        }
    }

    fn for_hosts<'a>(&self, hosts: impl Iterator<Item = HostFigures<'a>>) -> result::Threshold {
        let mut worst: Option<(f64, &str)> = None;
        let (mut all, mut missed) = (0, 0);
        let mut undecided: Option<(u64, &str, String)> = None;
        for host in hosts {
            all += 1;
            match self.value_of_host(&host) {
                Ok(value) => {
                    missed += u64::from(!self.comparison.holds(value, self.bound));
                    let is_worse = |(worst, _): &(f64, &str)| match self.comparison.is_upper() {
                        true => value > *worst,
                        false => value < *worst,
                    };
                    if worst.as_ref().is_none_or(is_worse) {
                        worst = Some((value, host.name));
                    }
                }
                Err(why) => {
                    let (count, name, first) = undecided.take().unwrap_or((0, host.name, why));
                    undecided = Some((count + 1, name, first));
                }
            }
        }
        let decided = all - undecided.as_ref().map_or(0, |(count, ..)| *count);
        let mut notes = Vec::new();
        if let Some((_, name)) = worst {
            notes.push(match missed {
                0 => format!("worst of {}: {name}", counted(decided, "host")),
                _ => {
                    format!("worst: {name}; missed by {} of {}", count(missed), counted(decided, "host"))
                }
            });
        }
        if let Some((number, name, why)) = &undecided {
            notes.push(match number {
                1 => format!("cannot be decided for {name}: {why}"),
                _ => format!("cannot be decided for {} such as {name}: {why}", counted(*number, "host")),
            });
        }
        let passed = all > 0 && missed == 0 && undecided.is_none();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        self.judged(worst.map(|(value, _)| value), passed, note)
    }

    fn value_of_host(&self, host: &HostFigures<'_>) -> Result<f64, String> {
        match self.metric {
            Metric::Time(..) if host.is_cut => {
                Err("more samples than can be stored per host; select fewer hosts".to_owned())
            }
            Metric::Time(_, figure) => figure_of(figure, host.service.as_ref()),
            Metric::FailedShare => failed_share(host.completed, host.failed),
            Metric::FailedCount => failed_count(host.completed, host.failed),
            Metric::Throughput => Err("throughput exists only for the whole run".to_owned()),
        }
    }

    fn judged(&self, value: Option<f64>, passed: bool, note: Option<String>) -> result::Threshold {
        let unit = match self.metric {
            Metric::Time(..) => "ms",
            Metric::FailedShare => "%",
            Metric::FailedCount => "queries",
            Metric::Throughput => "queries/s",
        };
        result::Threshold { expression: self.expression.clone(), value, passed, unit: unit.to_owned(), note }
    }
}

fn figure_of(figure: &Figure, latency: Option<&Latency>) -> Result<f64, String> {
    let latency = latency.ok_or("no query was timed")?;
    (figure.of)(latency).ok_or_else(|| {
        let (needed, found) = (counted(figure.count_min, "query"), count(latency.count));
        format!("{} needs {needed}, but there are {found}", figure.name)
    })
}

fn failed_share(completed: u64, failed: u64) -> Result<f64, String> {
    match completed + failed {
        0 => Err("no query ran".to_owned()),
        all => Ok(failed as f64 * 100.0 / all as f64),
    }
}

fn failed_count(completed: u64, failed: u64) -> Result<f64, String> {
    if completed + failed == 0 { Err("no query ran".to_owned()) } else { Ok(failed as f64) }
}
