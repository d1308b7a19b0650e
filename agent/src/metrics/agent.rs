//! What an agent counts of itself, since it started and beyond its sessions. Fed where results are handled, once a batch: workers know
//! nothing of it. Without `--metrics` every verb returns at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use muster_common::buckets::Buckets;
use muster_common::measurement::Outcome;

use super::page::{Page, Source};
use super::server::{BindError, Server};
use crate::told::Told;

/// A handle; all clones are of one agent. The default counts nothing.
#[derive(Debug, Clone, Default)]
pub struct AgentMetrics(Option<Arc<Counted>>);

#[derive(Debug)]
struct Counted {
    workers: u16,
    has_session: AtomicBool,
    /// The last session was lost, and no other has begun since.
    is_lost: AtomicBool,
    reconnects: AtomicU64,
    unacknowledged: AtomicU64,
    queries: Mutex<Queries>,
}

#[derive(Debug, Clone, Default)]
struct Queries {
    completed: u64,
    failed: u64,
    /// Of the completed ones.
    service_times: Buckets,
}

impl AgentMetrics {
    /// For an agent of so many workers.
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

    /// Those of an agent that is to serve them at `address`, and their server; without one, none.
    ///
    /// # Errors
    /// When the address cannot be had.
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

    /// What the workers told.
    pub(crate) fn hear(&self, told: &[(u16, Told)]) {
        let Some(counted) = self.0.as_deref().filter(|_| !told.is_empty()) else { return };
        let mut queries = counted.queries.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, told) in told {
            let Told::Measured(measurement) = told else { continue };
            match measurement.outcome {
                Outcome::Completed(_) => {
                    queries.completed += 1;
                    queries.service_times.record(measurement.service_time_ns);
                }
                Outcome::Failed(_) => queries.failed += 1,
            }
        }
    }

    /// So many results are not acknowledged.
    pub(crate) fn hold(&self, unacknowledged: usize) {
        if let Some(counted) = &self.0 {
            counted.unacknowledged.store(unacknowledged as u64, Ordering::Relaxed);
        }
    }

    /// A coordinator let this agent in.
    pub(crate) fn join(&self) -> Presence {
        if let Some(counted) = &self.0 {
            counted.has_session.store(true, Ordering::Relaxed);
            let reconnects = u64::from(counted.is_lost.swap(false, Ordering::Relaxed));
            counted.reconnects.fetch_add(reconnects, Ordering::Relaxed);
        }
        Presence(self.0.clone())
    }
}

/// A session of the agent, until it is dropped.
#[must_use]
pub(crate) struct Presence(Option<Arc<Counted>>);

impl Presence {
    /// It did not end as it should: the next one is a reconnect.
    pub(crate) fn lose(self) {
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
    fn tell(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(counted) = &self.0 else { return Ok(()) };
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Queries { completed, failed, service_times } =
            counted.queries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        page.counters(
            "muster_agent_queries_total",
            "Queries that this agent has run, warm-ups and all else included",
            "outcome",
            [("completed", completed), ("failed", failed)],
        )?;
        page.histogram(
            "muster_agent_service_time_seconds",
            "From sending a query to the last byte of its answer, of the completed ones",
            &service_times,
        )?;
        page.gauge("muster_agent_workers", "Database connections, each a worker", counted.workers.into())?;
        page.gauge(
            "muster_agent_connected",
            "1 while a coordinator has this agent in its run, running or standing by",
            counted.has_session.load(Ordering::Relaxed).into(),
        )?;
        page.gauge(
            "muster_agent_unacknowledged_results",
            "Results that the coordinator has not taken yet",
            of(&counted.unacknowledged),
        )?;
        page.counter(
            "muster_agent_reconnects_total",
            "Sessions that began after one that was lost",
            of(&counted.reconnects),
        )
    }
}

#[cfg(test)]
mod tests {
    use muster_common::ids::RowId;
    use muster_common::measurement::{Answer, Execution, Lag, Measurement, QueryError, SqlState};

    use super::*;
    use crate::metrics::written;

    fn measured(service_time_ns: u64, outcome: Outcome) -> (u16, Told) {
        let (row, execution) = (RowId::new(0), Execution::default());
        (
            0,
            Told::Measured(Measurement {
                row,
                start_ns: 0,
                lag: Lag::default(),
                service_time_ns,
                execution,
                outcome,
            }),
        )
    }

    #[track_caller]
    fn check(metrics: &AgentMetrics, expected: &[&str]) {
        let page = written(metrics.clone());
        for line in expected {
            assert!(page.lines().any(|found| found == *line), "'{line}' is not in:\n{page}");
        }
    }

    #[test]
    fn a_failed_query_has_no_part_in_the_times() {
        let metrics = AgentMetrics::of(3);
        let sqlstate = SqlState::try_new("57014").unwrap();
        let failed = Outcome::Failed(QueryError::new(sqlstate, "timed out"));
        metrics.hear(&[
            measured(1_500_000, Outcome::Completed(Answer::default())),
            (1, Told::LeftOut(7)),
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
        metrics.join().lose();
        check(&metrics, &["muster_agent_connected 0", "muster_agent_reconnects_total 0"]);
        let third = metrics.join();
        check(&metrics, &["muster_agent_connected 1", "muster_agent_reconnects_total 1"]);
        drop(third);
        drop(metrics.join());
        check(&metrics, &["muster_agent_reconnects_total 1"]);
    }

    #[test]
    fn who_does_not_serve_them_counts_nothing() {
        let metrics = AgentMetrics::default();
        metrics.hear(&[measured(1, Outcome::Completed(Answer::default()))]);
        metrics.hold(5);
        drop(metrics.join());
        assert!(!written(metrics).contains("muster_agent"));
    }
}
