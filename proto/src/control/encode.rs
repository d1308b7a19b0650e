//! Messages of the Control stream to the wire.

use muster_core::prepare::{Database, PrepareFailed, PrepareFailure};

use super::{Arm, BackendsEnded, FromAgent, FromCoordinator, Ready, Standby, Welcome, WorkerReport};
use crate::v1;
use crate::v1::agent_control::Kind as AgentKind;
use crate::v1::coordinator_control::Kind as CoordinatorKind;
use crate::wire::{self, nanoseconds};
use std::time::Duration;

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
