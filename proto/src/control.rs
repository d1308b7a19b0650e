//! The messages of the Control stream as domain types: joining, phases, heartbeats and the end of a session.

mod decode;
mod encode;

use std::fmt;
use std::time::Duration;

use muster_core::health::HealthSample;
use muster_core::ids::{Epoch, RunId, SlotId};
use muster_core::prepare::{Database, PrepareFailed};
use muster_core::protocol::UsedFormat;
use muster_core::server_identity::Reconnects;
use muster_core::server_side::Explain;
use muster_core::session_token::GrantedSession;

pub use crate::config::{RunConfig, WITHHELD};
pub use crate::server_stats::{Explained, StatsReply, StatsRequest};

#[derive(Debug, Clone, PartialEq)]
pub enum FromAgent {
    Hello(Hello),
    /// A heartbeat with its number, from 1.
    Beat(u64),
    Ready(Ready),
    PrepareFailed(PrepareFailed),
    /// The countdown has ended.
    Started {
        /// On the coordinator's clock. `None` if the agent has no estimate of it yet.
        at: Option<Duration>,
    },
    /// The agent has drained. One entry per worker.
    Report(Vec<WorkerReport>),
    Leave {
        reason: String,
        /// All results are acknowledged. Rows without a result were not run.
        drained: bool,
    },
    BackendsEnded(BackendsEnded),
    Health(HealthSample),
    StatsReply(StatsReply),
    Explained(Explained),
    /// The reconnects to one server since the previous report, with the round of the rows that needed the connections.
    Reconnected(u32, Reconnects),
}

#[derive(Debug, Clone, PartialEq)]
pub enum FromCoordinator {
    Welcome(Welcome),
    /// No slot is free. The agent connects, prepares and waits for Welcome.
    Standby(Standby),
    Reject {
        reason: String,
        retry: bool,
    },
    BeatAck {
        number: u64,
        /// The coordinator's clock.
        time: Duration,
    },
    Arm(Arm),
    Drain,
    Cancel {
        reason: String,
    },
    Bye {
        reason: String,
    },
    /// Terminate this run's backends of `slot` whose epoch is lower than `below`.
    EndBackends {
        slot: SlotId,
        below: Epoch,
    },
    StatsRequest(StatsRequest),
    Explain(Explain),
}

/// The start of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arm {
    /// The latest start, relative to the receipt of this message.
    pub countdown: Duration,
    /// On the coordinator's clock.
    pub starts_at: Duration,
    pub round: u32,
    /// How long the round has already run at the start of this session.
    pub offset: Duration,
    /// No row begins later than this after the session's start. `None` without a time limit.
    pub lasts: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub protocol_version: u32,
    pub version: String,
    /// The machine's host name.
    pub machine: String,
    pub process_id: u32,
    /// 1 to [`limits::WORKERS_PER_AGENT_MAX`].
    pub workers: u16,
    /// The requested slot. `None`: any free slot.
    pub slot: Option<SlotId>,
    /// The agent has its own database settings.
    pub has_database: bool,
    /// The previous session of this process. It has ended and has no running queries.
    pub ended: Option<GrantedSession>,
    /// The agent can answer [`StatsRequest`] and [`Explain`].
    pub can_report_stats: bool,
    /// Random id of this process, which is the same in all its sessions.
    pub instance: u64,
    /// The last session in which this process ran rows.
    pub ran: Option<Ran>,
    /// Earlier sessions whose results this process still holds, at most [`limits::FORMER_SESSIONS_MAX`].
    pub former: Vec<GrantedSession>,
}

/// The progress of a session in its last round. The session may have ended before the coordinator noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    pub session: GrantedSession,
    pub round: u32,
    /// Time from the end of the countdown until the workers had stopped. All of the session's measurements ended within it.
    pub ran_for: Duration,
}

#[derive(Clone, PartialEq)]
pub struct Welcome {
    pub session: GrantedSession,
    pub config: RunConfig,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Standby {
    pub run: RunId,
    pub config: RunConfig,
}

/// The reply to [`FromCoordinator::EndBackends`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendsEnded {
    pub slot: SlotId,
    /// The number of terminated backends, or why some may be left.
    pub outcome: Result<u32, String>,
}

/// All connections are open and all statements are prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct Ready {
    /// One entry per worker.
    pub connect: Vec<Duration>,
    pub prepare: Vec<Duration>,
    pub database: Database,
    /// As sent to the server.
    pub sql: String,
    /// The function of the default query: `time_bucket`, `date_bin` or `date_trunc`.
    pub bucket_function: Option<String>,
    /// The second database of a run that compares two.
    pub versus: Option<Database>,
    /// One entry per statement, for both databases.
    pub results: Vec<UsedFormat>,
    /// A connection pooler is between this agent and one of its databases.
    pub is_pooled: bool,
}

/// How one worker's session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerReport {
    /// How long the worker's connection had been broken when the worker ended. `None` if it was not broken.
    pub disconnected: Option<Duration>,
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Welcome").field("session", &self.session).field("config", &self.config).finish()
    }
}
