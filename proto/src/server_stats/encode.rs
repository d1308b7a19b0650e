//! Server statistics to the wire.

use muster_core::server_side::{
    DatabaseCounters, Explain, ExplainedPlan, Hypertable, PlanKind, StatementCounters, Statements,
    StatsSnapshot,
};

use super::{Explained, StatsReply, StatsRequest};
use crate::v1;
use crate::wire::nanoseconds;

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
