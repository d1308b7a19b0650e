//! The simulated database: its backends, the queries they run, and the violations it detects. As in PostgreSQL, a query continues when its
//! client disconnects, until its backend is terminated. All agents use the same database. The connection to it takes some milliseconds
//! and never breaks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_core::ids::{Epoch, RowId, RunId, SessionId, SlotId};
use tokio_util::sync::CancellationToken;

use super::invariants::{Invariant, Violation};
use super::scenario::Scenario;

pub(super) struct Database {
    run: RunId,
    slots: u16,
    /// True if the database refuses to terminate backends.
    refuses: bool,
    /// If false, no backend is terminated and every request reports that there was none.
    ends_backends: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    backends: Vec<Backend>,
    executions: Vec<Execution>,
    violations: Vec<Violation>,
}

struct Backend {
    name: String,
    /// Index of its latest query in `State::executions`.
    latest: Option<usize>,
    has_client: bool,
    ended: CancellationToken,
}

/// One query that has started.
#[derive(Debug, Clone)]
pub(super) struct Execution {
    pub(super) row: RowId,
    pub(super) host: String,
    pub(super) slot: SlotId,
    pub(super) epoch: Epoch,
    pub(super) began: Duration,
    /// The time at which it ends or ended.
    pub(super) until: Duration,
    pub(super) is_finished: bool,
    /// The time at which its client disconnected.
    pub(super) left: Option<Duration>,
    backend: usize,
}

/// A client's connection: the index of its backend.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackendId(usize);

#[derive(Debug, Clone, Copy)]
pub(super) struct ExecutionId(usize);

impl Database {
    pub(super) fn new(run: RunId, scenario: &Scenario, ends_backends: bool) -> Self {
        let Scenario { slots, refuses, .. } = *scenario;
        Self { run, slots, refuses, ends_backends, state: Mutex::default() }
    }

    /// Opens a connection. The token is cancelled when the backend is terminated.
    pub(super) fn connect(&self, name: &str) -> (BackendId, CancellationToken) {
        let ended = CancellationToken::new();
        let mut state = self.lock();
        let name = name.to_owned();
        state.backends.push(Backend { name, latest: None, has_client: true, ended: ended.clone() });
        (BackendId(state.backends.len() - 1), ended)
    }

    pub(super) fn rename(&self, backend: BackendId, name: &str) {
        self.lock().backends[backend.0].name = name.to_owned();
    }

    /// The client disconnects at the time `now`. A query that is running continues.
    pub(super) fn disconnect(&self, BackendId(backend): BackendId, now: Duration) {
        let State { backends, executions, .. } = &mut *self.lock();
        backends[backend].has_client = false;
        let of_client = executions.iter_mut().filter(|execution| execution.backend == backend);
        of_client.for_each(|execution| execution.left = Some(now));
    }

    /// Starts a query, and records a violation if another query of its host is running, or one of another session of its slot, or if a
    /// later session of its slot has already started a query.
    pub(super) fn begin(&self, backend: BackendId, row: RowId, host: &str, takes: Duration) -> ExecutionId {
        let BackendId(backend) = backend;
        let now = now();
        let mut state = self.lock();
        let name = state.backends[backend].name.clone();
        let session = (0..self.slots).map(SlotId::new).find_map(|slot| {
            let epoch = SessionId::epoch_of_application_name(&name, &self.run, slot)?;
            Some((slot, epoch))
        });
        let Some((slot, epoch)) = session else {
            let what = format!("row {row} runs without a slot, as '{name}'");
            state.violations.push(Violation::new(Invariant::OneSession, what));
            return ExecutionId(usize::MAX);
        };
        let conflict = state.executions.iter().find_map(|other| {
            let is_running = other.until > now;
            let invariant = if other.slot == slot && (other.epoch > epoch || is_running && other.epoch < epoch) {
                Invariant::OneSession
            } else if other.host == host && is_running {
                Invariant::OneQuery
            } else {
                return None;
            };
            let Execution { row: other_row, host: other_host, slot: other_slot, epoch: other_epoch, .. } = other;
            let what = format!(
                "{now:?}: row {row} of {host} begins in {slot}, epoch {epoch}, beside or after row {other_row} of {other_host} in {other_slot}, epoch {other_epoch}"
            );
            Some(Violation::new(invariant, what))
        });
        state.violations.extend(conflict);
        let (host, until) = (host.to_owned(), now + takes);
        let (is_finished, left) = (false, None);
        state.executions.push(Execution {
            row,
            host,
            slot,
            epoch,
            began: now,
            until,
            is_finished,
            left,
            backend,
        });
        let latest = state.executions.len() - 1;
        state.backends[backend].latest = Some(latest);
        ExecutionId(latest)
    }

    /// The query has returned its result.
    pub(super) fn finish(&self, execution: ExecutionId) {
        if let Some(execution) = self.lock().executions.get_mut(execution.0) {
            (execution.until, execution.is_finished) = (now(), true);
        }
    }

    /// The query was cancelled, or its backend was terminated.
    pub(super) fn stop(&self, execution: ExecutionId) {
        if let Some(execution) = self.lock().executions.get_mut(execution.0) {
            execution.until = execution.until.min(now());
        }
    }

    /// Terminates the backends of a slot whose epoch is less than `below`. Returns their number.
    pub(super) fn end_backends(&self, slot: SlotId, below: Epoch) -> Result<u32, String> {
        if self.refuses {
            return Err("permission denied to terminate process".to_owned());
        }
        if !self.ends_backends {
            return Ok(0);
        }
        let now = now();
        let mut ended = 0;
        let State { backends, executions, .. } = &mut *self.lock();
        for backend in backends.iter().filter(|backend| !backend.ended.is_cancelled()) {
            let epoch = SessionId::epoch_of_application_name(&backend.name, &self.run, slot);
            let running =
                backend.latest.map(|latest| &mut executions[latest]).filter(|latest| latest.until > now);
            if epoch.is_some_and(|epoch| epoch < below) && (backend.has_client || running.is_some()) {
                backend.ended.cancel();
                ended += 1;
                if let Some(running) = running {
                    running.until = now;
                }
            }
        }
        Ok(ended)
    }

    pub(super) fn executions(&self) -> Vec<Execution> {
        self.lock().executions.clone()
    }

    pub(super) fn add_violation(&self, violation: Violation) {
        self.lock().violations.push(violation);
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The simulated time, the same for all hosts, with a resolution of one tick.
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
