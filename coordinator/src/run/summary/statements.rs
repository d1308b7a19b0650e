//! Statements, errors and the database of the result.

use muster_core::load::Load;
use muster_core::protocol::{PlanCacheMode, Protocol, UsedFormat};
use muster_core::query::name_parameters;
use muster_core::sample::SqlState;
use muster_core::session_spec::Statement;
use muster_report::result;

use crate::run::latencies::{Latencies, Part};
use crate::run::record::{Found, Record};
use crate::run::servers;
use crate::run::subject::Subject;
use crate::run::tally::ErrorTally;

/// Returns true if PostgreSQL uses custom plans for the first executions of this statement, and then decides on the plan type.
pub(super) fn has_custom_plans_first(subject: &Subject<'_>, found: Option<&Found>, statement: u16) -> bool {
    let set = || found.and_then(|found| found.settings.get("plan_cache_mode")?.parse().ok());
    let mode = subject.spec.session.load.plan_cache_mode.or_else(set).unwrap_or(PlanCacheMode::Auto);
    let statement = subject.spec.session.statements.as_slice().get(usize::from(statement));
    let has_parameters = statement.is_some_and(|statement| !statement.template().columns().is_empty());
    decides_by_first_executions(subject.spec.session.load.protocol, mode, has_parameters)
}

/// Returns true only for a prepared statement in the automatic plan cache mode. A statement without parameters has a generic plan from the
/// first execution on (`choose_custom_plan` in plancache.c).
pub(super) fn decides_by_first_executions(
    protocol: Protocol,
    mode: PlanCacheMode,
    has_parameters: bool,
) -> bool {
    protocol == Protocol::Prepared && mode == PlanCacheMode::Auto && has_parameters
}

/// The errors of the result. Parameters such as `$2` are replaced with the names of the workload's columns.
pub(super) fn errors(
    errors: Vec<(SqlState, String, ErrorTally)>,
    subject: &Subject<'_>,
) -> Vec<result::Error> {
    let error = |(sqlstate, message, tally): (SqlState, String, ErrorTally)| {
        let ErrorTally { count, first } = tally;
        let statement = subject.spec.session.statements.as_slice().get(usize::from(first.statement));
        let columns = statement.map(|statement| statement.template().columns()).unwrap_or_default();
        // Errors of other classes quote values, and `$2` may be part of a value.
        let columns = if sqlstate.is_about_statement() { columns } else { &[] };
        let named = |text: String| name_parameters(&text, columns);
        result::Error {
            sqlstate: sqlstate.to_string(),
            count,
            message: named(message),
            detail: first.detail.map(named),
            hint: first.hint.map(named),
            row: first.row.get().into(),
            host: subject.hosts.name(first.host).to_owned(),
        }
    };
    errors.into_iter().map(error).collect()
}

pub(super) fn query(subject: &Subject<'_>, found: Option<&Found>) -> result::Query {
    let statements = &subject.spec.session.statements;
    let names: Vec<&str> = statements.iter().map(Statement::name).collect();
    result::Query {
        name: names.join(" + "),
        sql: found.map_or_else(|| statements.first().template().sql().to_owned(), |found| found.sql.clone()),
        protocol: subject.spec.session.load.protocol.to_string(),
        results: results(&subject.spec.session.load, found, 0),
        bucket_function: found.and_then(|found| found.bucket_function.clone()),
    }
}

/// The format of a statement's results, and the reason for it.
fn results(load: &Load, found: Option<&Found>, statement: usize) -> Option<result::ResultFormat> {
    let UsedFormat { format, without_binary } = found?.results.get(statement)?;
    let reason = match (without_binary.as_slice(), load.results) {
        _ if load.protocol == Protocol::Simple => "the simple protocol supports no other format".to_owned(),
        (_, Some(_)) => "--results".to_owned(),
        ([], None) => "default".to_owned(),
        ([one], None) => format!("{one} has no binary output"),
        (several, None) => format!("{} have no binary output", several.join(", ")),
    };
    Some(result::ResultFormat { format: format.to_string(), reason })
}

/// The figures of each statement of a mix. Empty for a single statement, to which the whole report refers.
pub(super) fn statements(
    subject: &Subject<'_>,
    latencies: &Latencies,
    found: Option<&Found>,
) -> Vec<result::Statement> {
    let statements = &subject.spec.session.statements;
    if !statements.is_mix() {
        return Vec::new();
    }
    (0u16..)
        .zip(statements.iter())
        .map(|(position, statement)| {
            let of = |part: &Part| part.class.is_first() && part.class.statement == position;
            let summary = latencies.service(of);
            let (completed, failed) = latencies.counted(of);
            result::Statement {
                name: statement.name().to_owned(),
                sql: statement.template().sql().to_owned(),
                results: results(&subject.spec.session.load, found, usize::from(position)),
                weight: statement.weight().into(),
                completed,
                failed,
                total_processing_time_ms: summary.as_ref().map_or(0.0, |summary| summary.sum_ns as f64 / 1e6),
                service_time_ms: summary.as_ref().map(result::Latency::from),
                response_time_ms: latencies.response(of),
            }
        })
        .collect()
}

pub(super) fn database(subject: &Subject<'_>, found: &Found, record: &Record) -> result::Database {
    result::Database {
        server_version: found.server_version.clone(),
        timescaledb: found.timescaledb.clone(),
        embedded: subject.spec.embedded.clone(),
        settings: found.settings.clone(),
        identity: None,
        other_identities: Vec::new(),
        reconnects: servers::broken(record).to_result(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_executions_are_separate_only_if_postgresql_decides_after_them() {
        use PlanCacheMode::{Auto, ForceCustomPlan, ForceGenericPlan};
        let decides = decides_by_first_executions;
        assert!(decides(Protocol::Prepared, Auto, true));
        assert!(!decides(Protocol::Prepared, Auto, false), "without parameters every plan is generic");
        assert!(!decides(Protocol::Prepared, ForceCustomPlan, true), "each execution is planned");
        assert!(!decides(Protocol::Prepared, ForceGenericPlan, true), "only the first one is planned");
        assert!(!decides(Protocol::Extended, Auto, true) && !decides(Protocol::Simple, Auto, true));
    }
}
