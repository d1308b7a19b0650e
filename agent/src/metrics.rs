//! The metrics of an agent, counted since the process started and across sessions. They are updated once per batch by the task that
//! receives the results, not by the workers. Without `--metrics`, every method returns at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use muster_core::sample::Outcome;
use muster_net::metrics::{BindError, Page, Server, Source};
use muster_stats::buckets::Buckets;

use crate::worker_results::WorkerResult;

/// A handle, whose clones share the counters of one agent. The default counts nothing.
#[derive(Debug, Clone, Default)]
pub struct AgentMetrics(Option<Arc<Counted>>);

#[derive(Debug)]
struct Counted {
    workers: u16,
    has_session: AtomicBool,
    /// The last session was lost, and no other one has begun since.
    is_lost: AtomicBool,
    reconnects: AtomicU64,
    unacknowledged: AtomicU64,
    queries: Mutex<Queries>,
}

#[derive(Debug, Clone, Default)]
struct Queries {
    completed: u64,
    failed: u64,
    /// Service times of the completed queries.
    service_times: Buckets,
}

impl AgentMetrics {
    /// Creates the metrics of an agent with the given number of workers.
    pub fn of(workers: u16) -> Self {
        Self(Some(Arc::new(Counted {
            workers,
            has_session: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            reconnects: AtomicU64::new(0),
            unacknowledged: AtomicU64::new(0),
            queries: Mutex::default(),
        })))
    }

    /// Creates the metrics of an agent and a server for them at `address`. Without an address, nothing is counted.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve(
        address: Option<SocketAddr>,
        workers: u16,
    ) -> Result<(Self, Option<Server>), BindError> {
        let Some(address) = address else { return Ok((Self::default(), None)) };
        let metrics = Self::of(workers);
        let server = Server::start(address, metrics.clone()).await?;
        tracing::info!("metrics at http://{}/metrics", server.address());
        Ok((metrics, Some(server)))
    }

    /// Counts the queries among the workers' results.
    pub(crate) fn count(&self, results: &[(u16, WorkerResult)]) {
        let Some(counted) = self.0.as_deref().filter(|_| !results.is_empty()) else { return };
        let mut queries = counted.queries.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, result) in results {
            let WorkerResult::Measured(measurement) = result else { continue };
            match measurement.outcome {
                Outcome::Completed(_) => {
                    queries.completed += 1;
                    queries.service_times.record(measurement.service_time_ns);
                }
                Outcome::Failed(_) => queries.failed += 1,
            }
        }
    }

    /// Sets the number of results that are not acknowledged.
    pub(crate) fn set_unacknowledged(&self, unacknowledged: usize) {
        if let Some(counted) = &self.0 {
            counted.unacknowledged.store(unacknowledged as u64, Ordering::Relaxed);
        }
    }

    /// Called when a coordinator has accepted this agent. The session lasts until the returned value is dropped.
    pub(crate) fn join(&self) -> Presence {
        if let Some(counted) = &self.0 {
            counted.has_session.store(true, Ordering::Relaxed);
            let reconnects = u64::from(counted.is_lost.swap(false, Ordering::Relaxed));
            counted.reconnects.fetch_add(reconnects, Ordering::Relaxed);
        }
        Presence(self.0.clone())
    }
}

/// A session of the agent, which lasts until this is dropped.
#[must_use]
pub(crate) struct Presence(Option<Arc<Counted>>);

impl Presence {
    /// Marks the session as lost, so that the next one is counted as a reconnect.
    pub(crate) fn mark_lost(self) {
        if let Some(counted) = &self.0 {
            counted.is_lost.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(counted) = &self.0 {
            counted.has_session.store(false, Ordering::Relaxed);
        }
    }
}

impl Source for AgentMetrics {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(counted) = &self.0 else { return Ok(()) };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Queries { completed, failed, service_times } =
            counted.queries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        page.counters(
            "muster_agent_queries_total",
            "Queries that this agent has run, including warm-up",
            "outcome",
            [("completed", completed), ("failed", failed)],
        )?;
        page.histogram(
            "muster_agent_service_time_seconds",
            "Time from sending a query to the last byte of its response, for completed queries",
            &service_times,
        )?;
        page.gauge(
            "muster_agent_workers",
            "Workers, each with one database connection",
            counted.workers.into(),
        )?;
        page.gauge(
            "muster_agent_connected",
            "1 while this agent has joined a run, with a slot or on standby; otherwise 0",
            counted.has_session.load(Ordering::Relaxed).into(),
        )?;
        page.gauge(
            "muster_agent_unacknowledged_results",
            "Results that the coordinator has not acknowledged yet",
            of(&counted.unacknowledged),
        )?;
        page.counter(
            "muster_agent_reconnects_total",
            "Sessions that began after a lost session",
            of(&counted.reconnects),
        )
    }
}

#[cfg(test)]
mod tests {
    use muster_core::ids::RowId;
    use muster_core::sample::{Answer, Execution, QueryError, Sample, SqlState};

    use muster_net::metrics::written;

    use super::*;

    fn measured(service_time_ns: u64, outcome: Outcome) -> (u16, WorkerResult) {
        let (row, execution) = (RowId::new(0), Execution::default());
        (0, WorkerResult::Measured(Sample { service_time_ns, execution, outcome, ..Sample::zero(row) }))
    }

    #[track_caller]
    fn check(metrics: &AgentMetrics, expected: &[&str]) {
        let page = written(metrics.clone());
        for line in expected {
            assert!(page.lines().any(|found| found == *line), "'{line}' is not in:\n{page}");
        }
    }

    #[test]
    fn a_failed_query_is_not_in_the_service_times() {
        let metrics = AgentMetrics::of(3);
        let sqlstate = SqlState::try_new("57014").unwrap();
        let failed = Outcome::Failed(QueryError::new(sqlstate, "timed out"));
        metrics.count(&[
            measured(1_500_000, Outcome::Completed(Answer::default())),
            (1, WorkerResult::LeftOut(7)),
            measured(9_000_000_000, failed),
        ]);
        check(
            &metrics,
            &[
                "muster_agent_queries_total{outcome=\"completed\"} 1",
                "muster_agent_queries_total{outcome=\"failed\"} 1",
                "muster_agent_service_time_seconds_count 1",
                "muster_agent_service_time_seconds_sum 0.0015",
                "muster_agent_service_time_seconds_bucket{le=\"0.001\"} 0",
                "muster_agent_service_time_seconds_bucket{le=\"0.002\"} 1",
                "muster_agent_service_time_seconds_bucket{le=\"+Inf\"} 1",
                "muster_agent_workers 3",
            ],
        );
    }

    #[test]
    fn only_a_session_after_a_lost_one_is_a_reconnect() {
        let metrics = AgentMetrics::of(1);
        let first = metrics.join();
        check(&metrics, &["muster_agent_connected 1", "muster_agent_reconnects_total 0"]);
        drop(first);
        check(&metrics, &["muster_agent_connected 0"]);
        metrics.join().mark_lost();
        check(&metrics, &["muster_agent_connected 0", "muster_agent_reconnects_total 0"]);
        let third = metrics.join();
        check(&metrics, &["muster_agent_connected 1", "muster_agent_reconnects_total 1"]);
        drop(third);
        drop(metrics.join());
        check(&metrics, &["muster_agent_reconnects_total 1"]);
    }

    #[test]
    fn without_a_server_nothing_is_counted() {
        let metrics = AgentMetrics::default();
        metrics.count(&[measured(1, Outcome::Completed(Answer::default()))]);
        metrics.set_unacknowledged(5);
        drop(metrics.join());
        assert!(!written(metrics).contains("muster_agent"));
    }
}
