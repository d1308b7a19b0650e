//! Messages of the Control stream from the wire.

use muster_core::ids::{Epoch, SlotId};
use muster_core::limits;
use muster_core::prepare::{Database, PrepareFailed, PrepareFailure};
use muster_core::sample::SqlState;
use muster_core::session_token::GrantedSession;

use super::{
    Arm, BackendsEnded, FromAgent, FromCoordinator, Hello, Ran, Ready, Standby, Welcome, WorkerReport,
};
use crate::config::RunConfig;
use crate::v1;
use crate::v1::agent_control::Kind as AgentKind;
use crate::v1::coordinator_control::Kind as CoordinatorKind;
use crate::wire::{self, WireError, nanoseconds, narrow};
use std::time::Duration;

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
