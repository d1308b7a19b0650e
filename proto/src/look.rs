//! Asking an agent what the server has counted, and how it executes a row: the conversations of Look and Explain.

use std::time::Duration;

use bytes::Bytes;
use muster_common::limits;
use muster_common::server_side::{
    DatabaseCounters, ExplainedPlan, Hypertable, PlanKind, Sight, StatementCounters, Statements,
};

use crate::v1;
use crate::wire::{self, WireError, nanoseconds, narrow};

/// Say what the server has counted so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub number: u32,
    /// The workers have ended: wait a moment until their backends have handed in what they counted.
    pub is_last: bool,
}

/// Run a row once more and say how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    pub number: u32,
    /// Position among the run's statements.
    pub statement: u16,
    /// The row's values in the layout of [`muster_common::parameters`].
    pub parameters: Bytes,
    pub timeout: Duration,
    /// The number of the row's execution, counted by statement and connection from 1; 0 where it is not known.
    pub execution: u32,
    /// The values of the executions before the row on that connection, from the first on, as far as they are known. PostgreSQL decides by
    /// their plans which plan the row gets.
    pub earlier: Vec<Bytes>,
}

/// The answer to a [`Look`] of this number: what was seen, or why nothing was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub number: u32,
    pub outcome: Result<Box<Sight>, String>,
}

/// The answer to an [`Explain`] of this number: the plan, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub number: u32,
    pub outcome: Result<ExplainedPlan, String>,
}

// -- from the wire -----------------------------------------------------------------------------------------------------

impl From<v1::Look> for Look {
    fn from(v1::Look { number, is_last }: v1::Look) -> Self {
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

impl TryFrom<v1::Seen> for Seen {
    type Error = WireError;

    fn try_from(wire: v1::Seen) -> Result<Self, WireError> {
        let number = wire.number;
        if !wire.problem.is_empty() {
            return Ok(Self { number, outcome: Err(wire::text(&wire.problem)) });
        }
        let statements = match wire.statements {
            Some(statements) if statements.counters.len() > limits::STATEMENTS_MAX => {
                return Err(WireError::Length {
                    field: "seen.statements",
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
        let sight = Sight {
            server: wire::text(&wire.server),
            identity: wire.identity.map(Into::into),
            database: wire.database.ok_or(WireError::Missing { field: "seen.database" })?.into(),
            times_reads: wire.times_reads,
            statements,
            hypertables,
        };
        Ok(Self { number, outcome: Ok(Box::new(sight)) })
    }
}

impl From<v1::StatementsSeen> for Statements {
    fn from(v1::StatementsSeen { counters, times_planning, reset }: v1::StatementsSeen) -> Self {
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
        // A kind that only a later version defines is unknown here.
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

impl From<Look> for v1::Look {
    fn from(Look { number, is_last }: Look) -> Self {
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

impl From<Seen> for v1::Seen {
    fn from(Seen { number, outcome }: Seen) -> Self {
        let sight = match outcome {
            Ok(sight) => *sight,
            Err(problem) => return Self { number, problem: told(problem), ..Self::default() },
        };
        let Sight { server, identity, database, times_reads, statements, hypertables } = sight;
        let (statements, statements_problem) = match statements {
            Ok(statements) => (Some(statements.into()), String::new()),
            Err(problem) => (None, told(problem)),
        };
        let (hypertables, hypertables_problem) = match hypertables {
            Ok(hypertables) => (hypertables.into_iter().map(Into::into).collect(), String::new()),
            Err(problem) => (Vec::new(), told(problem)),
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

impl From<Statements> for v1::StatementsSeen {
    fn from(Statements { counters, times_planning, reset }: Statements) -> Self {
        let counters = counters.into_iter().map(|one| match one {
            Ok(counters) => counters.into(),
            Err(problem) => v1::StatementCounters { problem: told(problem), ..Default::default() },
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
            Err(problem) => Self { number, problem: told(problem), ..Self::default() },
        }
    }
}

/// On the wire an empty problem is none.
fn told(problem: String) -> String {
    if problem.is_empty() { "for no reason that was told".to_owned() } else { problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seen: Seen) {
        assert_eq!(Seen::try_from(v1::Seen::from(seen.clone())), Ok(seen));
    }

    #[test]
    fn what_was_seen_survives_the_wire() {
        let counters = StatementCounters { calls: 3, exec_ns: 4, ..StatementCounters::default() };
        let sight = Sight {
            server: "1/5".to_owned(),
            identity: Some(muster_common::server_identity::ServerIdentity {
                address: "10.0.0.1:5432".to_owned(),
                role: Some(muster_common::server_identity::Role::Standby),
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
        check(Seen { number: 1, outcome: Ok(Box::new(sight.clone())) });
        let statements = Err("not installed".to_owned());
        let blind = Sight { statements, hypertables: Err("refused".to_owned()), ..sight };
        check(Seen { number: 2, outcome: Ok(Box::new(blind)) });
        check(Seen { number: 3, outcome: Err("no connection".to_owned()) });
    }

    #[test]
    fn a_plan_and_its_absence_survive_the_wire() {
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
