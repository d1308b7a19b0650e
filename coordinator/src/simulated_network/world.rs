//! Runs one scenario: starts its hosts and the network between them, and injects the faults when they are due.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::coordinator;
use super::faults::{Direction, Ends, Fault, Timed};
use super::network::{self, COORDINATOR, agent_name};
use super::scenario::Scenario;
use super::site::{Backends, Ended, Site};

/// The step of the simulation. All hosts advance by this much in turn, so no message arrives sooner.
const TICK: Duration = Duration::from_millis(5);
/// The upper bound of a run: the last fault ends within 21 s, and all rows together take less than a minute.
const TIME_MAX: Duration = Duration::from_secs(180);

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

impl World<'_> {
    fn inject(&mut self, fault: &Fault) {
        match *fault {
            Fault::Kill(agent) => self.kill_agent(agent),
            Fault::PowerOff(agent) => {
                self.partition(agent, Direction::Both);
                self.kill_agent(agent);
            }
            Fault::Terminate(agent) => self.terminate_agent(agent),
            Fault::Start(agent) => self.start_agent(agent),
            Fault::KillCoordinator => self.kill_coordinator(),
            Fault::StartCoordinator => self.start_coordinator(),
            Fault::Hold(agent) => self.hold(agent),
            Fault::Release(agent) => self.release(agent),
            Fault::Partition(agent, direction) => self.partition(agent, direction),
            Fault::Repair(agent) => self.repair(agent),
            Fault::Cut(agent, ends) => self.cut(agent, ends),
            Fault::Slow(agent, latency_max) => self.slow(agent, latency_max),
        }
    }

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
                self.inject(&fault);
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
