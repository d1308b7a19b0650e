//! The messages of the Control stream as domain types: joining, phases, heartbeats and the end of a session.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use muster_core::health::HealthSample;
use muster_core::ids::{Epoch, RunId, SlotId};
use muster_core::limits;
use muster_core::protocol::UsedFormat;
use muster_core::sample::SqlState;
use muster_core::server_identity::{Reconnects, ServerIdentity};
use muster_core::session_token::GrantedSession;

pub use crate::config::{RunConfig, WITHHELD};
pub use crate::server_stats::{Explain, Explained, StatsReply, StatsRequest};
use crate::v1;
use crate::v1::agent_control::Kind as AgentKind;
use crate::v1::coordinator_control::Kind as CoordinatorKind;
use crate::wire::{self, WireError, nanoseconds, narrow};

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

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    pub server_version: String,
    pub timescaledb: Option<String>,
    pub settings: BTreeMap<String, String>,
    /// The servers of the workers' connections, without duplicates.
    pub identities: Vec<ServerIdentity>,
}

/// Why an agent cannot run this run's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareFailed {
    pub kind: PrepareFailure,
    pub message: String,
    pub sqlstate: Option<SqlState>,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Position in `sql` in characters, from 1.
    pub position: Option<u32>,
    pub sql: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareFailure {
    /// The server rejected the statement.
    Statement,
    /// No usable connection to the database.
    Database,
    /// The agent has reached a limit of its machine.
    Agent,
}

/// How one worker's session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerReport {
    /// How long the worker's connection had been broken when the worker ended. `None` if it was not broken.
    pub disconnected: Option<Duration>,
}

// -- from the wire -----------------------------------------------------------------------------------------------------

impl TryFrom<v1::AgentControl> for FromAgent {
    type Error = WireError;

    fn try_from(wire: v1::AgentControl) -> Result<Self, WireError> {
        Ok(match wire.kind.ok_or(WireError::Empty("AgentControl"))? {
            AgentKind::Hello(hello) => Self::Hello(hello.try_into()?),
            AgentKind::Beat(beat) => Self::Beat(beat.number),
            AgentKind::Ready(ready) => Self::Ready(ready.into()),
            AgentKind::PrepareFailed(failed) => Self::PrepareFailed(failed.try_into()?),
            AgentKind::Started(started) => Self::Started { at: started.at_ns.map(Duration::from_nanos) },
            AgentKind::Report(report) => Self::Report(report.workers.into_iter().map(Into::into).collect()),
            AgentKind::Leave(leave) => {
                Self::Leave { reason: wire::line(&leave.reason), drained: leave.drained }
            }
            AgentKind::BackendsEnded(reply) => Self::BackendsEnded(BackendsEnded {
                slot: SlotId::new(narrow("backends_ended.slot", reply.slot)?),
                outcome: match reply.problem.as_str() {
                    "" => Ok(reply.ended),
                    problem => Err(wire::text(problem)),
                },
            }),
            AgentKind::Health(health) => Self::Health(health.try_into()?),
            AgentKind::StatsReply(reply) => Self::StatsReply(reply.try_into()?),
            AgentKind::Explained(explained) => Self::Explained(explained.into()),
            AgentKind::Reconnected(reconnected) => {
                Self::Reconnected(reconnected.round, reconnected.try_into()?)
            }
        })
    }
}

impl TryFrom<v1::CoordinatorControl> for FromCoordinator {
    type Error = WireError;

    fn try_from(wire: v1::CoordinatorControl) -> Result<Self, WireError> {
        Ok(match wire.kind.ok_or(WireError::Empty("CoordinatorControl"))? {
            CoordinatorKind::Welcome(welcome) => Self::Welcome(welcome.try_into()?),
            CoordinatorKind::Reject(reject) => {
                Self::Reject { reason: wire::line(&reject.reason), retry: reject.retry }
            }
            CoordinatorKind::BeatAck(ack) => {
                Self::BeatAck { number: ack.number, time: Duration::from_nanos(ack.time_ns) }
            }
            CoordinatorKind::Arm(arm) => Self::Arm(arm.into()),
            CoordinatorKind::Drain(v1::Drain {}) => Self::Drain,
            CoordinatorKind::Cancel(cancel) => Self::Cancel { reason: wire::line(&cancel.reason) },
            CoordinatorKind::Bye(bye) => Self::Bye { reason: wire::line(&bye.reason) },
            CoordinatorKind::Standby(standby) => {
                Self::Standby(Standby { run: wire::run(standby.run)?, config: config(standby.config)? })
            }
            CoordinatorKind::EndBackends(end) => Self::EndBackends {
                slot: SlotId::new(narrow("end_backends.slot", end.slot)?),
                below: Epoch::new(end.below_epoch),
            },
            CoordinatorKind::StatsRequest(request) => Self::StatsRequest(request.into()),
            CoordinatorKind::Explain(request) => Self::Explain(request.try_into()?),
        })
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = WireError;

    fn try_from(hello: v1::Hello) -> Result<Self, WireError> {
        let workers: u16 = narrow("hello.workers", hello.workers)?;
        if !(1..=limits::WORKERS_PER_AGENT_MAX).contains(&workers) {
            return Err(WireError::OutOfRange { field: "hello.workers", value: workers.to_string() });
        }
        Ok(Self {
            protocol_version: hello.protocol_version,
            version: wire::line(&hello.version),
            machine: wire::line(&hello.machine),
            process_id: hello.process_id,
            workers,
            slot: hello.slot.map(|slot| narrow("hello.slot", slot).map(SlotId::new)).transpose()?,
            has_database: hello.has_database,
            ended: hello.ended.map(|ended| wire::session(Some(ended))).transpose()?,
            can_report_stats: hello.can_report_stats,
            instance: hello.instance,
            ran: hello.ran.map(TryInto::try_into).transpose()?,
            former: former(hello.former)?,
        })
    }
}

fn former(wire: Vec<v1::Session>) -> Result<Vec<GrantedSession>, WireError> {
    if wire.len() > limits::FORMER_SESSIONS_MAX {
        return Err(WireError::OutOfRange { field: "hello.former", value: wire.len().to_string() });
    }
    wire.into_iter().map(|session| wire::session(Some(session))).collect()
}

impl TryFrom<v1::Ran> for Ran {
    type Error = WireError;

    fn try_from(wire: v1::Ran) -> Result<Self, WireError> {
        let (session, ran_for) = (wire::session(wire.session)?, Duration::from_nanos(wire.ran_for_ns));
        Ok(Self { session, round: wire.round, ran_for })
    }
}

impl From<Ran> for v1::Ran {
    fn from(Ran { session, round, ran_for }: Ran) -> Self {
        Self { session: Some(session.into()), round, ran_for_ns: nanoseconds(ran_for) }
    }
}

impl TryFrom<v1::Welcome> for Welcome {
    type Error = WireError;

    fn try_from(wire: v1::Welcome) -> Result<Self, WireError> {
        Ok(Self { session: wire::session(wire.session)?, config: config(wire.config)? })
    }
}

fn config(wire: Option<Box<v1::RunConfig>>) -> Result<RunConfig, WireError> {
    (*wire.ok_or(WireError::Missing { field: "config" })?).try_into()
}

impl From<v1::Arm> for Arm {
    fn from(wire: v1::Arm) -> Self {
        Self {
            countdown: Duration::from_nanos(wire.countdown_ns),
            starts_at: Duration::from_nanos(wire.starts_at_ns),
            round: wire.round,
            offset: Duration::from_nanos(wire.offset_ns),
            lasts: wire.lasts_ns.map(Duration::from_nanos),
        }
    }
}

impl From<v1::Ready> for Ready {
    fn from(wire: v1::Ready) -> Self {
        let durations = |list: Vec<u64>| list.into_iter().map(Duration::from_nanos).collect();
        Self {
            connect: durations(wire.connect_ns),
            prepare: durations(wire.prepare_ns),
            database: wire.database.unwrap_or_default().into(),
            sql: wire.sql,
            bucket_function: non_empty(wire.bucket_function),
            versus: wire.versus_database.map(Into::into),
            results: wire.results.into_iter().map(Into::into).collect(),
            is_pooled: wire.is_pooled,
        }
    }
}

impl From<v1::Database> for Database {
    fn from(wire: v1::Database) -> Self {
        Self {
            server_version: wire.server_version,
            timescaledb: non_empty(wire.timescaledb),
            settings: wire.settings.into_iter().collect(),
            identities: wire.identities.into_iter().take(limits::SERVERS_MAX).map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::PrepareFailed> for PrepareFailed {
    type Error = WireError;

    fn try_from(failed: v1::PrepareFailed) -> Result<Self, WireError> {
        let kind = match failed.kind() {
            v1::prepare_failed::Kind::Statement => PrepareFailure::Statement,
            v1::prepare_failed::Kind::Database => PrepareFailure::Database,
            v1::prepare_failed::Kind::Agent => PrepareFailure::Agent,
            v1::prepare_failed::Kind::Unspecified => {
                return Err(WireError::OutOfRange {
                    field: "prepare_failed.kind",
                    value: failed.kind.to_string(),
                });
            }
        };
        let sqlstate = non_empty(failed.sqlstate)
            .map(|code| {
                SqlState::try_new(&code)
                    .map_err(|_| WireError::OutOfRange { field: "prepare_failed.sqlstate", value: code })
            })
            .transpose()?;
        Ok(Self {
            kind,
            message: wire::text(&failed.message),
            sqlstate,
            detail: non_empty(wire::text(&failed.detail)),
            hint: non_empty(wire::text(&failed.hint)),
            position: Some(failed.position).filter(|position| *position > 0),
            sql: failed.sql,
        })
    }
}

impl From<v1::WorkerReport> for WorkerReport {
    fn from(wire: v1::WorkerReport) -> Self {
        Self { disconnected: wire.disconnected_ns.map(Duration::from_nanos) }
    }
}

fn non_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

// -- to the wire -------------------------------------------------------------------------------------------------------

impl From<FromAgent> for v1::AgentControl {
    fn from(message: FromAgent) -> Self {
        let kind = match message {
            FromAgent::Hello(hello) => AgentKind::Hello(v1::Hello {
                protocol_version: hello.protocol_version,
                version: hello.version,
                machine: hello.machine,
                process_id: hello.process_id,
                workers: hello.workers.into(),
                slot: hello.slot.map(|slot| slot.get().into()),
                has_database: hello.has_database,
                ended: hello.ended.map(Into::into),
                can_report_stats: hello.can_report_stats,
                instance: hello.instance,
                ran: hello.ran.map(Into::into),
                former: hello.former.into_iter().map(Into::into).collect(),
            }),
            FromAgent::Beat(number) => AgentKind::Beat(v1::Beat { number }),
            FromAgent::Ready(ready) => AgentKind::Ready(ready.into()),
            FromAgent::PrepareFailed(failed) => AgentKind::PrepareFailed(failed.into()),
            FromAgent::Started { at } => AgentKind::Started(v1::Started { at_ns: at.map(nanoseconds) }),
            FromAgent::Report(workers) => AgentKind::Report(v1::Report {
                workers: workers
                    .into_iter()
                    .map(|WorkerReport { disconnected }| v1::WorkerReport {
                        disconnected_ns: disconnected.map(nanoseconds),
                    })
                    .collect(),
            }),
            FromAgent::Leave { reason, drained } => AgentKind::Leave(v1::Leave { reason, drained }),
            FromAgent::BackendsEnded(BackendsEnded { slot, outcome }) => {
                let (ended, problem) = match outcome {
                    Ok(ended) => (ended, String::new()),
                    Err(problem) => (0, problem),
                };
                AgentKind::BackendsEnded(v1::BackendsEnded { slot: slot.get().into(), ended, problem })
            }
            FromAgent::Health(sample) => AgentKind::Health(sample.into()),
            FromAgent::StatsReply(reply) => AgentKind::StatsReply(reply.into()),
            FromAgent::Explained(explained) => AgentKind::Explained(explained.into()),
            FromAgent::Reconnected(round, reconnects) => {
                AgentKind::Reconnected(v1::Reconnected { round, ..reconnects.into() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl From<FromCoordinator> for v1::CoordinatorControl {
    fn from(message: FromCoordinator) -> Self {
        let kind = match message {
            FromCoordinator::Welcome(Welcome { session, config }) => CoordinatorKind::Welcome(v1::Welcome {
                session: Some(session.into()),
                config: Some(Box::new(config.into())),
            }),
            FromCoordinator::Standby(Standby { run, config }) => CoordinatorKind::Standby(v1::Standby {
                run: run.to_string(),
                config: Some(Box::new(config.into())),
            }),
            FromCoordinator::EndBackends { slot, below } => {
                let slot = slot.get().into();
                CoordinatorKind::EndBackends(v1::EndBackends { slot, below_epoch: below.get() })
            }
            FromCoordinator::Reject { reason, retry } => {
                CoordinatorKind::Reject(v1::Reject { reason, retry })
            }
            FromCoordinator::BeatAck { number, time } => {
                CoordinatorKind::BeatAck(v1::BeatAck { number, time_ns: nanoseconds(time) })
            }
            FromCoordinator::Arm(arm) => CoordinatorKind::Arm(arm.into()),
            FromCoordinator::Drain => CoordinatorKind::Drain(v1::Drain {}),
            FromCoordinator::Cancel { reason } => CoordinatorKind::Cancel(v1::Cancel { reason }),
            FromCoordinator::Bye { reason } => CoordinatorKind::Bye(v1::Bye { reason }),
            FromCoordinator::StatsRequest(request) => CoordinatorKind::StatsRequest(request.into()),
            FromCoordinator::Explain(request) => CoordinatorKind::Explain(request.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl From<Arm> for v1::Arm {
    fn from(Arm { countdown, starts_at, round, offset, lasts }: Arm) -> Self {
        Self {
            countdown_ns: nanoseconds(countdown),
            starts_at_ns: nanoseconds(starts_at),
            round,
            offset_ns: nanoseconds(offset),
            lasts_ns: lasts.map(nanoseconds),
        }
    }
}

impl From<Ready> for v1::Ready {
    fn from(ready: Ready) -> Self {
        let nanos = |list: Vec<Duration>| list.into_iter().map(nanoseconds).collect();
        Self {
            connect_ns: nanos(ready.connect),
            prepare_ns: nanos(ready.prepare),
            database: Some(ready.database.into()),
            sql: ready.sql,
            bucket_function: ready.bucket_function.unwrap_or_default(),
            versus_database: ready.versus.map(Into::into),
            results: ready.results.into_iter().map(Into::into).collect(),
            is_pooled: ready.is_pooled,
        }
    }
}

impl From<Database> for v1::Database {
    fn from(database: Database) -> Self {
        Self {
            server_version: database.server_version,
            timescaledb: database.timescaledb.unwrap_or_default(),
            settings: database.settings.into_iter().collect(),
            identities: database.identities.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PrepareFailed> for v1::PrepareFailed {
    fn from(failed: PrepareFailed) -> Self {
        let kind = match failed.kind {
            PrepareFailure::Statement => v1::prepare_failed::Kind::Statement,
            PrepareFailure::Database => v1::prepare_failed::Kind::Database,
            PrepareFailure::Agent => v1::prepare_failed::Kind::Agent,
        };
        Self {
            kind: kind.into(),
            // Limited in length, because a server's message can quote megabytes of a statement, and all fields must fit into one message.
            message: wire::text(&failed.message),
            sqlstate: failed.sqlstate.map(|code| code.to_string()).unwrap_or_default(),
            detail: wire::text(&failed.detail.unwrap_or_default()),
            hint: wire::text(&failed.hint.unwrap_or_default()),
            position: failed.position.unwrap_or_default(),
            sql: failed.sql,
        }
    }
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Welcome").field("session", &self.session).field("config", &self.config).finish()
    }
}
