//! Differences between two runs other than their times, so that a change is not attributed to the wrong cause. Each is one message.

use std::collections::BTreeSet;

use crate::result::{Database, Ending, RunResult, VerdictStatus};

/// Returns true if both runs used the same rows of the same file, so that row ids are comparable.
pub(super) fn is_same_workload(base: &RunResult, new: &RunResult) -> bool {
    let id = |result: &RunResult| (result.workload.sha256.clone(), result.workload.rows);
    id(base) == id(new)
}

pub(super) fn warnings(base: &RunResult, new: &RunResult) -> Vec<String> {
    let mut warnings = Vec::new();
    if base.run_id == new.run_id {
        warnings.push(format!("both are the same run, {}", base.run_id));
    }
    for (name, result) in [("base", base), ("new", new)] {
        warnings.extend(verdict(name, result));
        warnings.extend(partial(name, result));
    }
    warnings.extend(workload(base, new));
    warnings.extend(query_results(base, new));
    let failed = [base, new].map(|result| result.queries.failed);
    if failed != [0, 0] {
        warnings.push(format!(
            "failed queries ({} of base, {} of new) are not included in the comparison",
            failed[0], failed[1]
        ));
    }
    warnings.extend(query(base, new));
    if let (Some(base), Some(new)) = (&base.database, &new.database) {
        warnings.extend(database(base, new));
    }
    warnings.extend(differ("numbers of agents and workers", &size(base), &size(new)));
    warnings.extend(differ("placements", &base.placement.method, &new.placement.method));
    warnings.extend(differ("versions of this tool", &base.tool.version, &new.tool.version));
    warnings
}

fn differ(what: &str, base: &str, new: &str) -> Option<String> {
    (base != new).then(|| format!("the {what} differ: {base} and {new}"))
}

fn verdict(name: &str, result: &RunResult) -> Option<String> {
    let status = result.verdict.status;
    if status == VerdictStatus::Valid {
        return None;
    }
    let why = result.verdict.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("{name} is {}{why}", status.name()))
}

fn partial(name: &str, result: &RunResult) -> Option<String> {
    let open = result.queries.unaccounted;
    let is_partial = result.ending != Ending::Completed || open > 0;
    is_partial
        .then(|| format!("{name} is partial: {open} of {} queries have no result", result.queries.total))
}

fn workload(base: &RunResult, new: &RunResult) -> Option<String> {
    if is_same_workload(base, new) {
        return None;
    }
    let [of_base, of_new] = [base, new].map(|result| &result.workload);
    Some(if of_base.sha256 == of_new.sha256 {
        format!("the runs have {} and {} rows of the same file", of_base.rows, of_new.rows)
    } else {
        format!(
            "the workloads differ: {} ({} rows) and {} ({} rows), by their sha256",
            of_base.file, of_base.rows, of_new.file, of_new.rows
        )
    })
}

/// Compares the digests of the query results, if all queries of both runs completed.
fn query_results(base: &RunResult, new: &RunResult) -> Option<String> {
    let are_complete = [base, new].iter().all(|result| result.queries.completed == result.queries.total);
    let of = [base, new].map(|result| result.result.digest.as_str());
    if !are_complete || !is_same_workload(base, new) || of[0] == of[1] {
        return None;
    }
    // Different formats have different digests even for the same data.
    if formats(base) != formats(new) {
        return None;
    }
    let cause = if base.query.sql == new.query.sql { "the data differ" } else { "the statements differ" };
    Some(format!("the query results differ, digests {} and {}: {cause}", of[0], of[1]))
}

/// Returns the result format of each statement. Reports of earlier versions lack it; there the protocol determines the format.
fn formats(result: &RunResult) -> Vec<&str> {
    let unknown = if result.query.protocol == "simple" { "text (earlier version)" } else { "binary" };
    let of_mix = result.statements.iter().map(|statement| &statement.results);
    let all = if result.statements.is_empty() { vec![&result.query.results] } else { of_mix.collect() };
    all.into_iter().map(|results| results.as_ref().map_or(unknown, |results| &results.format)).collect()
}

fn query(base: &RunResult, new: &RunResult) -> Vec<String> {
    let [of_base, of_new] = [base, new].map(|result| &result.query);
    let mut warnings = Vec::new();
    if of_base.sql != of_new.sql {
        warnings.push(match of_base.name == of_new.name {
            true => format!("the statements differ, both named {}", of_base.name),
            false => format!("the statements differ: {} and {}", of_base.name, of_new.name),
        });
    }
    warnings.extend(differ("protocols", &of_base.protocol, &of_new.protocol));
    let [of_base, of_new] = [base, new].map(|result| formats(result).join(", "));
    if of_base != of_new {
        warnings.push(format!(
            "the result formats differ: {of_base} and {of_new}; therefore the digests differ even for the same data"
        ));
    }
    let lag = |result: &RunResult| result.lag_ms.as_ref().is_some_and(|lag| lag.max > 0.0);
    match (lag(base), lag(new)) {
        (true, false) => warnings.push("only base has queries that began after they were due".to_owned()),
        (false, true) => warnings.push("only new has queries that began after they were due".to_owned()),
        _ => {}
    }
    warnings
}

fn database(base: &Database, new: &Database) -> Vec<String> {
    let mut warnings = Vec::new();
    let none = || "none".to_owned();
    warnings.extend(differ("versions of PostgreSQL", &base.server_version, &new.server_version));
    let timescaledb = |database: &Database| database.timescaledb.clone().unwrap_or_else(none);
    warnings.extend(differ("versions of TimescaleDB", &timescaledb(base), &timescaledb(new)));
    // Every run with an embedded server starts a new server.
    if base.embedded.is_none() && new.embedded.is_none() {
        warnings.extend(servers(base, new));
    }
    let kind = |database: &Database| if database.embedded.is_some() { "embedded" } else { "your own" };
    warnings.extend(differ("databases", kind(base), kind(new)));
    let names: BTreeSet<&String> = base.settings.keys().chain(new.settings.keys()).collect();
    let setting =
        |database: &Database, name: &String| database.settings.get(name).cloned().unwrap_or_else(none);
    let different: Vec<String> = names
        .into_iter()
        .map(|name| (name, setting(base, name), setting(new, name)))
        .filter(|(_, base, new)| base != new)
        .map(|(name, base, new)| format!("{name} {base} and {new}"))
        .collect();
    if !different.is_empty() {
        warnings.push(format!("the settings differ: {}", different.join(", ")));
    }
    warnings
}

/// Describes the difference when the runs used different servers, or the same server with a restart in between.
fn servers(base: &Database, new: &Database) -> Option<String> {
    let (base, new) = (base.identity.as_ref()?, new.identity.as_ref()?);
    if !base.is_same_server(new) {
        return Some(format!("the servers differ: {base} and {new}"));
    }
    if base.role != new.role {
        return Some(format!("the server at {} has another role: {base} and {new}", new.address));
    }
    (base.started_at != new.started_at)
        .then(|| format!("the server was restarted between the runs: {base} and {new}"))
}

/// Returns the number of agents with the total number of workers.
fn size(result: &RunResult) -> String {
    format!("{} with {}", result.agents.len(), result.workers.len())
}
