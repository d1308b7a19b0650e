//! Requests to agents that read something from the server: whom to ask, until when to wait, and whose reply counts. Pure: `now` is an
//! argument. The agent of the lowest slot is asked, because the coordinator may have no database; if it does not reply, the next ones are.

use std::time::{Duration, Instant};

use muster_proto::control::{Explained, StatsReply};

use crate::run::membership::MemberId;

/// After this time without a reply, another agent is asked as well, because the first may never reply and the start waits for it.
const ASK_ANOTHER_AFTER: Duration = Duration::from_secs(1);

/// One request at a time.
#[derive(Debug, Default)]
pub(super) struct StatsCollector {
    /// The number of the latest message.
    number: u32,
    request: Option<Request>,
}

#[derive(Debug)]
struct Request {
    /// The number of its first message. If several agents were asked, the first reply is used.
    first: u32,
    patience: Duration,
    deadline: Instant,
    asked: Vec<MemberId>,
    asked_max: usize,
    ask_next_at: Instant,
    reply: Option<Reply>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    Stats(StatsReply),
    Explained(Explained),
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Send the request with this number to this agent.
    Ask(MemberId, u32),
    /// Wait for a reply until then.
    Wait(Instant),
    /// The reply, or the reason why there is none.
    Done(Result<Reply, String>),
}

impl StatsCollector {
    /// Begins a request. At most `asked_max` agents are asked.
    pub(super) fn begin(&mut self, patience: Duration, asked_max: usize, now: Instant) {
        self.request = Some(Request {
            first: self.number + 1,
            patience,
            deadline: now + patience,
            asked: Vec::new(),
            asked_max,
            ask_next_at: now,
            reply: None,
        });
    }

    /// Takes a reply. A reply to an earlier request has no effect.
    pub(super) fn replied(&mut self, reply: Reply) {
        let number = match &reply {
            Reply::Stats(reply) => reply.number,
            Reply::Explained(reply) => reply.number,
        };
        let latest = self.number;
        if let Some(request) = &mut self.request
            && (request.first..=latest).contains(&number)
        {
            request.reply = Some(reply);
        }
    }

    /// `able` has the connected agents that can reply, in the order in which to ask them.
    pub(super) fn next(&mut self, able: &[MemberId], now: Instant) -> Step {
        let Some(request) = &mut self.request else { return Step::Done(Err("nothing was asked".to_owned())) };
        let step = request.next(able, self.number, now);
        match step {
            Step::Ask(..) => self.number += 1,
            Step::Done(_) => self.request = None,
            Step::Wait(_) => {}
        }
        step
    }
}

impl Request {
    fn next(&mut self, able: &[MemberId], number: u32, now: Instant) -> Step {
        if let Some(reply) = self.reply.take() {
            return Step::Done(Ok(reply));
        }
        if now >= self.deadline {
            return Step::Done(Err(format!("no agent replied within {:?}", self.patience)));
        }
        let is_present = self.asked.iter().any(|agent| able.contains(agent));
        if !is_present || now >= self.ask_next_at {
            let mut others = able.iter().filter(|agent| !self.asked.contains(agent));
            match others.next().filter(|_| self.asked.len() < self.asked_max) {
                Some(agent) => {
                    self.asked.push(*agent);
                    self.ask_next_at = now + ASK_ANOTHER_AFTER;
                    return Step::Ask(*agent, number + 1);
                }
                None if is_present => self.ask_next_at = self.deadline,
                None if self.asked.is_empty() => {
                    return Step::Done(Err("no connected agent supports server statistics".to_owned()));
                }
                None => return Step::Done(Err("the agent that was asked was lost".to_owned())),
            }
        }
        Step::Wait(self.ask_next_at.min(self.deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn begun(asked_max: usize) -> (StatsCollector, Instant) {
        let (mut collector, start) = (StatsCollector::default(), Instant::now());
        collector.begin(PATIENCE, asked_max, start);
        (collector, start)
    }

    fn agents(ids: &[u32]) -> Vec<MemberId> {
        ids.iter().map(|id| MemberId(*id)).collect()
    }

    fn reply(number: u32) -> Reply {
        Reply::Stats(StatsReply { number, outcome: Err(format!("reply {number}")) })
    }

    fn failed(why: &str) -> Step {
        Step::Done(Err(why.to_owned()))
    }

    #[test]
    fn the_next_agent_is_asked_when_one_does_not_reply_and_the_first_reply_counts() {
        let (mut collector, start) = begun(2);
        let able = agents(&[7, 8, 9]);
        assert_eq!(collector.next(&able, start), Step::Ask(MemberId(7), 1));
        let later = start + ASK_ANOTHER_AFTER;
        assert_eq!(collector.next(&able, start), Step::Wait(later));
        assert_eq!(collector.next(&able, later), Step::Ask(MemberId(8), 2));
        assert_eq!(collector.next(&able, later), Step::Wait(later + ASK_ANOTHER_AFTER));
        let much_later = later + ASK_ANOTHER_AFTER;
        assert_eq!(collector.next(&able, much_later), Step::Wait(start + PATIENCE), "two are enough");
        collector.replied(reply(1));
        assert_eq!(collector.next(&able, much_later), Step::Done(Ok(reply(1))));
        collector.begin(PATIENCE, 2, much_later);
        assert_eq!(collector.next(&able, much_later), Step::Ask(MemberId(7), 3));
        collector.replied(reply(2));
        assert_eq!(collector.next(&able, much_later), Step::Wait(much_later + ASK_ANOTHER_AFTER));
        collector.replied(reply(3));
        assert_eq!(collector.next(&able, much_later), Step::Done(Ok(reply(3))));
    }

    #[test]
    fn the_next_agent_is_asked_at_once_when_the_asked_one_is_lost() {
        let (mut collector, start) = begun(3);
        assert_eq!(collector.next(&agents(&[7, 8]), start), Step::Ask(MemberId(7), 1));
        assert_eq!(collector.next(&agents(&[8]), start), Step::Ask(MemberId(8), 2));
        assert_eq!(collector.next(&agents(&[]), start), failed("the agent that was asked was lost"));
    }

    #[test]
    fn a_request_ends_without_agents_and_at_its_deadline() {
        let (mut collector, start) = begun(1);
        assert_eq!(collector.next(&[], start), failed("no connected agent supports server statistics"));
        let (mut collector, start) = begun(1);
        let able = agents(&[7]);
        assert_eq!(collector.next(&able, start), Step::Ask(MemberId(7), 1));
        assert_eq!(collector.next(&able, start + PATIENCE), failed("no agent replied within 5s"));
        collector.replied(reply(1));
        collector.begin(PATIENCE, 1, start);
        assert_eq!(collector.next(&able, start), Step::Ask(MemberId(7), 2), "a late reply is not used");
    }
}
