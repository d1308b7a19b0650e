//! Facts: what is noted while a run goes on, and stored in its journal.

use muster_core::health::HealthTotals;
use muster_core::ids::Epoch;
use muster_core::server_identity::Reconnects;
use muster_core::server_side::StatsSnapshot;
use muster_core::slots::Grant;
use muster_proto::control::Hello;
use muster_report::result::{Ending, Event, SearchStep};
use serde::{Deserialize, Serialize};

use super::found::Found;
use crate::run::membership;
use crate::run::seen_answers::SeenAnswer;
use crate::run::server_stats::Explained;

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
        /// Time since the start of the counted rows. `None` before that.
        #[serde(default)]
        at_ns: Option<u64>,
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

    pub(crate) fn lost(epoch: Epoch, loss: &membership::Loss, at_ns: Option<u64>) -> Self {
        let (reason, drained, left) = (loss.reason.clone(), loss.is_drained, loss.has_left);
        Self::Lost { epoch: epoch.get(), reason, drained, left, at_ns }
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
