//! The state that all hosts of one run share, and the process of an agent.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_agent::metrics::AgentMetrics;
use muster_agent::runtime::{Network, Runtime};
use muster_agent::{AgentConfig, serve_in};
use muster_core::ids::RunId;
use muster_report::result::RunResult;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::driver::SimulatedDriver;
use super::network::{self, COORDINATOR, ConnectionCutter, PORT};
use super::scenario::Scenario;
use super::tape::Tape;

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ended {
    Reported(Box<RunResult>),
    /// Nothing was left to resume because the previous coordinator had counted the last row.
    NothingLeft,
    Failed(String),
}

/// The state that all hosts of one run share, except the network.
pub(super) struct Site {
    pub(super) scenario: Scenario,
    pub(super) run: RunId,
    pub(super) csv: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) database: Arc<Database>,
    pub(super) cutter: Arc<ConnectionCutter>,
    pub(super) tape: Arc<Tape>,
    driver: Arc<SimulatedDriver>,
    ended: Mutex<Option<Ended>>,
    agents: Mutex<Vec<Process>>,
    /// Removed, with its contents, when the run ends.
    _directory: TempDir,
}

/// The latest process of an agent.
#[derive(Default)]
pub(super) struct Process {
    pub(super) starts: u32,
    pub(super) shutdown: CancellationToken,
}

/// How the simulated database handles a request to terminate backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backends {
    Ended,
    /// Terminates no backend, and reports that there was none to terminate.
    NotEnded,
}

impl Site {
    pub(super) fn of(scenario: Scenario, backends: Backends) -> Self {
        let directory = tempfile::tempdir().expect("make a directory");
        let csv = directory.path().join("rows.csv");
        std::fs::write(&csv, scenario.csv()).expect("write the workload");
        let run = RunId::try_new("simulated").expect("the name has only letters");
        let database = Arc::new(Database::new(run.clone(), &scenario, backends == Backends::Ended));
        let driver = SimulatedDriver { database: Arc::clone(&database), rows: Arc::clone(&scenario.rows) };
        Self {
            agents: Mutex::new(scenario.agents.iter().map(|_| Process::default()).collect()),
            run,
            csv,
            journal: directory.path().join("journal"),
            database,
            cutter: Arc::default(),
            tape: Arc::default(),
            driver: Arc::new(driver),
            ended: Mutex::default(),
            _directory: directory,
            scenario,
        }
    }

    pub(super) fn end(&self, ended: Ended) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    pub(super) fn take_ended(&self) -> Option<Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn agents(&self) -> MutexGuard<'_, Vec<Process>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn serve_agent(self: Arc<Self>, agent: usize) -> turmoil::Result {
        let (starts, shutdown) = {
            let process = &mut self.agents()[agent];
            process.starts += 1;
            process.shutdown = CancellationToken::new();
            (process.starts, process.shutdown.clone())
        };
        let planned = &self.scenario.agents[agent];
        if starts == 1 {
            tokio::time::sleep(planned.starts_after).await;
        }
        let connect = network::connect(agent, Arc::clone(&self.cutter), Arc::clone(&self.tape));
        let runtime = Runtime {
            network: Network::Other(connect),
            driver: self.driver.clone(),
            seed: self.scenario.seed ^ (agent as u64) << 32 ^ u64::from(starts),
            metrics: AgentMetrics::of(self.scenario.workers),
        };
        let config = AgentConfig {
            workers: self.scenario.workers,
            slot: planned.slot,
            ..AgentConfig::joining(format!("{COORDINATOR}:{PORT}").parse()?)
        };
        serve_in(&runtime, config, shutdown).await?;
        Ok(())
    }
}
