//! Differences of a server's counters between two moments. Counters only increase, unless they are reset, an entry is evicted or the server
//! is restarted: then the difference is meaningless and is not reported.

use super::{DatabaseCounters, StatementCounters, Statements, StatsSnapshot};

/// The differences between two snapshots, or the reasons why they are unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Indexed by the run's statements.
    pub statements: Result<Vec<Result<StatementCounters, String>>, String>,
    pub database: Result<DatabaseCounters, String>,
}

impl Window {
    pub fn between(before: &StatsSnapshot, after: &StatsSnapshot) -> Self {
        if before.server != after.server {
            let why =
                "the server was restarted during the run, or the final statistics came from a different server"
                    .to_owned();
            return Self { statements: Err(why.clone()), database: Err(why) };
        }
        let statements = match (&before.statements, &after.statements) {
            (Ok(before), Ok(after)) => statements(before, after),
            (Err(why), _) | (_, Err(why)) => Err(why.clone()),
        };
        Self { statements, database: database(&before.database, &after.database) }
    }
}

fn statements(
    before: &Statements,
    after: &Statements,
) -> Result<Vec<Result<StatementCounters, String>>, String> {
    if before.reset != after.reset {
        return Err("pg_stat_statements was reset during the run".to_owned());
    }
    let pairs = before.counters.iter().zip(&after.counters);
    Ok(pairs
        .map(|pair| match pair {
            (Ok(before), Ok(after)) => statement(before, after),
            (Err(why), _) | (_, Err(why)) => Err(why.clone()),
        })
        .collect())
}

fn statement(before: &StatementCounters, after: &StatementCounters) -> Result<StatementCounters, String> {
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
    } = *before;
    let difference = || {
        Some(StatementCounters {
            calls: after.calls.checked_sub(calls)?,
            exec_ns: after.exec_ns.checked_sub(exec_ns)?,
            plans: after.plans.checked_sub(plans)?,
            plan_ns: after.plan_ns.checked_sub(plan_ns)?,
            rows: after.rows.checked_sub(rows)?,
            blocks_hit: after.blocks_hit.checked_sub(blocks_hit)?,
            blocks_read: after.blocks_read.checked_sub(blocks_read)?,
            temp_read: after.temp_read.checked_sub(temp_read)?,
            temp_written: after.temp_written.checked_sub(temp_written)?,
            read_ns: after.read_ns.checked_sub(read_ns)?,
        })
    };
    difference().ok_or_else(|| {
        "its entry in pg_stat_statements was reset during the run, or evicted to make room for others (pg_stat_statements.max)"
            .to_owned()
    })
}

fn database(before: &DatabaseCounters, after: &DatabaseCounters) -> Result<DatabaseCounters, String> {
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
    } = before;
    let difference = || {
        Some(DatabaseCounters {
            commits: after.commits.checked_sub(*commits)?,
            rollbacks: after.rollbacks.checked_sub(*rollbacks)?,
            blocks_hit: after.blocks_hit.checked_sub(*blocks_hit)?,
            blocks_read: after.blocks_read.checked_sub(*blocks_read)?,
            rows_returned: after.rows_returned.checked_sub(*rows_returned)?,
            rows_fetched: after.rows_fetched.checked_sub(*rows_fetched)?,
            temp_bytes: after.temp_bytes.checked_sub(*temp_bytes)?,
            deadlocks: after.deadlocks.checked_sub(*deadlocks)?,
            read_ns: after.read_ns.checked_sub(*read_ns)?,
            reset: after.reset.clone(),
        })
    };
    let difference = if *reset == after.reset { difference() } else { None };
    difference.ok_or_else(|| "the statistics of the database were reset during the run".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(calls: u64, blocks_hit: u64) -> StatsSnapshot {
        let counters = StatementCounters { calls, exec_ns: calls * 1_000, ..StatementCounters::default() };
        let unknown = Err("no entry".to_owned());
        StatsSnapshot {
            server: "1/5".to_owned(),
            identity: None,
            database: DatabaseCounters { blocks_hit, ..DatabaseCounters::default() },
            times_reads: false,
            statements: Ok(Statements { counters: vec![Ok(counters), unknown], ..Statements::default() }),
            hypertables: Ok(Vec::new()),
        }
    }

    fn reset_of(mut snapshot: StatsSnapshot, statements: &str, database: &str) -> StatsSnapshot {
        if let Ok(counters) = &mut snapshot.statements {
            counters.reset = statements.to_owned();
        }
        snapshot.database.reset = database.to_owned();
        snapshot
    }

    #[test]
    fn counts_from_before_the_run_are_subtracted() {
        let window = Window::between(&snapshot(40, 1_000), &snapshot(240, 1_500));
        let statements = window.statements.unwrap();
        let first = statements[0].as_ref().unwrap();
        assert_eq!((first.calls, first.exec_ns), (200, 200_000));
        assert_eq!(
            statements[1],
            Err("no entry".to_owned()),
            "an unknown statement does not hide the others"
        );
        assert_eq!(window.database.unwrap().blocks_hit, 500);
    }

    #[test]
    fn decreased_counters_give_no_difference() {
        let window = Window::between(&snapshot(40, 1_000), &snapshot(39, 999));
        let why = window.statements.unwrap()[0].clone().unwrap_err();
        assert!(why.starts_with("its entry in pg_stat_statements was reset"), "{why}");
        assert_eq!(
            window.database,
            Err("the statistics of the database were reset during the run".to_owned())
        );
    }

    #[test]
    fn a_reset_is_detected_even_if_the_counters_have_exceeded_their_old_values() {
        let before = reset_of(snapshot(40, 1_000), "monday", "monday");
        let statements = Window::between(&before, &reset_of(snapshot(240, 1_500), "tuesday", "monday"));
        assert_eq!(statements.statements, Err("pg_stat_statements was reset during the run".to_owned()));
        assert!(statements.database.is_ok());
        let database = Window::between(&before, &reset_of(snapshot(240, 1_500), "monday", "tuesday"));
        assert!(database.statements.is_ok() && database.database.is_err());
    }

    #[test]
    fn snapshots_of_different_servers_are_not_compared() {
        let other = StatsSnapshot { server: "2/5".to_owned(), ..snapshot(240, 1_500) };
        let window = Window::between(&snapshot(40, 1_000), &other);
        assert!(window.statements.is_err() && window.database.is_err());
    }
}
