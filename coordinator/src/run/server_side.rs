//! What is known of the server's side of a run: two sights and some plans, and what they amount to beside the client's figures. Pure.

use muster_common::result::{Plan, PlanKind, ServerDatabase, ServerSide, ServerStatement};
use muster_common::server_side::{DatabaseCounters, Sight, StatementCounters, Window};
use serde::{Deserialize, Serialize};

use super::latencies::{Latencies, Part};
use super::summary::Stated;
use crate::output::units::{count, counted};

/// The agent's sentence says how to set a server up.
const EMBEDDED: &str = "the embedded server runs without pg_stat_statements; one of your own that has it (--database-url) tells its \
                        times, too";

/// Everything that the facts so far say of the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Looks {
    /// When the rows that count began.
    pub(crate) before: Option<Sight>,
    /// When they were through.
    pub(crate) after: Option<Sight>,
    /// Why something is not known.
    pub(crate) problems: Vec<String>,
    /// Slowest first.
    pub(crate) plans: Vec<Explained>,
}

/// A slow row, and how the server executes it; or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Explained {
    pub(crate) row: u32,
    pub(crate) host: String,
    pub(crate) statement: u16,
    pub(crate) service_time_ns: u64,
    pub(crate) plan: Result<Vec<String>, String>,
    /// The number of the execution, counted by statement and connection; 0 where it is not known.
    #[serde(default)]
    pub(crate) execution: u32,
    #[serde(default)]
    pub(crate) kind: Option<PlanKind>,
}

/// The statements of the run, and what the client measured of them.
pub(super) struct Client<'a> {
    pub(super) statements: &'a [Stated],
    pub(super) latencies: &'a Latencies,
    /// What ran under coordinators before this one is in the client's figures and not in the server's.
    pub(super) is_resumed: bool,
    /// The server is the embedded one, which nobody can set up otherwise.
    pub(super) has_embedded_server: bool,
}

impl Looks {
    pub(crate) fn looked(&mut self, is_last: bool, sight: Sight) {
        let slot = if is_last { &mut self.after } else { &mut self.before };
        *slot = Some(sight);
    }
}

/// `None` when nobody looked.
pub(super) fn summarize(looks: &Looks, client: &Client<'_>) -> Option<ServerSide> {
    if *looks == Looks::default() {
        return None;
    }
    let mut side = ServerSide { notes: looks.problems.clone(), ..ServerSide::default() };
    if let Some(before) = &looks.before {
        match &before.hypertables {
            Ok(hypertables) => side.hypertables.clone_from(hypertables),
            Err(why) => side.notes.push(why.clone()),
        }
    }
    if let (Some(before), Some(after)) = (&looks.before, &looks.after) {
        if client.is_resumed {
            side.notes.push(
                "the run went on under another coordinator: the server's figures are of what ran since"
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
        // One cause may stand in the way of both.
        side.notes.dedup();
    }
    side.plans = looks.plans.iter().map(|explained| plan(explained, client)).collect();
    Some(side)
}

fn add_statements(
    side: &mut ServerSide,
    counters: &[Result<StatementCounters, String>],
    sight: &Sight,
    client: &Client<'_>,
) {
    let times_planning = sight.statements.as_ref().is_ok_and(|statements| statements.times_planning);
    for (position, counters) in (0u16..).zip(counters) {
        let name = client.name(position);
        match counters {
            Ok(counters) => {
                let statement = client.beside(position, counters, times_planning, sight.times_reads);
                if !client.is_resumed && statement.calls != statement.completed {
                    side.notes.push(other_calls(&statement));
                }
                side.statements.push(statement);
            }
            Err(why) => side.notes.push(format!("query '{name}': {why}")),
        }
    }
}

/// Not who was right: both counted what they saw.
fn other_calls(statement: &ServerStatement) -> String {
    let ServerStatement { name, calls, completed, .. } = statement;
    let why = match calls > completed {
        true => "somebody else with this role ran it meanwhile, or rows ran twice",
        false => "agents with another role or database ran the rest, or its entry was thrown away meanwhile",
    };
    format!(
        "query '{name}': the server counted {}, the run completed {}: {why}",
        counted(*calls, "execution"),
        count(*completed),
    )
}

impl Client<'_> {
    fn name(&self, position: u16) -> String {
        self.statements.get(usize::from(position)).map(|stated| stated.name.clone()).unwrap_or_default()
    }

    fn beside(
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
        // Of all calls: one that took a cached plan was planned in no time.
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
    use muster_common::ids::RowId;
    use muster_common::measurement::{Answer, Execution, Lag, Measurement, Outcome};
    use muster_common::passes::Passes;
    use muster_common::server_side::Statements;

    use super::*;
    use crate::run::tally::WorkerTally;
    use crate::run::times::Class;

    fn sight(calls: u64, reset: &str) -> Sight {
        let counters = StatementCounters {
            calls,
            exec_ns: calls * 1_000_000,
            plan_ns: calls * 250_000,
            blocks_hit: calls * 3,
            blocks_read: calls,
            ..StatementCounters::default()
        };
        Sight {
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

    /// Of four rows of 2 ms each.
    fn side(before: Sight, after: Sight, change: impl Fn(&mut Client<'_>)) -> ServerSide {
        let mut worker = WorkerTally::default();
        for row in 0..4 {
            let measurement = Measurement {
                row: RowId::new(row),
                start_ns: 0,
                lag: Lag::default(),
                service_time_ns: 2_000_000,
                execution: Execution::default(),
                outcome: Outcome::Completed(Answer::default()),
            };
            let class = Class::of(&measurement, &Passes::once(4));
            worker.times.count(class, true);
            worker.times.add(class, &measurement);
        }
        let statements =
            [Stated { name: "q".to_owned(), sql: String::new(), columns: Vec::new(), weight: 1 }];
        let latencies = Latencies::of(&[worker]);
        let mut client = Client {
            statements: &statements,
            latencies: &latencies,
            is_resumed: false,
            has_embedded_server: false,
        };
        change(&mut client);
        let looks = Looks { before: Some(before), after: Some(after), ..Looks::default() };
        summarize(&looks, &client).unwrap()
    }

    #[test]
    fn what_is_neither_execution_nor_planning_lies_between() {
        let side = side(sight(10, ""), sight(14, ""), |_| {});
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
    fn another_number_of_calls_is_told_unless_the_run_was_taken_up() {
        let more = side(sight(10, ""), sight(15, ""), |_| {});
        assert!(
            more.notes[0].contains("counted 5 executions, the run completed 4: somebody else"),
            "{:?}",
            more.notes
        );
        let fewer = side(sight(10, ""), sight(11, ""), |_| {});
        assert!(
            fewer.notes[0].contains("counted 1 execution, the run completed 4: agents with"),
            "{:?}",
            fewer.notes
        );
        let resumed = side(sight(10, ""), sight(11, ""), |client| client.is_resumed = true);
        assert!(resumed.notes[0].ends_with("are of what ran since"), "{:?}", resumed.notes);
        assert_eq!(resumed.notes.len(), 1);
    }

    #[test]
    fn a_reset_leaves_no_figure_and_a_sentence() {
        let reset = side(sight(10, "monday"), sight(14, "tuesday"), |_| {});
        assert!(reset.statements.is_empty() && reset.database.is_some());
        assert_eq!(reset.notes, ["somebody reset pg_stat_statements in mid-run"]);
        let embedded =
            side(sight(10, "monday"), sight(14, "tuesday"), |client| client.has_embedded_server = true);
        assert_eq!(embedded.notes, [EMBEDDED]);
    }

    #[test]
    fn without_a_look_there_is_no_server_side() {
        let latencies = Latencies::of(&[]);
        let client =
            Client { statements: &[], latencies: &latencies, is_resumed: false, has_embedded_server: false };
        assert_eq!(summarize(&Looks::default(), &client), None);
        let blind = Looks { problems: vec!["no answer".to_owned()], ..Looks::default() };
        assert_eq!(summarize(&blind, &client).unwrap().notes, ["no answer"]);
    }
}
