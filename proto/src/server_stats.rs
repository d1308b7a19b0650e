//! Requests to an agent for the server's statistics (StatsRequest) and for the plan of a row (Explain), and the replies to them.

use std::time::Duration;

use bytes::Bytes;
use muster_core::limits;
use muster_core::server_side::{
    DatabaseCounters, ExplainedPlan, Hypertable, PlanKind, StatementCounters, Statements, StatsSnapshot,
};

use crate::v1;
use crate::wire::{self, WireError, nanoseconds, narrow};

/// Requests the server's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsRequest {
    pub number: u32,
    /// The workers have ended. The agent waits briefly until their backends have flushed their statistics.
    pub is_last: bool,
}

/// Requests one more execution of a row and its plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    pub number: u32,
    /// Position among the run's statements.
    pub statement: u16,
    /// The row's values in the layout of [`muster_core::parameters`].
    pub parameters: Bytes,
    pub timeout: Duration,
    /// The number of the row's execution, counted from 1 by statement and connection. 0 if unknown.
    pub execution: u32,
    /// The values of the preceding executions on that connection, starting with the first, if known. PostgreSQL chooses the plan of the
    /// row based on the plans of these executions.
    pub earlier: Vec<Bytes>,
}

/// The reply to the [`StatsRequest`] with this number: the statistics, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsReply {
    pub number: u32,
    pub outcome: Result<Box<StatsSnapshot>, String>,
}

/// The reply to the [`Explain`] with this number: the plan, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub number: u32,
    pub outcome: Result<ExplainedPlan, String>,
}

// -- from the wire -----------------------------------------------------------------------------------------------------

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

// -- to the wire -------------------------------------------------------------------------------------------------------

impl From<StatsRequest> for v1::StatsRequest {
    fn from(StatsRequest { number, is_last }: StatsRequest) -> Self {
        Self { number, is_last }
    }
}

impl From<Explain> for v1::Explain {
    fn from(explain: Explain) -> Self {
        let Explain { number, statement, parameters, timeout, execution, earlier } = explain;
        Self {
            number,
            statement: statement.into(),
            parameters: parameters.into(),
            timeout_ns: nanoseconds(timeout),
            execution,
            earlier: earlier.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<StatsReply> for v1::StatsReply {
    fn from(StatsReply { number, outcome }: StatsReply) -> Self {
        let snapshot = match outcome {
            Ok(snapshot) => *snapshot,
            Err(problem) => return Self { number, problem: or_unknown(problem), ..Self::default() },
        };
        let StatsSnapshot { server, identity, database, times_reads, statements, hypertables } = snapshot;
        let (statements, statements_problem) = match statements {
            Ok(statements) => (Some(statements.into()), String::new()),
            Err(problem) => (None, or_unknown(problem)),
        };
        let (hypertables, hypertables_problem) = match hypertables {
            Ok(hypertables) => (hypertables.into_iter().map(Into::into).collect(), String::new()),
            Err(problem) => (Vec::new(), or_unknown(problem)),
        };
        Self {
            number,
            problem: String::new(),
            server,
            identity: identity.map(Into::into),
            database: Some(database.into()),
            times_reads,
            statements,
            statements_problem,
            hypertables,
            hypertables_problem,
        }
    }
}

impl From<Statements> for v1::StatementStats {
    fn from(Statements { counters, times_planning, reset }: Statements) -> Self {
        let counters = counters.into_iter().map(|one| match one {
            Ok(counters) => counters.into(),
            Err(problem) => v1::StatementCounters { problem: or_unknown(problem), ..Default::default() },
        });
        Self { counters: counters.collect(), times_planning, reset }
    }
}

impl From<StatementCounters> for v1::StatementCounters {
    fn from(counters: StatementCounters) -> Self {
        let StatementCounters {
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
        } = counters;
        Self {
            problem: String::new(),
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

impl From<DatabaseCounters> for v1::DatabaseCounters {
    fn from(counters: DatabaseCounters) -> Self {
        let DatabaseCounters {
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
        } = counters;
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

impl From<Hypertable> for v1::Hypertable {
    fn from(Hypertable { name, chunks, compressed_chunks, has_compression }: Hypertable) -> Self {
        Self { name, chunks, compressed_chunks, has_compression }
    }
}

impl From<Explained> for v1::Explained {
    fn from(Explained { number, outcome }: Explained) -> Self {
        match outcome {
            Ok(ExplainedPlan { lines, kind }) => {
                let kind = match kind {
                    None => v1::PlanKind::Unspecified,
                    Some(PlanKind::Custom) => v1::PlanKind::Custom,
                    Some(PlanKind::Generic) => v1::PlanKind::Generic,
                };
                Self { number, problem: String::new(), lines, kind: kind.into() }
            }
            Err(problem) => Self { number, problem: or_unknown(problem), ..Self::default() },
        }
    }
}

/// Replaces an empty text, because an empty `problem` means that there is none.
fn or_unknown(problem: String) -> String {
    if problem.is_empty() { "unknown reason".to_owned() } else { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reply: StatsReply) {
        assert_eq!(StatsReply::try_from(v1::StatsReply::from(reply.clone())), Ok(reply));
    }

    #[test]
    fn statistics_and_their_absence_survive_the_round_trip() {
        let counters = StatementCounters { calls: 3, exec_ns: 4, ..StatementCounters::default() };
        let snapshot = StatsSnapshot {
            server: "1/5".to_owned(),
            identity: Some(muster_core::server_identity::ServerIdentity {
                address: "10.0.0.1:5432".to_owned(),
                role: Some(muster_core::server_identity::Role::Standby),
                ..Default::default()
            }),
            database: DatabaseCounters { blocks_hit: 7, ..DatabaseCounters::default() },
            times_reads: true,
            statements: Ok(Statements {
                counters: vec![Ok(counters), Err("no entry".to_owned())],
                times_planning: true,
                reset: "monday".to_owned(),
            }),
            hypertables: Ok(vec![Hypertable {
                name: "public.cpu_usage".to_owned(),
                chunks: 4,
                compressed_chunks: 1,
                has_compression: true,
            }]),
        };
        check(StatsReply { number: 1, outcome: Ok(Box::new(snapshot.clone())) });
        let statements = Err("not installed".to_owned());
        let partial = StatsSnapshot { statements, hypertables: Err("refused".to_owned()), ..snapshot };
        check(StatsReply { number: 2, outcome: Ok(Box::new(partial)) });
        check(StatsReply { number: 3, outcome: Err("no connection".to_owned()) });
    }

    #[test]
    fn a_plan_and_its_absence_survive_the_round_trip() {
        let plan = |kind| ExplainedPlan { lines: vec!["Result".to_owned(), "  Filter".to_owned()], kind };
        let kinds = [None, Some(PlanKind::Custom), Some(PlanKind::Generic)];
        for outcome in kinds.map(|kind| Ok(plan(kind))).into_iter().chain([Err("it writes".to_owned())]) {
            let explained = Explained { number: 9, outcome };
            assert_eq!(Explained::from(v1::Explained::from(explained.clone())), explained);
        }
        let values = |text: &'static str| Bytes::from_static(text.as_bytes());
        let explain = Explain {
            number: 9,
            statement: 2,
            parameters: values("row"),
            timeout: Duration::from_secs(1),
            execution: 12,
            earlier: vec![values("first"), values("second")],
        };
        assert_eq!(Explain::try_from(v1::Explain::from(explain.clone())), Ok(explain));
    }
}
