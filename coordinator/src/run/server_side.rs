//! Server statistics of a run: computes the differences between two snapshots, compares them with the client's figures, and adds the plans
//! of the slowest rows. Pure.

use muster_core::server_side::{DatabaseCounters, StatementCounters, StatsSnapshot, Window};
use muster_core::session_spec::Statements;
use muster_report::result::{Plan, ServerDatabase, ServerSide, ServerStatement};

use muster_report::units::{count, counted};

use super::latencies::{Latencies, Part};
use super::server_stats::{Explained, ServerStats};

/// The note for the embedded server. It replaces the agent's note, which explains how to set up pg_stat_statements.
const EMBEDDED: &str = "the embedded server runs without pg_stat_statements; use a server that has it (--database-url) to see the server's \
                        times, too";

/// The statements of the run and the client's measurements of them.
pub(super) struct Client<'a> {
    pub(super) statements: &'a Statements,
    pub(super) latencies: &'a Latencies,
    /// True if the run was resumed. Rows that ran under earlier coordinators are in the client's figures but not in the server's.
    pub(super) is_resumed: bool,
    /// True if the server is the embedded one, which the user cannot configure.
    pub(super) has_embedded_server: bool,
}

/// Returns `None` if no statistics were requested.
pub(super) fn summarize(server_stats: &ServerStats, client: &Client<'_>) -> Option<ServerSide> {
    if *server_stats == ServerStats::default() {
        return None;
    }
    let mut side = ServerSide { notes: server_stats.problems.clone(), ..ServerSide::default() };
    if let Some(before) = &server_stats.before {
        match &before.hypertables {
            Ok(hypertables) => side.hypertables.clone_from(hypertables),
            Err(why) => side.notes.push(why.clone()),
        }
    }
    if let (Some(before), Some(after)) = (&server_stats.before, &server_stats.after) {
        if client.is_resumed {
            side.notes.push(
                "the run was resumed by another coordinator: the server's figures cover only what ran since then"
                    .to_owned(),
            );
        }
        let Window { statements, database } = Window::between(before, after);
        match statements {
            Ok(counters) => add_statements(&mut side, &counters, before, client),
            Err(_) if client.has_embedded_server => side.notes.push(EMBEDDED.to_owned()),
            Err(why) => side.notes.push(why),
        }
        match database {
            Ok(counters) => side.database = Some(of_database(&counters, before.times_reads)),
            Err(why) => side.notes.push(why),
        }
        // Both may have failed for the same reason.
        side.notes.dedup();
    }
    side.plans = server_stats.plans.iter().map(|explained| plan(explained, client)).collect();
    Some(side)
}

fn add_statements(
    side: &mut ServerSide,
    counters: &[Result<StatementCounters, String>],
    snapshot: &StatsSnapshot,
    client: &Client<'_>,
) {
    let times_planning = snapshot.statements.as_ref().is_ok_and(|statements| statements.times_planning);
    for (position, counters) in (0u16..).zip(counters) {
        let name = client.name(position);
        match counters {
            Ok(counters) => {
                let statement = client.statement(position, counters, times_planning, snapshot.times_reads);
                if !client.is_resumed && statement.calls != statement.completed {
                    side.notes.push(other_calls(&statement));
                }
                side.statements.push(statement);
            }
            Err(why) => side.notes.push(format!("query '{name}': {why}")),
        }
    }
}

/// States that the server and the client counted different numbers of executions, with possible causes.
fn other_calls(statement: &ServerStatement) -> String {
    let ServerStatement { name, calls, completed, .. } = statement;
    let why = match calls > completed {
        true => "another client with this role ran it meanwhile, or rows ran twice",
        false => "agents with another role or database ran the rest, or its entry was evicted meanwhile",
    };
    format!(
        "query '{name}': the server counted {}, the run completed {}: {why}",
        counted(*calls, "execution"),
        count(*completed),
    )
}

impl Client<'_> {
    fn name(&self, position: u16) -> String {
        let statement = self.statements.as_slice().get(usize::from(position));
        statement.map(|statement| statement.name().to_owned()).unwrap_or_default()
    }

    fn statement(
        &self,
        position: u16,
        counters: &StatementCounters,
        times_planning: bool,
        times_reads: bool,
    ) -> ServerStatement {
        let StatementCounters {
            calls,
            exec_ns,
            plans: _,
            plan_ns,
            rows,
            blocks_hit,
            blocks_read,
            temp_read,
            temp_written,
            read_ns,
        } = *counters;
        let of = |part: &Part| part.class.is_first() && part.class.statement == position;
        let (completed, _) = self.latencies.counted(of);
        let mean = |ns: u64| (calls > 0).then(|| milliseconds(ns) / calls as f64);
        let mean_exec_time_ms = mean(exec_ns);
        // The mean over all calls. A call that used a cached plan took no planning time.
        let mean_plan_time_ms = mean(plan_ns).filter(|_| times_planning);
        let client_mean_ms = self.latencies.service(of).map(|summary| summary.mean_ns / 1e6);
        let of_server = mean_exec_time_ms.map(|exec| exec + mean_plan_time_ms.unwrap_or(0.0));
        ServerStatement {
            name: self.name(position),
            calls,
            completed,
            rows,
            total_exec_time_ms: milliseconds(exec_ns),
            mean_exec_time_ms,
            mean_plan_time_ms,
            client_mean_ms,
            between_ms: client_mean_ms.zip(of_server).map(|(client, server)| client - server),
            blocks_hit,
            blocks_read,
            hit_share: hit_share(blocks_hit, blocks_read),
            temp_blocks_read: temp_read,
            temp_blocks_written: temp_written,
            block_read_time_ms: times_reads.then_some(milliseconds(read_ns)),
        }
    }
}

fn of_database(counters: &DatabaseCounters, times_reads: bool) -> ServerDatabase {
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
        reset: _,
    } = *counters;
    ServerDatabase {
        commits,
        rollbacks,
        blocks_hit,
        blocks_read,
        hit_share: hit_share(blocks_hit, blocks_read),
        rows_returned,
        rows_fetched,
        temp_bytes,
        deadlocks,
        block_read_time_ms: times_reads.then_some(milliseconds(read_ns)),
    }
}

fn plan(explained: &Explained, client: &Client<'_>) -> Plan {
    let Explained { row, host, statement, service_time_ns, plan, execution, kind } = explained;
    let (lines, problem) = match plan {
        Ok(lines) => (lines.clone(), None),
        Err(why) => (Vec::new(), Some(why.clone())),
    };
    Plan {
        row: (*row).into(),
        host: host.clone(),
        statement: client.name(*statement),
        service_time_ms: milliseconds(*service_time_ns),
        execution: (*execution > 0).then(|| (*execution).into()),
        kind: *kind,
        lines,
        problem,
    }
}

fn hit_share(hit: u64, read: u64) -> Option<f64> {
    let touched = hit.saturating_add(read);
    (touched > 0).then(|| hit as f64 / touched as f64)
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use muster_core::ids::RowId;
    use muster_core::passes::Passes;
    use muster_core::sample::Sample;
    use muster_core::server_side::Statements;

    use muster_core::session_spec::Statement;

    use super::*;
    use crate::run::tally::WorkerTally;
    use crate::run::times::Class;

    fn snapshot(calls: u64, reset: &str) -> StatsSnapshot {
        let counters = StatementCounters {
            calls,
            exec_ns: calls * 1_000_000,
            plan_ns: calls * 250_000,
            blocks_hit: calls * 3,
            blocks_read: calls,
            ..StatementCounters::default()
        };
        StatsSnapshot {
            server: "1/5".to_owned(),
            identity: None,
            database: DatabaseCounters::default(),
            times_reads: false,
            statements: Ok(Statements {
                counters: vec![Ok(counters)],
                times_planning: true,
                reset: reset.to_owned(),
            }),
            hypertables: Ok(Vec::new()),
        }
    }

    /// The result for four rows of 2 ms each.
    fn side(before: StatsSnapshot, after: StatsSnapshot, change: impl Fn(&mut Client<'_>)) -> ServerSide {
        let mut worker = WorkerTally::default();
        for row in 0..4 {
            let measurement = Sample { service_time_ns: 2_000_000, ..Sample::zero(RowId::new(row)) };
            let class = Class::of(&measurement, &Passes::once(4));
            worker.times.count(class, true);
            worker.times.add(class, &measurement);
        }
        let statements = Statement::default_query().into();
        let latencies = Latencies::of(&[worker]);
        let mut client = Client {
            statements: &statements,
            latencies: &latencies,
            is_resumed: false,
            has_embedded_server: false,
        };
        change(&mut client);
        let server_stats = ServerStats { before: Some(before), after: Some(after), ..ServerStats::default() };
        summarize(&server_stats, &client).unwrap()
    }

    #[test]
    fn the_difference_is_client_time_without_execution_and_planning() {
        let side = side(snapshot(10, ""), snapshot(14, ""), |_| {});
        let statement = &side.statements[0];
        assert_eq!((statement.calls, statement.completed), (4, 4));
        assert_eq!(statement.mean_exec_time_ms, Some(1.0));
        assert_eq!(statement.mean_plan_time_ms, Some(0.25));
        assert_eq!((statement.client_mean_ms, statement.between_ms), (Some(2.0), Some(0.75)));
        assert_eq!(statement.hit_share, Some(0.75));
        assert_eq!(statement.block_read_time_ms, None, "the server does not measure it");
        assert_eq!(side.notes, [""; 0]);
    }

    #[test]
    fn a_different_number_of_calls_is_noted_unless_the_run_was_resumed() {
        let more = side(snapshot(10, ""), snapshot(15, ""), |_| {});
        assert!(
            more.notes[0].contains("counted 5 executions, the run completed 4: another client"),
            "{:?}",
            more.notes
        );
        let fewer = side(snapshot(10, ""), snapshot(11, ""), |_| {});
        assert!(
            fewer.notes[0].contains("counted 1 execution, the run completed 4: agents with"),
            "{:?}",
            fewer.notes
        );
        let resumed = side(snapshot(10, ""), snapshot(11, ""), |client| client.is_resumed = true);
        assert!(resumed.notes[0].ends_with("cover only what ran since then"), "{:?}", resumed.notes);
        assert_eq!(resumed.notes.len(), 1);
    }

    #[test]
    fn a_reset_leaves_a_note_instead_of_figures() {
        let reset = side(snapshot(10, "monday"), snapshot(14, "tuesday"), |_| {});
        assert!(reset.statements.is_empty() && reset.database.is_some());
        assert_eq!(reset.notes, ["pg_stat_statements was reset during the run"]);
        let embedded =
            side(snapshot(10, "monday"), snapshot(14, "tuesday"), |client| client.has_embedded_server = true);
        assert_eq!(embedded.notes, [EMBEDDED]);
    }

    #[test]
    fn without_a_request_there_are_no_server_statistics() {
        let latencies = Latencies::of(&[]);
        let statements = Statement::default_query().into();
        let client = Client {
            statements: &statements,
            latencies: &latencies,
            is_resumed: false,
            has_embedded_server: false,
        };
        assert_eq!(summarize(&ServerStats::default(), &client), None);
        let failed = ServerStats { problems: vec!["no answer".to_owned()], ..ServerStats::default() };
        assert_eq!(summarize(&failed, &client).unwrap().notes, ["no answer"]);
    }
}
