//! What is known of a run beside its rows: who took part, what happened, how it ended. Built from facts, one after the other; the
//! conductor notes them as they come, the journal keeps them, and read back they give the same record.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_common::health::Sum;
use muster_common::ids::{Epoch, SlotId, WorkerId};
use muster_common::result::{Ending, Event, SearchStep};
use muster_common::server_side::Sight;
use muster_common::slots::Grant;
use muster_proto::control::{Hello, Ready};
use serde::{Deserialize, Serialize};

use super::rows::Dropped;
use super::server_side::{Explained, Looks};

/// Why sessions were lost that a run which was taken up had before; for all of them it is said once.
pub(crate) const COORDINATOR_GONE: &str = "the coordinator was gone";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// An agent was given a slot.
    Joined {
        slot: u16,
        epoch: u64,
        machine: String,
        process_id: u32,
        version: String,
        workers: u16,
    },
    /// Its connections are open and prepared.
    Ready {
        epoch: u64,
        found: Box<Found>,
    },
    /// The hosts are placed: so many workers has each slot.
    Placed {
        workers: Vec<u16>,
    },
    /// A session runs its slot's rows from now on, so long after the run began.
    Began {
        slot: u16,
        epoch: u64,
        offset_ns: u64,
    },
    /// The agents start; by the wall clock, RFC 3339.
    Armed {
        at: String,
    },
    /// A session is over before the run. Of a drained one, nothing but what it reported was run.
    Lost {
        epoch: u64,
        reason: String,
        drained: bool,
    },
    /// At the end of the run: a session has told everything that it ran.
    Reported {
        epoch: u64,
    },
    /// A slot was given up; its hosts went to the workers at these positions.
    Moved {
        from: u16,
        to: Vec<usize>,
    },
    /// The time of the run is over; what was not sent is not run.
    TimeOver,
    /// A search for the highest rate begins with this one.
    SearchBegan {
        first_rate: f64,
    },
    /// What a step of the search showed.
    Searched(Box<SearchStep>),
    /// What a search found is measured once more: the books begin anew, and nothing that was counted before counts.
    Confirming {
        rate: f64,
        lasts_ms: f64,
    },
    /// How a session's agent has fared so far, from the start of its queries.
    Health {
        epoch: u64,
        sum: Box<Sum>,
    },
    /// How this coordinator's process has fared so far.
    CoordinatorHealth {
        sum: Box<Sum>,
    },
    /// What the server had counted when the rows that count began, or, `is_last`, when they were through.
    Looked {
        is_last: bool,
        sight: Box<Sight>,
    },
    /// Something of the server's side is not known, and why: a sentence.
    NotLooked {
        why: String,
    },
    /// How the server executes one of the slowest rows.
    Explained(Box<Explained>),
    /// A sentence for people.
    Happened(Event),
    /// The run went on under another coordinator process.
    Resumed,
    Ended {
        ending: Ending,
        start_skew_ns: Option<u64>,
        duplicates: u64,
        stale: u64,
    },
}

/// What a prepared agent found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// One entry a worker.
    pub(crate) connect_ns: Vec<u64>,
    pub(crate) prepare_ns: Vec<u64>,
    pub(crate) server_version: String,
    pub(crate) timescaledb: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
    /// As sent to the server.
    pub(crate) sql: String,
    pub(crate) bucket_function: Option<String>,
    /// The second database of a run that compares two.
    #[serde(default)]
    pub(crate) versus: Option<FoundDatabase>,
}

/// What an agent found of a second database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FoundDatabase {
    pub(crate) server_version: String,
    pub(crate) timescaledb: Option<String>,
    pub(crate) settings: BTreeMap<String, String>,
}

/// Everything that the facts so far add up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record {
    /// In the order of their epochs.
    pub(crate) sessions: Vec<Session>,
    /// Of each slot; empty while agents gather.
    pub(crate) workers_of_slot: Vec<u16>,
    pub(crate) moves: Vec<Move>,
    pub(crate) events: Vec<Event>,
    /// By the wall clock; for people only.
    pub(crate) started_at: Option<String>,
    pub(crate) resumed: u32,
    /// `None` while it runs, and when its coordinator was killed.
    pub(crate) ending: Option<Ending>,
    pub(crate) start_skew: Option<Duration>,
    pub(crate) dropped: Dropped,
    /// How the process of each coordinator fared; those that told nothing have an empty sum.
    pub(crate) coordinators: Vec<Sum>,
    pub(crate) search: Searched,
    pub(crate) server: Looks,
}

/// How far a search for the highest rate came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Searched {
    pub(crate) first_rate: Option<f64>,
    pub(crate) steps: Vec<SearchStep>,
    /// The rate that the counted rows had, in queries per second, and for how many milliseconds.
    pub(crate) counted: Option<(f64, f64)>,
}

/// One agent's time in a slot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Session {
    pub(crate) grant: Grant,
    pub(crate) machine: String,
    pub(crate) process_id: u32,
    pub(crate) version: String,
    pub(crate) workers: u16,
    pub(crate) found: Option<Found>,
    /// From the start of the run to its own; `None` when it was given no rows.
    pub(crate) offset_ns: Option<u64>,
    pub(crate) lost: Option<Loss>,
    /// The latest of what was written down.
    pub(crate) health: Option<Sum>,
}

/// Why a session was over before the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) reason: String,
    pub(crate) is_drained: bool,
}

/// A lost slot's hosts went to these workers, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) from: SlotId,
    pub(crate) to: Vec<usize>,
}

impl Session {
    /// `db1/4711`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.machine, self.process_id)
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
        }
    }
}

/// Whether a fact in a journal is one behind which the books begin anew.
pub(crate) fn begins_books(json: &[u8]) -> bool {
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
            sql: ready.sql.clone(),
            bucket_function: ready.bucket_function.clone(),
            versus: ready.versus.clone().map(|database| FoundDatabase {
                server_version: database.server_version,
                timescaledb: database.timescaledb,
                settings: database.settings,
            }),
        }
    }
}

impl Found {
    /// The agent asks none: what is one has a version.
    pub(crate) fn is_no_database(&self) -> bool {
        self.server_version.is_empty()
    }
}

impl Record {
    /// What the first agent that asks a database found; of agents that all ask none, the first.
    pub(crate) fn found(&self) -> Option<&Found> {
        let mut found = self.sessions.iter().filter_map(|session| session.found.as_ref());
        let first = found.clone().next();
        found.find(|found| !found.is_no_database()).or(first)
    }

    pub(crate) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Joined { slot, epoch, machine, process_id, version, workers } => {
                let grant = Grant { slot: SlotId::new(slot), epoch: Epoch::new(epoch) };
                self.sessions.push(Session {
                    grant,
                    machine,
                    process_id,
                    version,
                    workers,
                    found: None,
                    offset_ns: None,
                    lost: None,
                    health: None,
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
            Fact::Lost { epoch, reason, drained } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.lost = Some(Loss { reason, is_drained: drained });
                }
            }
            // It says what became of rows, not of the session.
            Fact::Reported { epoch: _ } | Fact::TimeOver => {}
            Fact::SearchBegan { first_rate } => self.search.first_rate = Some(first_rate),
            Fact::Searched(step) => self.search.steps.push(*step),
            Fact::Confirming { rate, lasts_ms } => {
                self.search.counted = Some((rate, lasts_ms));
                // Whoever reads when the run started wants to know it of the rows that count.
                self.started_at = None;
                self.server = Looks::default();
            }
            Fact::Moved { from, to } => self.moves.push(Move { from: SlotId::new(from), to }),
            Fact::Health { epoch, sum } => {
                if let Some(session) = self.session_mut(epoch) {
                    session.health = Some(*sum);
                }
            }
            Fact::CoordinatorHealth { sum } => {
                let ordinal = self.resumed as usize;
                self.coordinators.resize(ordinal + 1, Sum::default());
                self.coordinators[ordinal] = *sum;
            }
            Fact::Looked { is_last, sight } => self.server.looked(is_last, *sight),
            Fact::NotLooked { why } => self.server.problems.push(why),
            Fact::Explained(explained) => self.server.plans.push(*explained),
            Fact::Happened(event) => self.events.push(event),
            Fact::Resumed => self.begin_anew(),
            Fact::Ended { ending, start_skew_ns, duplicates, stale } => {
                self.ending = Some(ending);
                self.start_skew = start_skew_ns.map(Duration::from_nanos);
                self.dropped = Dropped { duplicates, stale };
            }
        }
    }

    /// Every slot is filled again, and every host is back where it was placed.
    fn begin_anew(&mut self) {
        self.resumed += 1;
        self.ending = None;
        self.moves.clear();
        self.server = Looks::default();
        for session in self.sessions.iter_mut().filter(|session| session.lost.is_none()) {
            session.lost = Some(Loss { reason: COORDINATOR_GONE.to_owned(), is_drained: false });
        }
    }

    /// Every worker of the run, by slot and index.
    pub(crate) fn workers(&self) -> Vec<WorkerId> {
        let slots = (0u16..).zip(&self.workers_of_slot);
        slots
            .flat_map(|(slot, count)| (0..*count).map(move |index| WorkerId::new(SlotId::new(slot), index)))
            .collect()
    }

    /// Position of a slot's first worker among all, and how many it has.
    pub(crate) fn workers_of(&self, slot: SlotId) -> std::ops::Range<usize> {
        let counts = &self.workers_of_slot;
        let first = counts.iter().take(slot.index()).map(|count| usize::from(*count)).sum();
        first..first + counts.get(slot.index()).copied().map_or(0, usize::from)
    }

    /// For a run that goes on: above every epoch that was given in it, those included that nobody had the time to write down or that
    /// were lost with the end of the journal, be it all of them.
    pub(crate) fn next_epoch(&self) -> Epoch {
        const UNWRITTEN_MAX: u64 = 1_000_000;
        let last = self.sessions.iter().map(|session| session.grant.epoch.get()).max();
        Epoch::new(last.unwrap_or(0).saturating_add(UNWRITTEN_MAX))
    }

    /// Sessions that ran rows and were over before the run, and why. That a coordinator was gone is no fault of theirs.
    pub(crate) fn lost_while_running(&self) -> impl Iterator<Item = (&Session, &Loss)> {
        let ran = self.sessions.iter().filter(|session| session.offset_ns.is_some());
        ran.filter_map(|session| {
            let loss = session.lost.as_ref().filter(|loss| loss.reason != COORDINATOR_GONE)?;
            Some((session, loss))
        })
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
        Fact::Joined { slot, epoch, machine, process_id: 4711, version, workers: 2 }
    }

    fn sum(time_ns: u64) -> Sum {
        Sum { time_ns, ..Sum::default() }
    }

    fn sight() -> Sight {
        Sight {
            server: "1/5".to_owned(),
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
            Fact::Lost { epoch: 1, reason: "no beat".to_owned(), drained: false },
            Fact::Moved { from: 0, to: vec![2, 3] },
            Fact::Health { epoch: 2, sum: Box::new(sum(1)) },
            Fact::Health { epoch: 2, sum: Box::new(sum(5)) },
            Fact::CoordinatorHealth { sum: Box::new(sum(6)) },
            Fact::Looked { is_last: false, sight: Box::new(sight()) },
            Fact::NotLooked { why: "no answer".to_owned() },
            Fact::Explained(Box::new(Explained {
                row: 7,
                host: "a".to_owned(),
                statement: 0,
                service_time_ns: u64::MAX,
                plan: Err("it writes".to_owned()),
            })),
            Fact::Happened(Event { at_ms: 1.5, what: "slot-0 given up".to_owned() }),
            Fact::Ended { ending: Ending::Completed, start_skew_ns: Some(5), duplicates: 1, stale: 0 },
        ];
        let (mut direct, mut read_back) = (Record::default(), Record::default());
        for fact in facts {
            let json = serde_json::to_vec(&fact).unwrap();
            read_back.apply(serde_json::from_slice(&json).unwrap());
            direct.apply(fact);
        }
        assert_eq!(direct, read_back);
        assert_eq!(direct.sessions[0].lost.as_ref().map(|loss| loss.reason.as_str()), Some("no beat"));
        assert_eq!(direct.workers_of(SlotId::new(1)), 2..4);
        assert_eq!(direct.ending, Some(Ending::Completed));
        assert_eq!(direct.sessions[1].health, Some(sum(5)), "a later sum holds the earlier one");
        assert_eq!(direct.coordinators, [sum(6)]);
        assert_eq!(direct.server.before, Some(sight()));
        assert_eq!((direct.server.problems.len(), direct.server.plans.len()), (1, 1));
    }

    #[test]
    fn what_was_seen_before_the_books_began_anew_is_forgotten() {
        for fact in [Fact::Resumed, Fact::Confirming { rate: 1.0, lasts_ms: 1.0 }] {
            let mut record = Record::default();
            record.apply(Fact::Looked { is_last: true, sight: Box::new(sight()) });
            record.apply(fact);
            assert_eq!(record.server, Looks::default());
        }
    }

    #[test]
    fn each_coordinator_of_a_run_has_a_sum_of_its_own() {
        let mut record = Record::default();
        record.apply(Fact::CoordinatorHealth { sum: Box::new(sum(3)) });
        record.apply(Fact::Resumed);
        record.apply(Fact::Resumed);
        record.apply(Fact::CoordinatorHealth { sum: Box::new(sum(4)) });
        assert_eq!(record.coordinators, [sum(3), Sum::default(), sum(4)]);
    }

    #[test]
    fn a_run_that_goes_on_gives_epochs_above_all_that_were_ever_given() {
        let mut record = Record::default();
        assert!(record.next_epoch() > Epoch::new(1_000), "a journal may have lost all of them");
        record.apply(joined(0, 7));
        record.apply(Fact::Began { slot: 0, epoch: 7, offset_ns: 0 });
        record.apply(Fact::Resumed);
        assert!(record.next_epoch() > Epoch::new(1_000));
        assert!(record.resumed == 1 && record.sessions[0].lost.is_some());
    }
}
