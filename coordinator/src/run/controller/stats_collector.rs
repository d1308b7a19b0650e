//! Collects server statistics before and after the counted rows, and the plans of the slowest rows. The agent of the lowest slot reads
//! them, because the coordinator may have no database. This never happens while rows run, and if it fails, the run continues without
//! statistics.

use std::time::Duration;

use bytes::Bytes;
use muster_common::limits;
use muster_common::parameters::PackedParameters;
use muster_common::result::Ending;
use muster_common::server_side::ExplainedPlan;
use muster_proto::control::{Explain, Explained, FromCoordinator, StatsReply, StatsRequest};
use tokio::time::sleep_until;

use super::{Handled, RunController};
use crate::clock;
use crate::output::units::counted;
use crate::run::link::{ControlSender, MemberId};
use crate::run::record::Fact;
use crate::run::server_side;
use crate::run::slowest::Slow;
use crate::workload::RowReader;

/// The additional time that an agent has to reply, beyond the timeout of the request.
const GRACE: Duration = Duration::from_secs(1);
/// After this time without a reply, another agent is asked as well, because the first may never reply and the start waits for it.
const ASK_ANOTHER_AFTER: Duration = Duration::from_secs(1);
const ASKED_MAX: usize = 3;

/// Requests to agents, one at a time, and their replies.
#[derive(Debug, Default)]
pub(super) struct StatsCollector {
    /// The number of the latest request.
    number: u32,
    /// The number of the first request whose reply is still accepted. If several agents were asked, the first reply is used.
    first: u32,
    reply: Option<Reply>,
    /// True if the latest round counts and statistics were read before it.
    is_open: bool,
}

#[derive(Debug)]
enum Reply {
    StatsReply(StatsReply),
    Explained(Explained),
}

impl StatsCollector {
    pub(super) fn stats_reply(&mut self, reply: StatsReply) {
        if (self.first..=self.number).contains(&reply.number) {
            self.reply = Some(Reply::StatsReply(reply));
        }
    }

    pub(super) fn explained(&mut self, explained: Explained) {
        if (self.first..=self.number).contains(&explained.number) {
            self.reply = Some(Reply::Explained(explained));
        }
    }
}

impl RunController<'_> {
    /// Reads the statistics before a round that counts. Returns `Err` if the run ended meanwhile.
    pub(super) async fn collect_stats_before(&mut self, is_counted: bool) -> Result<(), Ending> {
        self.stats_collector.is_open = false;
        if is_counted {
            self.stats_collector.is_open = self.request_stats(false).await?;
        }
        Ok(())
    }

    /// Reads the statistics after every row has run and every worker has ended.
    pub(super) async fn collect_stats_after(&mut self, ending: Ending) {
        if ending == Ending::CannotWrite || self.record.server.before.is_none() {
            return;
        }
        if !self.stats_collector.is_open {
            let why =
                "server statistics are missing: queries that are not counted ran after the counted ones";
            self.note(Fact::NoStats { why: why.to_owned() });
            return;
        }
        // An error would mean that the run has ended, which it has anyway.
        let _ = self.request_stats(true).await;
    }

    /// Returns true if a snapshot was read.
    async fn request_stats(&mut self, is_last: bool) -> Result<bool, Ending> {
        let request = |number| FromCoordinator::StatsRequest(StatsRequest { number, is_last });
        let outcome = match self.ask(request, limits::STATS_TIMEOUT + GRACE, ASKED_MAX).await? {
            Ok(Reply::StatsReply(StatsReply { outcome, .. })) => outcome,
            Ok(Reply::Explained(_)) => Err("the agent replied to another request".to_owned()),
            Err(why) => Err(why),
        };
        let is_read = outcome.is_ok();
        self.note_with_changes(match outcome {
            Ok(snapshot) => Fact::StatsTaken { is_last, snapshot },
            Err(why) => Fact::NoStats { why: format!("server statistics are missing: {why}") },
        });
        Ok(is_read)
    }

    /// Explains the slowest rows. Runs after the last statistics are read, so that these executions are not in the statistics.
    pub(super) async fn explain_slowest(&mut self, ending: Ending) {
        let Some(round_context) = self.round_context.clone().filter(|_| self.plan.explain_slowest > 0) else {
            return;
        };
        if ending != Ending::Completed {
            self.not_explained("the run did not complete");
            return;
        }
        let mut slowest = round_context.keeper.slowest().await.unwrap_or_default().rows().to_vec();
        // The first executions of a connection may belong to the warm-up.
        for slow in slowest.iter_mut().filter(|slow| slow.earlier.is_empty()) {
            slow.earlier = self.warmed_up.before(slow.worker, slow.statement, slow.execution);
        }
        if slowest.is_empty() {
            self.not_explained("no query completed");
            return;
        }
        let queries = counted(slowest.len() as u64, "query");
        self.display.println(&format!("explaining the slowest {queries}: each is run again"));
        let mut reader = RowReader::new(std::sync::Arc::clone(&round_context.workload));
        let deadline = clock::now() + limits::EXPLAIN_ALL_TIMEOUT;
        for slow in slowest {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                self.not_explained(&format!("time limit of {:?} reached", limits::EXPLAIN_ALL_TIMEOUT));
                return;
            }
            if self.interrupt.is_cancelled() {
                self.not_explained("interrupted");
                return;
            }
            let plan = self.explain(&slow, &mut reader, left).await;
            let host = round_context.workload.hosts().name(slow.host).to_owned();
            let Slow { row, statement, execution, service_time_ns, .. } = slow;
            let (row, kind) = (row.get(), plan.as_ref().ok().and_then(|plan| plan.kind));
            let plan = plan.map(|plan| plan.lines);
            let explained =
                server_side::Explained { row, host, statement, service_time_ns, plan, execution, kind };
            self.note(Fact::Explained(Box::new(explained)));
        }
    }

    async fn explain(
        &mut self,
        slow: &Slow,
        reader: &mut RowReader,
        left: Duration,
    ) -> Result<ExplainedPlan, String> {
        let mut packed = |record| {
            let mut parameters = PackedParameters::new();
            let read = clock::blocking(|| reader.read(record, &mut parameters));
            read.map(|_| Bytes::from(parameters.into_bytes())).map_err(|problem| problem.to_string())
        };
        let parameters = packed(slow.record)?;
        let (mut earlier, mut bytes) = (Vec::new(), 0);
        for record in &slow.earlier {
            let parameters = packed(*record)?;
            bytes += parameters.len();
            if bytes > limits::EXPLAIN_EARLIER_BYTES_MAX {
                break;
            }
            earlier.push(parameters);
        }
        let timeout =
            self.plan.timeout.unwrap_or(limits::EXPLAIN_TIMEOUT).min(limits::EXPLAIN_TIMEOUT).min(left);
        let Slow { statement, execution, .. } = *slow;
        let request = move |number| {
            let (parameters, earlier) = (parameters.clone(), earlier.clone());
            FromCoordinator::Explain(Explain { number, statement, parameters, timeout, execution, earlier })
        };
        match self.ask(request, timeout + limits::STATS_TIMEOUT + GRACE, 1).await {
            Ok(Ok(Reply::Explained(Explained { outcome, .. }))) => outcome,
            Ok(Ok(Reply::StatsReply(_))) => Err("the agent replied to another request".to_owned()),
            Ok(Err(why)) => Err(why),
            Err(_) => Err("the run ended".to_owned()),
        }
    }

    fn not_explained(&mut self, why: &str) {
        self.note(Fact::NoStats { why: format!("plans of the slowest queries are missing: {why}") });
    }

    /// Sends a request to the agent of the lowest slot, and to the next ones if it does not reply. Handles all other calls until one has
    /// replied. Returns `Err` if the run ends meanwhile; otherwise the reply, or the reason why there is none.
    async fn ask(
        &mut self,
        request: impl Fn(u32) -> FromCoordinator,
        patience: Duration,
        asked_max: usize,
    ) -> Result<Result<Reply, String>, Ending> {
        self.stats_collector.reply = None;
        self.stats_collector.first = self.stats_collector.number + 1;
        let interrupt = self.interrupt.clone();
        // A request after an interrupt is part of the shutdown, so the interrupt does not end it.
        let is_over = interrupt.is_cancelled();
        let deadline = clock::now() + patience;
        let mut asked: Vec<MemberId> = Vec::new();
        let mut ask_next_at = clock::now();
        loop {
            if let Some(reply) = self.stats_collector.reply.take() {
                return Ok(Ok(reply));
            }
            let is_present = asked.iter().any(|id| self.membership.present_mut(*id).is_some());
            if !is_present || clock::now() >= ask_next_at {
                match self.next_to_ask(&asked).filter(|_| asked.len() < asked_max) {
                    Some((id, control)) => {
                        self.stats_collector.number += 1;
                        control.send(request(self.stats_collector.number));
                        asked.push(id);
                        ask_next_at = clock::now() + ASK_ANOTHER_AFTER;
                    }
                    None if is_present => ask_next_at = deadline,
                    None if asked.is_empty() => {
                        return Ok(Err("no connected agent supports server statistics".to_owned()));
                    }
                    None => return Ok(Err("the agent that was asked was lost".to_owned())),
                }
            }
            tokio::select! {
                // Calls come last: there may be many of them, and of everything else there are few.
                biased;
                () = interrupt.cancelled(), if !is_over => return Ok(Err("the run was interrupted".to_owned())),
                () = sleep_until(deadline.into()) => {
                    return Ok(Err(format!("no agent replied within {patience:?}")));
                }
                () = sleep_until(ask_next_at.into()) => {}
                Some(call) = self.calls.recv() => {
                    if let Handled::Unreadable(problem) = self.handle_call(call) {
                        return Err(self.end_for_workload(&problem));
                    }
                }
            }
        }
    }

    fn next_to_ask(&self, asked: &[MemberId]) -> Option<(MemberId, ControlSender)> {
        let mut able = self.membership.live().filter(|member| member.hello.can_report_stats);
        let next = able.find(|member| !asked.contains(&member.id))?;
        Some((next.id, next.control.clone()))
    }
}
