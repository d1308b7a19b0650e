//! The server's side: what it has counted before the rows that count and after them, and how it executes the slowest. The agent of the
//! lowest slot looks, for the coordinator may have no database. Never while rows run; and whatever goes wrong, the run goes on without.

use std::time::Duration;

use bytes::Bytes;
use muster_common::limits;
use muster_common::parameters::PackedParameters;
use muster_common::result::Ending;
use muster_common::server_side::ExplainedPlan;
use muster_proto::control::{Explain, Explained, FromCoordinator, Look, Seen};
use tokio::time::sleep_until;

use super::{Conductor, Turn};
use crate::clock;
use crate::output::units::counted;
use crate::run::link::{Line, MemberId};
use crate::run::record::Fact;
use crate::run::server_side;
use crate::run::slowest::Slow;
use crate::workload::RowReader;

/// An agent needs this much longer to say so than what it was asked takes.
const GRACE: Duration = Duration::from_secs(1);
/// An agent that has not answered by then may never do: another one is asked as well, for the start waits for it.
const ASK_ANOTHER_AFTER: Duration = Duration::from_secs(1);
const ASKED_MAX: usize = 3;

/// Questions to agents, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    /// Of the latest question.
    number: u32,
    /// Of the first one that may still be answered; with several agents asked, whoever answers first.
    first: u32,
    answer: Option<Answer>,
    /// The latest round began with a look, and counts.
    is_open: bool,
}

#[derive(Debug)]
enum Answer {
    Seen(Seen),
    Explained(Explained),
}

impl Lookout {
    pub(super) fn seen(&mut self, seen: Seen) {
        if (self.first..=self.number).contains(&seen.number) {
            self.answer = Some(Answer::Seen(seen));
        }
    }

    pub(super) fn explained(&mut self, explained: Explained) {
        if (self.first..=self.number).contains(&explained.number) {
            self.answer = Some(Answer::Explained(explained));
        }
    }
}

impl Conductor<'_> {
    /// When a round is about to start. `Err` when the run came to its end meanwhile.
    pub(super) async fn look_before(&mut self, is_counted: bool) -> Result<(), Ending> {
        self.lookout.is_open = false;
        if is_counted {
            self.lookout.is_open = self.look(false).await?;
        }
        Ok(())
    }

    /// When every row is through and every worker has ended.
    pub(super) async fn look_after(&mut self, ending: Ending) {
        if ending == Ending::CannotWrite || self.record.server.before.is_none() {
            return;
        }
        if !self.lookout.is_open {
            let why = "the server's side is not known: queries that do not count ran after those that do";
            self.note(Fact::NotLooked { why: why.to_owned() });
            return;
        }
        // Its end has come already.
        let _ = self.look(true).await;
    }

    /// True when something was seen.
    async fn look(&mut self, is_last: bool) -> Result<bool, Ending> {
        let question = |number| FromCoordinator::Look(Look { number, is_last });
        let outcome = match self.ask(question, limits::LOOK_TIMEOUT + GRACE, ASKED_MAX).await? {
            Ok(Answer::Seen(Seen { outcome, .. })) => outcome,
            Ok(Answer::Explained(_)) => Err("the agent answered another question".to_owned()),
            Err(why) => Err(why),
        };
        let is_seen = outcome.is_ok();
        self.note_with_changes(match outcome {
            Ok(sight) => Fact::Looked { is_last, sight },
            Err(why) => Fact::NotLooked { why: format!("the server's side is not known: {why}") },
        });
        Ok(is_seen)
    }

    /// After the last look: these executions are nobody's.
    pub(super) async fn explain_slowest(&mut self, ending: Ending) {
        let Some(field) = self.field.clone().filter(|_| self.plan.explain_slowest > 0) else { return };
        if ending != Ending::Completed {
            self.not_explained("the run did not come to its end");
            return;
        }
        let mut slowest = field.keeper.slowest().await.unwrap_or_default().rows().to_vec();
        // The first executions of a connection may belong to the warm-up.
        for slow in slowest.iter_mut().filter(|slow| slow.earlier.is_empty()) {
            slow.earlier = self.warmed_up.before(slow.worker, slow.statement, slow.execution);
        }
        if slowest.is_empty() {
            self.not_explained("no query completed");
            return;
        }
        let queries = counted(slowest.len() as u64, "query");
        self.display.say(&format!("explaining the slowest {queries}: each is run once more"));
        let mut reader = RowReader::new(std::sync::Arc::clone(&field.workload));
        let deadline = clock::now() + limits::EXPLAIN_ALL_TIMEOUT;
        for slow in slowest {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                self.not_explained(&format!("the others took {:?}", limits::EXPLAIN_ALL_TIMEOUT));
                return;
            }
            if self.interrupt.is_cancelled() {
                self.not_explained("interrupted");
                return;
            }
            let plan = self.explain(&slow, &mut reader, left).await;
            let host = field.workload.hosts().name(slow.host).to_owned();
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
        let question = move |number| {
            let (parameters, earlier) = (parameters.clone(), earlier.clone());
            FromCoordinator::Explain(Explain { number, statement, parameters, timeout, execution, earlier })
        };
        match self.ask(question, timeout + limits::LOOK_TIMEOUT + GRACE, 1).await {
            Ok(Ok(Answer::Explained(Explained { outcome, .. }))) => outcome,
            Ok(Ok(Answer::Seen(_))) => Err("the agent answered another question".to_owned()),
            Ok(Err(why)) => Err(why),
            Err(_) => Err("the run came to its end".to_owned()),
        }
    }

    fn not_explained(&mut self, why: &str) {
        self.note(Fact::NotLooked { why: format!("plans of the slowest queries are missing: {why}") });
    }

    /// Asks the agent of the lowest slot, and the next ones when it keeps silent, and goes on with everything else until one has answered.
    /// `Err` when the run ends meanwhile, else the answer or why there is none.
    async fn ask(
        &mut self,
        question: impl Fn(u32) -> FromCoordinator,
        patience: Duration,
        asked_max: usize,
    ) -> Result<Result<Answer, String>, Ending> {
        self.lookout.answer = None;
        self.lookout.first = self.lookout.number + 1;
        let interrupt = self.interrupt.clone();
        // Asked after an interrupt, it is part of the end.
        let is_over = interrupt.is_cancelled();
        let deadline = clock::now() + patience;
        let mut asked: Vec<MemberId> = Vec::new();
        let mut ask_next_at = clock::now();
        loop {
            if let Some(answer) = self.lookout.answer.take() {
                return Ok(Ok(answer));
            }
            let is_there = asked.iter().any(|id| self.roster.present_mut(*id).is_some());
            if !is_there || clock::now() >= ask_next_at {
                match self.next_to_ask(&asked).filter(|_| asked.len() < asked_max) {
                    Some((id, line)) => {
                        self.lookout.number += 1;
                        line.say(question(self.lookout.number));
                        asked.push(id);
                        ask_next_at = clock::now() + ASK_ANOTHER_AFTER;
                    }
                    None if is_there => ask_next_at = deadline,
                    None if asked.is_empty() => {
                        return Ok(Err("there is no agent that can look at it".to_owned()));
                    }
                    None => return Ok(Err("the agent that was asked was lost".to_owned())),
                }
            }
            tokio::select! {
                // Calls come last, as everywhere.
                biased;
                () = interrupt.cancelled(), if !is_over => return Ok(Err("the run was interrupted".to_owned())),
                () = sleep_until(deadline.into()) => {
                    return Ok(Err(format!("no agent answered within {patience:?}")));
                }
                () = sleep_until(ask_next_at.into()) => {}
                Some(call) = self.calls.recv() => {
                    if let Turn::Unreadable(problem) = self.take(call) {
                        return Err(self.give_up_workload(&problem));
                    }
                }
            }
        }
    }

    fn next_to_ask(&self, asked: &[MemberId]) -> Option<(MemberId, Line)> {
        let mut able = self.roster.live().filter(|member| member.hello.can_look);
        let next = able.find(|member| !asked.contains(&member.id))?;
        Some((next.id, next.line.clone()))
    }
}
