//! Runs one scenario: starts its hosts and the network between them, and injects the faults when they are due.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_agent::metrics::AgentMetrics;
use muster_agent::runtime::{Network, Runtime};
use muster_agent::{AgentConfig, serve_in};
use muster_core::ids::RunId;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::coordinator::{self, Ended};
use super::database::Database;
use super::driver::SimulatedDriver;
use super::faults::{Direction, Ends, Timed};
use super::network::{self, COORDINATOR, ConnectionCutter, PORT, agent_name};
use super::scenario::Scenario;
use super::tape::Tape;

/// The step of the simulation. All hosts advance by this much in turn, so no message arrives sooner.
const TICK: Duration = Duration::from_millis(5);
/// The upper bound of a run: the last fault ends within 21 s, and all rows together take less than a minute.
const TIME_MAX: Duration = Duration::from_secs(180);

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
struct Process {
    starts: u32,
    shutdown: CancellationToken,
}

pub(super) struct World<'a> {
    pub(super) site: Arc<Site>,
    sim: turmoil::Sim<'a>,
    links: Vec<Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Connected,
    Held,
    Partitioned,
}

/// How the simulated database handles a request to terminate backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backends {
    Ended,
    /// Terminates no backend, and reports that there was none to terminate.
    NotEnded,
}

impl Site {
    fn of(scenario: Scenario, backends: Backends) -> Self {
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

    fn agents(&self) -> MutexGuard<'_, Vec<Process>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve_agent(self: Arc<Self>, agent: usize) -> turmoil::Result {
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

impl World<'_> {
    pub(super) fn of(scenario: Scenario, backends: Backends) -> Self {
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(scenario.seed)
            .tick_duration(TICK)
            .simulation_duration(2 * TIME_MAX)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(scenario.latency_max)
            .tcp_capacity(1 << 14)
            .enable_random_order();
        let site = Arc::new(Site::of(scenario, backends));
        let mut sim = builder.build();
        let its_site = Arc::clone(&site);
        sim.host(COORDINATOR, move || coordinator::serve(Arc::clone(&its_site)));
        for agent in 0..site.scenario.agents.len() {
            let its_site = Arc::clone(&site);
            sim.host(agent_name(agent), move || Arc::clone(&its_site).serve_agent(agent));
        }
        let links = vec![Link::Connected; site.scenario.agents.len()];
        Self { site, sim, links }
    }

    /// Runs the simulation until the run ends, a process fails, or `TIME_MAX` is exceeded.
    pub(super) fn run(&mut self) -> Ended {
        let faults = self.site.scenario.faults.clone();
        let mut faults = faults.into_iter().peekable();
        loop {
            let now = self.sim.elapsed();
            while let Some(Timed { fault, .. }) = faults.next_if(|timed| timed.at <= now) {
                self.site.tape.log(now, &format!("{fault:?}"));
                fault.inject(self);
            }
            if let Err(problem) = self.sim.step() {
                return Ended::Failed(format!("a process failed: {problem}"));
            }
            if let Some(ended) = self.site.take_ended() {
                self.site.tape.log(now, "the run has ended");
                return ended;
            }
            if now > TIME_MAX {
                return Ended::Failed(format!("the run did not end within {TIME_MAX:?}"));
            }
        }
    }

    /// The time since the start of the simulation.
    pub(super) fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    pub(super) fn kill_agent(&mut self, agent: usize) {
        self.with_quiet_links(agent..agent + 1, |sim| sim.crash(agent_name(agent)));
    }

    pub(super) fn terminate_agent(&mut self, agent: usize) {
        self.site.agents()[agent].shutdown.cancel();
    }

    /// Restarts the agent unless it runs. An agent that was terminated is restarted even if it has not exited yet.
    pub(super) fn start_agent(&mut self, agent: usize) {
        let is_terminated = self.site.agents()[agent].shutdown.is_cancelled();
        if is_terminated || !self.sim.is_host_running(agent_name(agent)) {
            self.with_quiet_links(agent..agent + 1, |sim| sim.bounce(agent_name(agent)));
        }
    }

    pub(super) fn kill_coordinator(&mut self) {
        self.with_quiet_links(0..self.links.len(), |sim| sim.crash(COORDINATOR));
    }

    /// Ends a process. Its connections are closed in an order that varies between runs, and each draws its own delay. The links are held
    /// meanwhile, so that everything in flight arrives at once when they are released and the run stays reproducible.
    fn with_quiet_links(&mut self, agents: Range<usize>, end: impl FnOnce(&mut turmoil::Sim<'_>)) {
        let up: Vec<usize> = agents.filter(|agent| self.links[*agent] == Link::Connected).collect();
        up.iter().for_each(|agent| self.hold(*agent));
        end(&mut self.sim);
        up.iter().for_each(|agent| self.release(*agent));
    }

    pub(super) fn start_coordinator(&mut self) {
        if !self.sim.is_host_running(COORDINATOR) {
            self.sim.bounce(COORDINATOR);
        }
    }

    pub(super) fn hold(&mut self, agent: usize) {
        if self.links[agent] == Link::Connected {
            self.sim.hold(COORDINATOR, agent_name(agent));
            self.links[agent] = Link::Held;
        }
    }

    pub(super) fn release(&mut self, agent: usize) {
        if self.links[agent] == Link::Held {
            self.sim.release(COORDINATOR, agent_name(agent));
            self.links[agent] = Link::Connected;
        }
    }

    pub(super) fn partition(&mut self, agent: usize, direction: Direction) {
        self.release(agent);
        let name = agent_name(agent);
        match direction {
            Direction::Both => self.sim.partition(COORDINATOR, name),
            Direction::ToAgent => self.sim.partition_oneway(COORDINATOR, name),
            Direction::ToCoordinator => self.sim.partition_oneway(name, COORDINATOR),
        }
        self.links[agent] = Link::Partitioned;
    }

    pub(super) fn repair(&mut self, agent: usize) {
        if self.links[agent] == Link::Partitioned {
            self.sim.repair(COORDINATOR, agent_name(agent));
            self.links[agent] = Link::Connected;
        }
    }

    pub(super) fn cut(&mut self, agent: usize, ends: Ends) {
        if ends != Ends::Coordinator {
            self.site.cutter.cut(&network::end_at_agent(agent));
        }
        if ends != Ends::Agent {
            self.site.cutter.cut(&network::end_at_coordinator(agent));
        }
    }

    pub(super) fn slow(&mut self, agent: usize, latency_max: Duration) {
        self.sim.set_link_max_message_latency(COORDINATOR, agent_name(agent), latency_max);
    }
}
