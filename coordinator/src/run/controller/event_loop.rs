//! The one place where the controller waits: for a call, a deadline, an interrupt, or the progress of the rows.

use std::time::{Duration, Instant};

use muster_core::prepare::PrepareFailed;
use muster_proto::control::{FromAgent, FromCoordinator};
use muster_report::result::Ending;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::error::Stop;
use super::sessions::Sessions;
use super::stats_collector::{Reply, StatsCollector, Step};
use crate::clock;
use crate::run::keeper::Progress;
use crate::run::link::Call;
use crate::run::membership::{Loss, MemberId, Phase};

pub(super) struct EventLoop<'a> {
    calls: mpsc::Receiver<Call>,
    interrupt: CancellationToken,
    sessions: Sessions<'a>,
    stats: StatsCollector,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// The time until which to wait.
    Due,
    /// A call, which was handled.
    Called,
    Progressed,
}

impl<'a> EventLoop<'a> {
    pub(super) fn new(
        calls: mpsc::Receiver<Call>,
        interrupt: CancellationToken,
        sessions: Sessions<'a>,
    ) -> Self {
        Self { calls, interrupt, sessions, stats: StatsCollector::default() }
    }

    pub(super) fn sessions(&mut self) -> &mut Sessions<'a> {
        &mut self.sessions
    }

    pub(super) fn into_sessions(self) -> Sessions<'a> {
        self.sessions
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.is_cancelled()
    }

    /// Waits for one event and handles it, until `until` at the latest.
    pub(super) async fn step(&mut self, until: Instant) -> Result<Woken, Stop> {
        self.wait(until, true, None).await
    }

    /// Like [`Self::step`], and also returns when there is new progress.
    pub(super) async fn step_or_progress(
        &mut self,
        until: Instant,
        progress: &mut watch::Receiver<Progress>,
    ) -> Result<Woken, Stop> {
        self.wait(until, true, Some(progress)).await
    }

    /// Like [`Self::step`] in a run that is ending: nothing interrupts it any more.
    pub(super) async fn step_to_end(&mut self, until: Instant) -> Woken {
        self.wait(until, false, None).await.unwrap_or(Woken::Called)
    }

    async fn wait(
        &mut self,
        until: Instant,
        heeds_interrupt: bool,
        progress: Option<&mut watch::Receiver<Progress>>,
    ) -> Result<Woken, Stop> {
        let progressed = async {
            match progress {
                Some(progress) => progress.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Calls come last: there may be many of them, and of everything else there are few.
            biased;
            () = self.interrupt.cancelled(), if heeds_interrupt => Err(Stop::Interrupted),
            // An error means that the keeper has panicked, which surfaces when it is closed.
            changed = progressed => changed.map(|()| Woken::Progressed).map_err(|_| Stop::KeeperEnded),
            () = sleep_until(until.into()) => Ok(Woken::Due),
            Some(call) = self.calls.recv() => self.handle(call).map(|()| Woken::Called),
        }
    }

    fn handle(&mut self, call: Call) -> Result<(), Stop> {
        let sessions = &mut self.sessions;
        match call {
            // The task of the Control stream always waits for this answer, and reports the loss of an agent that has disconnected.
            Call::Join { joining, answer } => drop(answer.send(sessions.join(joining))),
            // An agent that has just received Welcome opens its Work stream before it reads a Bye.
            Call::OpenWork { session, answer } => drop(answer.send(sessions.open_work(&session))),
            Call::Lost { member, loss } => sessions.lose(member, loss),
            _ if sessions.phase() == Phase::Dismissed => {}
            Call::Prefetched { member } => sessions.prefetched(member),
            Call::RoundOver { member, round } => sessions.round_over(member, round),
            Call::Received { member, message } => return self.receive(member, message),
            Call::Unreadable { problem } => return Err(Stop::Unreadable(problem)),
        }
        Ok(())
    }

    fn receive(&mut self, id: MemberId, message: FromAgent) -> Result<(), Stop> {
        let sessions = &mut self.sessions;
        match message {
            FromAgent::Ready(ready) => sessions.ready(id, ready),
            FromAgent::PrepareFailed(failed) => return self.unprepared(id, failed),
            FromAgent::Started { at } => sessions.started(id, at),
            FromAgent::Report(_) if sessions.phase() != Phase::Draining => {
                sessions.lose(id, Loss::because("reported before the end"));
            }
            FromAgent::Report(reports) => sessions.reported(id, &reports),
            FromAgent::BackendsEnded(reply) => sessions.backends_ended(id, reply),
            FromAgent::Health(sample) => sessions.health(id, &sample),
            FromAgent::StatsReply(reply) => self.stats.replied(Reply::Stats(reply)),
            FromAgent::Explained(explained) => self.stats.replied(Reply::Explained(explained)),
            FromAgent::Reconnected(round, reconnects) => sessions.reconnected(id, round, reconnects),
            // The gRPC server answers heartbeats, accepts Hello once and turns Leave into a loss.
            FromAgent::Hello(_) | FromAgent::Beat(_) | FromAgent::Leave { .. } => {}
        }
        Ok(())
    }

    /// Handles an agent that cannot prepare. Before the start this ends the run. Later it only ends the agent's session.
    fn unprepared(&mut self, id: MemberId, failed: PrepareFailed) -> Result<(), Stop> {
        let Some(member) = self.sessions.members().present(id) else { return Ok(()) };
        if let Some(grant) = member.grant.filter(|_| self.sessions.phase() == Phase::WaitingForAgents) {
            return Err(Stop::Unprepared { slot: grant.slot, failed: Box::new(failed) });
        }
        let reason = format!("cannot prepare: {}", failed.message);
        self.sessions.send(id, FromCoordinator::Bye { reason: reason.clone() });
        self.sessions.lose(id, Loss::because(reason));
        Ok(())
    }

    /// Sends a request to at most `asked_max` agents until one has replied, and handles all other calls meanwhile. Returns `Err` if the run
    /// ends meanwhile; otherwise the reply, or the reason why there is none.
    pub(super) async fn ask(
        &mut self,
        request: impl Fn(u32) -> FromCoordinator,
        patience: Duration,
        asked_max: usize,
    ) -> Result<Result<Reply, String>, Ending> {
        // A request after an interrupt is part of the shutdown, so the interrupt does not end it.
        let heeds_interrupt = !self.interrupt.is_cancelled();
        self.stats.begin(patience, asked_max, clock::now());
        loop {
            let able = self.sessions.able_to_report_stats();
            match self.stats.next(&able, clock::now()) {
                Step::Ask(agent, number) => self.sessions.send(agent, request(number)),
                Step::Done(outcome) => return Ok(outcome),
                Step::Wait(until) => match self.wait(until, heeds_interrupt, None).await {
                    Ok(_) => {}
                    Err(Stop::Interrupted) => return Ok(Err("the run was interrupted".to_owned())),
                    Err(stop) => return Err(self.ending(stop)),
                },
            }
        }
    }

    /// Sends the unwritten facts to the keeper if the current round counts. Facts of other rounds wait until then.
    pub(super) async fn write_down(&mut self) {
        if let Some(round) = self.sessions.round().filter(|round| round.is_counted()) {
            let keeper = round.keeper().clone();
            keeper.note(self.sessions.log().take_unwritten()).await;
        }
    }

    /// Reports what ends a run that has begun.
    pub(super) fn ending(&mut self, stop: Stop) -> Ending {
        match stop {
            Stop::Unreadable(problem) => {
                let what = format!("the workload cannot be read completely: {problem}");
                self.sessions.log().report_error(what);
                Ending::WorkloadUnreadable
            }
            Stop::Interrupted | Stop::KeeperEnded => Ending::Interrupted,
            // Only before the start.
            Stop::Unprepared { .. } => Ending::AgentsLost,
        }
    }
}
