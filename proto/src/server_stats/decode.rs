//! Server statistics from the wire.

use std::time::Duration;

use muster_core::limits;
use muster_core::server_side::{
    DatabaseCounters, Explain, ExplainedPlan, Hypertable, PlanKind, StatementCounters, Statements,
    StatsSnapshot,
};

use super::{Explained, StatsReply, StatsRequest};
use crate::v1;
use crate::wire::{self, WireError, narrow};

impl From<v1::StatsRequest> for StatsRequest {
    fn from(v1::StatsRequest { number, is_last }: v1::StatsRequest) -> Self {
        Self { number, is_last }
    }
}

impl TryFrom<v1::Explain> for Explain {
    type Error = WireError;

    fn try_from(wire: v1::Explain) -> Result<Self, WireError> {
        Ok(Self {
            number: wire.number,
            statement: narrow("explain.statement", wire.statement)?,
            parameters: wire.parameters.into(),
            timeout: Duration::from_nanos(wire.timeout_ns),
            execution: wire.execution,
            earlier: wire.earlier.into_iter().take(limits::EXPLAIN_EARLIER_MAX).map(Into::into).collect(),
        })
    }
}

impl TryFrom<v1::StatsReply> for StatsReply {
    type Error = WireError;

    fn try_from(wire: v1::StatsReply) -> Result<Self, WireError> {
        let number = wire.number;
        if !wire.problem.is_empty() {
            return Ok(Self { number, outcome: Err(wire::text(&wire.problem)) });
        }
        let statements = match wire.statements {
            Some(statements) if statements.counters.len() > limits::STATEMENTS_MAX => {
                return Err(WireError::Length {
                    field: "stats_reply.statements".into(),
                    expected: limits::STATEMENTS_MAX,
                    found: statements.counters.len(),
                });
            }
            Some(statements) => Ok(statements.into()),
            None => Err(wire::text(&wire.statements_problem)),
        };
        let hypertables = match wire.hypertables_problem.as_str() {
            "" => Ok(wire.hypertables.into_iter().take(limits::HYPERTABLES_MAX).map(Into::into).collect()),
            problem => Err(wire::text(problem)),
        };
        let snapshot = StatsSnapshot {
            server: wire::text(&wire.server),
            identity: wire.identity.map(Into::into),
            database: wire.database.ok_or(WireError::Missing { field: "stats_reply.database" })?.into(),
            times_reads: wire.times_reads,
            statements,
            hypertables,
        };
        Ok(Self { number, outcome: Ok(Box::new(snapshot)) })
    }
}

impl From<v1::StatementStats> for Statements {
    fn from(v1::StatementStats { counters, times_planning, reset }: v1::StatementStats) -> Self {
        let counters = counters.into_iter().map(|one| match one.problem.as_str() {
            "" => Ok(one.into()),
            problem => Err(wire::text(problem)),
        });
        Self { counters: counters.collect(), times_planning, reset: wire::text(&reset) }
    }
}

impl From<v1::StatementCounters> for StatementCounters {
    fn from(wire: v1::StatementCounters) -> Self {
        let v1::StatementCounters {
            problem: _,
            calls,
            exec_ns,
            plans,
            plan_ns,
            rows,
            blocks_hit,
            blocks_read,
            temp_read,
            temp_written,
            read_ns,
        } = wire;
        Self {
            calls,
            exec_ns,
            plans,
            plan_ns,
            rows,
            blocks_hit,
            blocks_read,
            temp_read,
            temp_written,
            read_ns,
        }
    }
}

impl From<v1::DatabaseCounters> for DatabaseCounters {
    fn from(wire: v1::DatabaseCounters) -> Self {
        let v1::DatabaseCounters {
            commits,
            rollbacks,
            blocks_hit,
            blocks_read,
            rows_returned,
            rows_fetched,
            temp_bytes,
            deadlocks,
            read_ns,
            reset,
        } = wire;
        let reset = wire::text(&reset);
        Self {
            commits,
            rollbacks,
            blocks_hit,
            blocks_read,
            rows_returned,
            rows_fetched,
            temp_bytes,
            deadlocks,
            read_ns,
            reset,
        }
    }
}

impl From<v1::Hypertable> for Hypertable {
    fn from(v1::Hypertable { name, chunks, compressed_chunks, has_compression }: v1::Hypertable) -> Self {
        Self { name: wire::text(&name), chunks, compressed_chunks, has_compression }
    }
}

impl From<v1::Explained> for Explained {
    fn from(v1::Explained { number, problem, lines, kind }: v1::Explained) -> Self {
        let line = |line: String| line.chars().take(limits::PLAN_LINE_CHARS_MAX).collect();
        // A kind that only a later version defines is treated as unknown.
        let kind = match v1::PlanKind::try_from(kind) {
            Ok(v1::PlanKind::Custom) => Some(PlanKind::Custom),
            Ok(v1::PlanKind::Generic) => Some(PlanKind::Generic),
            Ok(v1::PlanKind::Unspecified) | Err(_) => None,
        };
        let outcome = match problem.as_str() {
            "" => {
                let lines = lines.into_iter().take(limits::PLAN_LINES_MAX).map(line).collect();
                Ok(ExplainedPlan { lines, kind })
            }
            problem => Err(wire::text(problem)),
        };
        Self { number, outcome }
    }
}
