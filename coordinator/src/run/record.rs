//! The record of a run apart from its rows: which agents took part, what happened, and how it ended. It is built from a sequence of facts.
//! The controller notes them as they occur, the journal stores them, and replaying the journal gives the same record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_common::health::HealthTotals;
use muster_common::ids::{Epoch, RowId, SlotId, WorkerId};
use muster_common::protocol::UsedFormat;
use muster_common::result::{Ending, Event, SearchStep};
use muster_common::server_identity::{Reconnects, ServerIdentity};
use muster_common::server_side::StatsSnapshot;
use muster_common::slots::Grant;
use muster_proto::control::{Hello, Ready};
use serde::{Deserialize, Serialize};

use super::membership;
use super::rows::Dropped;
use super::seen_answers::SeenAnswer;
use super::server_side::{Explained, ServerStats};

/// The loss reason of sessions that were active when the coordinator of a resumed run ended. They are reported as one event.
pub(crate) const COORDINATOR_LOST: &str = "the coordinator was lost";

/// One recorded fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// An agent was assigned a slot.
    Joined {
        slot: u16,
        epoch: u64,
        machine: String,
        process_id: u32,
        version: String,
        workers: u16,
        /// The id of the session's process; 0 where it was not recorded.
        #[serde(default)]
        instance: u64,
    },
    /// The session's connections are open and its statements are prepared.
    Ready {
        epoch: u64,
        found: Box<Found>,
    },
    /// The hosts are placed. `workers` has the number of workers of each slot.
    Placed {
        workers: Vec<u16>,
    },
    /// A session begins to run its slot's rows, `offset_ns` after the start of the run.
    Began {
        slot: u16,
        epoch: u64,
        offset_ns: u64,
    },
    /// The agents start, at this wall-clock time in RFC 3339 format.
    Armed {
        at: String,
    },
    /// A session ended before the run. If it was drained, it has run only the rows that it reported.
    Lost {
        epoch: u64,
        reason: String,
        drained: bool,
        /// The process was asked to stop and reported that.
        #[serde(default)]
        left: bool,
    },
    /// A process whose sessions were lost is alive.
    Returned {
        instance: u64,
    },
    /// These rows are given up, because too many agent processes died while running them.
    Quarantined {
        rows: Vec<u32>,
    },
    /// A result differs from the first result of its row. It is not counted, because the row already had one.
    OtherAnswer {
        row: u32,
        host: u32,
        epoch: u64,
        digest: u64,
    },
    /// At the end of the run, a session has reported everything that it ran.
    Reported {
        epoch: u64,
        /// Workers whose connection was broken at that time.
        #[serde(default)]
        disconnected: u64,
        /// The longest time for which one was broken.
        #[serde(default)]
        disconnected_max_ns: u64,
    },
    /// Connections of a session were reopened.
    Reconnected {
        epoch: u64,
        reconnects: Box<Reconnects>,
        /// True when this happened in the round that counts.
        is_counted: bool,
    },
    /// A slot was given up; its hosts went to the workers at these positions.
    Moved {
        from: u16,
        to: Vec<usize>,
    },
    /// The time of the run is over. Rows that were not sent are not run.
    TimeOver,
    /// The workload file has changed, although every row that ran had the verified values.
    WorkloadChanged,
    /// A search for the highest rate begins with this rate.
    SearchBegan {
        first_rate: f64,
    },
    /// The outcome of a step of the search.
    Searched(Box<SearchStep>),
    /// The rate that a search found is confirmed in a counted round. The aggregates are reset, and earlier results do not count.
    Confirming {
        rate: f64,
        lasts_ms: f64,
    },
    /// The health totals of a session's agent since the start of its queries.
    Health {
        epoch: u64,
        sum: Box<HealthTotals>,
    },
    /// The health totals of this coordinator's process.
    CoordinatorHealth {
        sum: Box<HealthTotals>,
    },
    /// A snapshot of the server statistics: before the counted rows, or after them if `is_last`.
    #[serde(rename = "looked")]
    StatsTaken {
        is_last: bool,
        #[serde(rename = "sight")]
        snapshot: Box<StatsSnapshot>,
    },
    /// Some server statistics are missing. `why` is a sentence that states the reason.
    #[serde(rename = "not_looked")]
    NoStats {
        why: String,
    },
    /// The plan of one of the slowest rows.
    Explained(Box<Explained>),
    /// An event for the report.
    Happened(Event),
    /// Another coordinator process resumed the run.
    Resumed,
    Ended {
        ending: Ending,
        start_skew_ns: Option<u64>,
        duplicates: u64,
        stale: u64,
    },
}

/// What a prepared agent found in its database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// One entry per worker.
    pub(crate) connect_ns: Vec<u64>,
    pub(crate) prepare_ns: Vec<u64>,
    pub(crate) server_version: String,
    pub(crate) timescaledb: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
    /// The servers that the workers' connections reached.
    #[serde(default)]
    pub(crate) identities: Vec<ServerIdentity>,
    /// The SQL text as sent to the server.
    pub(crate) sql: String,
    pub(crate) bucket_function: Option<String>,
    /// The second database of a run that compares two.
    #[serde(default)]
    pub(crate) versus: Option<FoundDatabase>,
    /// The format of the results of each statement.
    #[serde(default)]
    pub(crate) results: Vec<UsedFormat>,
    /// A connection pooler is between this agent and one of its databases.
    #[serde(default)]
    pub(crate) is_pooled: bool,
}

/// What an agent found in the second database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoundDatabase {
    pub(crate) server_version: String,
    pub(crate) timescaledb: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) identities: Vec<ServerIdentity>,
}

/// The state that results from all facts so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record {
    /// All sessions, in the order of their epochs.
    pub(crate) sessions: Vec<Session>,
    /// The number of workers of each slot. Empty while the run waits for agents.
    pub(crate) workers_of_slot: Vec<u16>,
    pub(crate) moves: Vec<Move>,
    pub(crate) events: Vec<Event>,
    /// Wall-clock time, for display only.
    pub(crate) started_at: Option<String>,
    pub(crate) resumed: u32,
    /// `None` while the run is in progress, and if its coordinator was killed.
    pub(crate) ending: Option<Ending>,
    pub(crate) start_skew: Option<Duration>,
    pub(crate) dropped: Dropped,
    /// Rows that were given up. Some of them may have received a result later.
    pub(crate) quarantined: BTreeSet<RowId>,
    /// The health totals of each coordinator process. Empty totals for a process that recorded none.
    pub(crate) coordinators: Vec<HealthTotals>,
    pub(crate) search: Searched,
    pub(crate) server: ServerStats,
    pub(crate) workload_changed: bool,
}

/// The progress of a search for the highest rate.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Searched {
    pub(crate) first_rate: Option<f64>,
    pub(crate) steps: Vec<SearchStep>,
    /// The rate of the counted rows in queries per second, and their duration in milliseconds.
    pub(crate) counted: Option<(f64, f64)>,
}

/// One agent's session in a slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    pub(crate) grant: Grant,
    pub(crate) machine: String,
    pub(crate) process_id: u32,
    pub(crate) version: String,
    pub(crate) workers: u16,
    /// The id of the session's process; 0 where it is not known.
    pub(crate) instance: u64,
    pub(crate) found: Option<Found>,
    /// Time from the start of the run to the start of the session. `None` if the session was given no rows.
    pub(crate) offset_ns: Option<u64>,
    pub(crate) lost: Option<Loss>,
    /// True if the session's process joined again after the loss.
    pub(crate) has_returned: bool,
    /// The latest health totals that were recorded.
    pub(crate) health: Option<HealthTotals>,
    /// Reconnects in the round that counts, by the server that answered.
    pub(crate) reconnects: Vec<Reconnects>,
    pub(crate) disconnected: Disconnected,
}

/// Workers whose connections were broken when the session ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disconnected {
    pub(crate) count: u64,
    pub(crate) outage_max_ns: u64,
}

/// The reason why a session ended before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) reason: String,
    pub(crate) is_drained: bool,
    /// True if the process was asked to stop.
    pub(crate) has_left: bool,
}

/// The move of a lost slot's hosts to these workers, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: SlotId,
    pub(crate) to: Vec<usize>,
}

impl Session {
    /// The agent's machine and process id, such as `db1/4711`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.machine, self.process_id)
    }

    /// True when the session's agent process died, as far as is known. It was lost, but not because of the coordinator; it was not asked to
    /// stop, and it did not return.
    fn died(&self) -> bool {
        let is_own_loss = |loss: &Loss| loss.reason != COORDINATOR_LOST && !loss.has_left;
        self.lost.as_ref().is_some_and(is_own_loss) && !self.has_returned
    }

    /// The servers that the session's connections to a database reached before any row counted.
    pub(crate) fn identities(&self, target: u16) -> &[ServerIdentity] {
        let Some(found) = &self.found else { return &[] };
        match (target, &found.versus) {
            (0, _) => &found.identities,
            (_, Some(versus)) => &versus.identities,
            (_, None) => &[],
        }
    }

    /// Adds a server that a connection reached before any row counted. Replaces an earlier state of the server.
    fn add_identity(&mut self, target: u16, server: ServerIdentity) {
        let Some(found) = &mut self.found else { return };
        let identities = match (target, &mut found.versus) {
            (0, _) => &mut found.identities,
            (_, Some(versus)) => &mut versus.identities,
            (_, None) => return,
        };
        identities.retain(|known| !known.is_same_server(&server));
        identities.push(server);
    }
}

impl Fact {
    pub(crate) fn joined(grant: Grant, hello: &Hello) -> Self {
        Self::Joined {
            slot: grant.slot.get(),
            epoch: grant.epoch.get(),
            machine: hello.machine.clone(),
            process_id: hello.process_id,
            version: hello.version.clone(),
            workers: hello.workers,
            instance: hello.instance,
        }
    }

    pub(crate) fn lost(epoch: Epoch, loss: &membership::Loss) -> Self {
        let (reason, drained, left) = (loss.reason.clone(), loss.is_drained, loss.has_left);
        Self::Lost { epoch: epoch.get(), reason, drained, left }
    }

    pub(crate) fn other_answer(answer: SeenAnswer) -> Self {
        let SeenAnswer { row, host, epoch, digest } = answer;
        Self::OtherAnswer { row: row.get(), host: host.get(), epoch: epoch.get(), digest }
    }
}

/// Returns true if a fact in a journal resets the aggregates.
pub(crate) fn resets_aggregates(json: &[u8]) -> bool {
    matches!(serde_json::from_slice(json), Ok(Fact::Confirming { .. }))
}

impl From<&Ready> for Found {
    fn from(ready: &Ready) -> Self {
        let nanoseconds = |times: &[Duration]| {
            times.iter().map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).collect()
        };
        Self {
            connect_ns: nanoseconds(&ready.connect),
            prepare_ns: nanoseconds(&ready.prepare),
            server_version: ready.database.server_version.clone(),
            timescaledb: ready.database.timescaledb.clone(),
            settings: ready.database.settings.clone(),
            identities: ready.database.identities.clone(),
            sql: ready.sql.clone(),
            bucket_function: ready.bucket_function.clone(),
            versus: ready.versus.clone().map(|database| FoundDatabase {
                server_version: database.server_version,
                timescaledb: database.timescaledb,
                settings: database.settings,
                identities: database.identities,
            }),
            results: ready.results.clone(),
            is_pooled: ready.is_pooled,
        }
    }
}

impl Found {
    /// True if the agent uses the null database, which has no version.
    pub(crate) fn is_no_database(&self) -> bool {
        self.server_version.is_empty()
    }
}

impl Record {
    /// What the first agent with a real database found. If all agents use the null database, what the first agent found.
    pub(crate) fn found(&self) -> Option<&Found> {
        let mut found = self.sessions.iter().filter_map(|session| session.found.as_ref());
        let first = found.clone().next();
        found.find(|found| !found.is_no_database()).or(first)
    }

    pub(crate) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Joined { slot, epoch, machine, process_id, version, workers, instance } => {
                let grant = Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) };
                self.sessions.push(Session {
                    grant,
                    machine,
                    process_id,
                    version,
                    workers,
                    instance,
                    found: None,
                    offset_ns: None,
                    lost: None,
                    has_returned: false,
                    health: None,
                    reconnects: Vec::new(),
                    disconnected: Disconnected::default(),
                });
            }
            Fact::Ready { epoch, found } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.found = Some(*found);
                }
            }
            Fact::Placed { workers } => self.workers_of_slot = workers,
            Fact::Began { slot: _, epoch, offset_ns } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.offset_ns = Some(offset_ns);
                }
            }
            Fact::Armed { at } => drop(self.started_at.get_or_insert(at)),
            Fact::Lost { epoch, reason, drained, left } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.lost = Some(Loss { reason, is_drained: drained, has_left: left });
                }
            }
            Fact::Reported { epoch, disconnected: count, disconnected_max_ns: outage_max_ns } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.disconnected = Disconnected { count, outage_max_ns };
                }
            }
            Fact::Reconnected { epoch, reconnects, is_counted } => {
                if let Some(session) = self.session_mut(epoch) {
                    match is_counted {
                        true => reconnects.add_to(&mut session.reconnects),
                        false => session.add_identity(reconnects.target, reconnects.server),
                    }
                }
            }
            Fact::Returned { instance } => {
                for session in self.sessions.iter_mut().filter(|session| session.instance == instance) {
                    session.has_returned |= session.lost.is_some();
                }
            }
            Fact::Quarantined { rows } => self.quarantined.extend(rows.into_iter().map(RowId::new)),
            // These facts are about rows and not about the session.
            Fact::TimeOver | Fact::OtherAnswer { .. } => {}
            Fact::WorkloadChanged => self.workload_changed = true,
            Fact::SearchBegan { first_rate } => self.search.first_rate = Some(first_rate),
            Fact::Searched(step) => self.search.steps.push(*step),
            Fact::Confirming { rate, lasts_ms } => {
                self.search.counted = Some((rate, lasts_ms));
                // The start time of the run is that of the counted rows.
                self.started_at = None;
                self.server = ServerStats::default();
                self.quarantined.clear();
                for session in &mut self.sessions {
                    for Reconnects { target, server, .. } in std::mem::take(&mut session.reconnects) {
                        session.add_identity(target, server);
                    }
                }
            }
            Fact::Moved { from, to } => self.moves.push(Move { from: SlotId::new(from), to }),
            Fact::Health { epoch, sum } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.health = Some(*sum);
                }
            }
            Fact::CoordinatorHealth { sum } => {
                let ordinal = self.resumed as usize;
                self.coordinators.resize(ordinal + 1, HealthTotals::default());
                self.coordinators[ordinal] = *sum;
            }
            Fact::StatsTaken { is_last, snapshot } => self.server.add_snapshot(is_last, *snapshot),
            Fact::NoStats { why } => self.server.problems.push(why),
            Fact::Explained(explained) => self.server.plans.push(*explained),
            Fact::Happened(event) => self.add_event(event),
            Fact::Resumed => self.restart(),
            Fact::Ended { ending, start_skew_ns, duplicates, stale } => {
                self.ending = Some(ending);
                self.start_skew = start_skew_ns.map(Duration::from_nanos);
                self.dropped = Dropped { duplicates, stale };
            }
        }
    }

    /// Adds an event, or updates the count of a repeated event.
    fn add_event(&mut self, event: Event) {
        let is_same = |known: &&mut Event| known.what == event.what && known.at_ms == event.at_ms;
        match self.events.iter_mut().rev().find(is_same).filter(|_| event.times > 1) {
            Some(known) => known.times = event.times,
            None => self.events.push(event),
        }
    }

    /// Resets the state for a resumed run: every slot is filled again, and every host is back where it was placed.
    fn restart(&mut self) {
        self.resumed += 1;
        self.ending = None;
        self.moves.clear();
        self.server = ServerStats::default();
        // A resumed run verifies the file again.
        self.workload_changed = false;
        for session in self.sessions.iter_mut().filter(|session| session.lost.is_none()) {
            let reason = COORDINATOR_LOST.to_owned();
            session.lost = Some(Loss { reason, is_drained: false, has_left: false });
        }
    }

    /// Every worker of the run, by slot and index.
    pub(crate) fn workers(&self) -> Vec<WorkerId> {
        let slots = (0u16..).zip(&self.workers_of_slot);
        slots
            .flat_map(|(slot, count)| (0..*count).map(move |index| WorkerId::new(SlotId::new(slot), index)))
            .collect()
    }

    /// The positions of a slot's workers among all workers.
    pub(crate) fn workers_of(&self, slot: SlotId) -> std::ops::Range<usize> {
        let counts = &self.workers_of_slot;
        let first = counts.iter().take(slot.index()).map(|count| usize::from(*count)).sum();
        first..first + counts.get(slot.index()).copied().map_or(0, usize::from)
    }

    /// The first epoch for a resumed run. It is above every epoch that was assigned before, including those that were not written to the
    /// journal or were lost with the end of the journal, even if these are all of them.
    pub(crate) fn next_epoch(&self) -> Epoch {
        const UNWRITTEN_MAX: u64 = 1_000_000;
        let last = self.sessions.iter().map(|session| session.grant.epoch.get()).max();
        Epoch::new(last.unwrap_or(0).saturating_add(UNWRITTEN_MAX))
    }

    /// Lost sessions without the death of an agent process. They are not evidence against their rows.
    pub(crate) fn without_death(&self) -> impl Iterator<Item = Epoch> {
        let without = self.sessions.iter().filter(|session| session.lost.is_some() && !session.died());
        without.map(|session| session.grant.epoch)
    }

    /// The lost sessions of a process that count as deaths so far.
    pub(crate) fn presumed_dead(&self, instance: u64) -> impl Iterator<Item = Epoch> {
        let of_it =
            self.sessions.iter().filter(move |session| session.instance == instance && session.died());
        of_it.map(|session| session.grant.epoch)
    }

    /// Sessions that ran rows and ended before the run, with the reason. Sessions that ended with their coordinator are not included.
    pub(crate) fn lost_while_running(&self) -> impl Iterator<Item = (&Session, &Loss)> {
        let ran = self.sessions.iter().filter(|session| session.offset_ns.is_some());
        ran.filter_map(|session| {
            let loss = session.lost.as_ref().filter(|loss| loss.reason != COORDINATOR_LOST)?;
            Some((session, loss))
        })
    }

    pub(crate) fn session(&self, epoch: Epoch) -> Option<&Session> {
        self.sessions.iter().rev().find(|session| session.grant.epoch == epoch)
    }

    fn session_mut(&mut self, epoch: u64) -> Option<&mut Session> {
        self.sessions.iter_mut().rev().find(|session| session.grant.epoch.get() == epoch)
    }
}

#[cfg(test)]
mod tests {
    use muster_common::server_side::{DatabaseCounters, StatementCounters, Statements};

    use super::*;

    fn joined(slot: u16, epoch: u64) -> Fact {
        let (machine, version) = ("db1".to_owned(), "0.1.0".to_owned());
        Fact::Joined { slot, epoch, machine, process_id: 4711, version, workers: 2, instance: epoch }
    }

    fn reconnected(epoch: u64, count: u64) -> Fact {
        let reconnects =
            Reconnects { target: 0, server: ServerIdentity::default(), count, outage_max_ns: count };
        Fact::Reconnected { epoch, reconnects: Box::new(reconnects), is_counted: true }
    }

    #[test]
    fn a_report_in_an_older_journal_has_no_broken_connections() {
        let fact: Fact = serde_json::from_str(r#"{"fact":"reported","epoch":3}"#).unwrap();
        assert_eq!(fact, Fact::Reported { epoch: 3, disconnected: 0, disconnected_max_ns: 0 });
    }

    #[test]
    fn a_repeated_event_is_one_event_with_a_count() {
        let mut record = Record::default();
        let lost = |times| Event { times, ..Event::once(1.5, "slot-0 lost".to_owned()) };
        for event in [lost(1), Event::once(2.0, "slot-1 joined".to_owned()), lost(2), lost(3)] {
            record.apply(Fact::Happened(event));
        }
        // The same text at another time is another event.
        record.apply(Fact::Happened(Event::once(9.0, "slot-0 lost".to_owned())));
        let events: Vec<(f64, u64)> = record.events.iter().map(|event| (event.at_ms, event.times)).collect();
        assert_eq!(events, [(1.5, 3), (2.0, 1), (9.0, 1)]);
    }

    fn totals(time_ns: u64) -> HealthTotals {
        HealthTotals { time_ns, ..HealthTotals::default() }
    }

    fn snapshot() -> StatsSnapshot {
        StatsSnapshot {
            server: "1/5".to_owned(),
            identity: None,
            database: DatabaseCounters { commits: u64::MAX, ..DatabaseCounters::default() },
            times_reads: true,
            statements: Ok(Statements {
                counters: vec![
                    Ok(StatementCounters { exec_ns: u64::MAX, ..Default::default() }),
                    Err("no entry".to_owned()),
                ],
                times_planning: false,
                reset: String::new(),
            }),
            hypertables: Err("refused".to_owned()),
        }
    }

    #[test]
    fn facts_survive_json_and_give_the_same_record() {
        let facts = [
            joined(0, 1),
            joined(1, 2),
            Fact::Placed { workers: vec![2, 2] },
            Fact::Began { slot: 0, epoch: 1, offset_ns: 0 },
            Fact::Armed { at: "2026-11-23T00:00:00Z".to_owned() },
            reconnected(1, 3),
            reconnected(1, 4),
            Fact::Reported { epoch: 2, disconnected: 1, disconnected_max_ns: u64::MAX },
            Fact::Lost { epoch: 1, reason: "no heartbeat".to_owned(), drained: false, left: false },
            Fact::Quarantined { rows: vec![7] },
            Fact::Returned { instance: 1 },
            Fact::Moved { from: 0, to: vec![2, 3] },
            Fact::Health { epoch: 2, sum: Box::new(totals(1)) },
            Fact::Health { epoch: 2, sum: Box::new(totals(5)) },
            Fact::CoordinatorHealth { sum: Box::new(totals(6)) },
            Fact::StatsTaken { is_last: false, snapshot: Box::new(snapshot()) },
            Fact::NoStats { why: "no answer".to_owned() },
            Fact::Explained(Box::new(Explained {
                row: 7,
                host: "a".to_owned(),
                statement: 0,
                service_time_ns: u64::MAX,
                plan: Err("it writes".to_owned()),
                execution: 12,
                kind: Some(muster_common::result::PlanKind::Generic),
            })),
            Fact::Happened(Event::once(1.5, "slot-0 given up".to_owned())),
            Fact::Ended { ending: Ending::Completed, start_skew_ns: Some(5), duplicates: 1, stale: 0 },
        ];
        let (mut direct, mut read_back) = (Record::default(), Record::default());
        for fact in facts {
            let json = serde_json::to_vec(&fact).unwrap();
            read_back.apply(serde_json::from_slice(&json).unwrap());
            direct.apply(fact);
        }
        assert_eq!(direct, read_back);
        assert_eq!(direct.sessions[0].lost.as_ref().map(|loss| loss.reason.as_str()), Some("no heartbeat"));
        assert_eq!(direct.workers_of(SlotId::new(1)), 2..4);
        assert_eq!(direct.ending, Some(Ending::Completed));
        assert_eq!(direct.sessions[1].health, Some(totals(5)), "later totals include the earlier ones");
        assert_eq!(direct.coordinators, [totals(6)]);
        let reconnects = &direct.sessions[0].reconnects;
        assert_eq!(reconnects.iter().map(|sum| (sum.count, sum.outage_max_ns)).collect::<Vec<_>>(), [(7, 4)]);
        assert_eq!(direct.sessions[1].disconnected, Disconnected { count: 1, outage_max_ns: u64::MAX });
        assert_eq!(direct.server.before, Some(snapshot()));
        assert_eq!((direct.server.problems.len(), direct.server.plans.len()), (1, 1));
    }

    #[test]
    fn only_a_lost_process_that_did_not_return_counts_as_dead() {
        let lost =
            |epoch, reason: &str, left| Fact::Lost { epoch, reason: reason.to_owned(), drained: false, left };
        let mut record = Record::default();
        (1..=4).for_each(|epoch| record.apply(joined(0, epoch)));
        record.apply(lost(1, "no heartbeat", false));
        record.apply(lost(2, "asked to stop", true));
        record.apply(lost(3, "closed its connection", false));
        let without_death = |record: &Record| record.without_death().map(Epoch::get).collect::<Vec<_>>();
        assert_eq!(without_death(&record), [2], "a live session may still die");
        record.apply(Fact::Resumed);
        assert_eq!(without_death(&record), [2, 4], "one was asked to stop, the other's coordinator died");
        record.apply(Fact::Returned { instance: 3 });
        assert_eq!(without_death(&record), [2, 3, 4]);
        assert_eq!(record.presumed_dead(1).collect::<Vec<_>>(), [Epoch::new(1)]);
    }

    #[test]
    fn facts_of_an_earlier_version_are_read() {
        let joined = r#"{"fact":"joined","slot":0,"epoch":1,"machine":"a","process_id":1,"version":"0.1.0","workers":1}"#;
        let lost = r#"{"fact":"lost","epoch":1,"reason":"no heartbeat","drained":false}"#;
        let mut record = Record::default();
        for json in [joined, lost] {
            record.apply(serde_json::from_str(json).unwrap());
        }
        assert_eq!(record.without_death().count(), 0, "no process is known to have returned");
    }

    #[test]
    fn server_statistics_are_discarded_when_the_aggregates_are_reset() {
        for fact in [Fact::Resumed, Fact::Confirming { rate: 1.0, lasts_ms: 1.0 }] {
            let mut record = Record::default();
            record.apply(Fact::StatsTaken { is_last: true, snapshot: Box::new(snapshot()) });
            record.apply(fact);
            assert_eq!(record.server, ServerStats::default());
        }
    }

    #[test]
    fn each_coordinator_of_a_run_has_its_own_health_totals() {
        let mut record = Record::default();
        record.apply(Fact::CoordinatorHealth { sum: Box::new(totals(3)) });
        record.apply(Fact::Resumed);
        record.apply(Fact::Resumed);
        record.apply(Fact::CoordinatorHealth { sum: Box::new(totals(4)) });
        assert_eq!(record.coordinators, [totals(3), HealthTotals::default(), totals(4)]);
    }

    #[test]
    fn a_resumed_run_assigns_epochs_above_all_earlier_ones() {
        let mut record = Record::default();
        assert!(record.next_epoch() > Epoch::new(1_000), "a journal may have lost all of them");
        record.apply(joined(0, 7));
        record.apply(Fact::Began { slot: 0, epoch: 7, offset_ns: 0 });
        record.apply(Fact::Resumed);
        assert!(record.next_epoch() > Epoch::new(1_000));
        assert!(record.resumed == 1 && record.sessions[0].lost.is_some());
    }
}
