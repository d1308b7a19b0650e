//! The server's statistics: its own counters beside the client's times, and the plans of the slowest rows.

use crate::result::{Hypertable, Plan, PlanKind, RunResult, ServerDatabase, ServerStatement};

use super::model::{Block, Field, Listing, Note, Section};
use super::table::{TableOf, Unit};
use crate::units::{count, counted, duration, share_down};

/// States that a plan is not that of the slow execution.
const PLANS_NOTE: &str = "EXPLAIN (ANALYZE, BUFFERS) of one later execution, with warm caches";

pub(super) fn section(result: &RunResult) -> Option<Section> {
    let side = result.server.as_ref()?;
    let has_planning_times = side.statements.iter().any(|one| one.mean_plan_time_ms.is_some());
    let has_temp_blocks = side.statements.iter().any(|one| temp_blocks(one) > 0);
    let table = TableOf::new(&side.statements)
        .names("query", |statement| &statement.name)
        .counts("calls", |statement| statement.calls)
        .times("server mean", |statement| statement.mean_exec_time_ms)
        .when(has_planning_times, |table| table.times("planning", |one| one.mean_plan_time_ms))
        .times("client mean", |statement| statement.client_mean_ms)
        .times("difference", |statement| statement.between_ms)
        .numbers("hits", Unit::ShareDown, |statement| statement.hit_share)
        .when(has_temp_blocks, |table| table.counts("temp blocks", temp_blocks));
    let database =
        side.database.iter().map(|database| Field::new("whole database", database_parts(database)));
    let hypertables = side.hypertables.iter().map(|table| Field::new("hypertable", hypertable_parts(table)));
    let mut blocks = vec![
        Block::Fields(database.chain(hypertables).collect()),
        Block::Notes(side.notes.iter().map(Note::problem).collect()),
    ];
    if !side.statements.is_empty() {
        blocks.insert(0, Block::Table(table.table()));
    }
    Some(Section::new("Server", blocks).about("the server's own counters during the run"))
}

fn temp_blocks(statement: &ServerStatement) -> u64 {
    statement.temp_blocks_read.saturating_add(statement.temp_blocks_written)
}

/// The plans come late in the report, because they are long.
pub(super) fn plans(result: &RunResult) -> Option<Section> {
    let plans = &result.server.as_ref()?.plans;
    let listing = |plan: &Plan| {
        Block::Listing(Listing {
            title: title(plan),
            lines: plan.lines.clone(),
            problem: plan.problem.clone(),
        })
    };
    let section = || Section::new("Plans", plans.iter().map(listing).collect()).about(PLANS_NOTE);
    (!plans.is_empty()).then(section)
}

/// `row 17 of host db-3 (default) took 1.21 s; generic plan; execution 12`
fn title(plan: &Plan) -> String {
    let Plan { row, host, statement, service_time_ms, execution, kind, .. } = plan;
    let took = format!("row {row} of host {host} ({statement}) took {}", duration(*service_time_ms));
    let kind = kind.map(|kind| match kind {
        PlanKind::Custom => "custom plan".to_owned(),
        PlanKind::Generic => "generic plan".to_owned(),
    });
    let execution = execution.map(|execution| format!("execution {}", count(execution)));
    std::iter::once(took).chain(kind).chain(execution).collect::<Vec<_>>().join("; ")
}

fn database_parts(database: &ServerDatabase) -> Vec<String> {
    let ServerDatabase {
        commits,
        rollbacks,
        blocks_hit,
        blocks_read,
        hit_share,
        rows_returned,
        rows_fetched: _,
        temp_bytes,
        deadlocks,
        block_read_time_ms,
    } = *database;
    let blocks = counted(blocks_hit.saturating_add(blocks_read), "block");
    let mut parts = vec![
        format!("{} of {blocks} in shared buffers", share_down(hit_share)),
        format!("{} scanned", counted(rows_returned, "row")),
        counted(commits, "commit"),
        counted(rollbacks, "rollback"),
    ];
    if temp_bytes > 0 {
        parts.push(counted(temp_bytes, "temporary byte"));
    }
    if deadlocks > 0 {
        parts.push(counted(deadlocks, "deadlock"));
    }
    parts.extend(block_read_time_ms.map(|ms| format!("{} waiting for blocks", duration(ms))));
    parts
}

fn hypertable_parts(table: &Hypertable) -> Vec<String> {
    let Hypertable { name, chunks, compressed_chunks, has_compression } = table;
    let compressed = match has_compression {
        true => format!("{} compressed", count(*compressed_chunks)),
        false => "without compression".to_owned(),
    };
    vec![name.clone(), counted(*chunks, "chunk"), compressed]
}

#[cfg(test)]
mod tests {
    use crate::{Format, fixtures, render};

    fn section(format: Format, title: &str, next: &str) -> String {
        fixtures::part(&render(format, &fixtures::server_side()), title, next)
    }

    #[test]
    fn the_server_section_in_text() {
        insta::assert_snapshot!(section(Format::Text, "SERVER", "placement"), @r"
        SERVER   the server's own counters during the run
          query    calls  server mean  client mean  difference    hits
          default    200      3.00 ms      5.20 ms     2.20 ms  99.9 %
        whole database         99.3 % of 130,900 blocks in shared buffers
                               99,000 rows scanned · 212 commits · 1 rollback
                               1.25 ms waiting for blocks
        hypertable             public.cpu_usage · 3 chunks · 1 compressed
          - query 'scan': the server counted 9 executions, the run completed 8: another
            client with this role ran it meanwhile, or rows ran twice
        ");
    }

    #[test]
    fn no_column_of_the_widest_table_is_shortened() {
        let mut result = fixtures::server_side();
        let statement = &mut result.server.as_mut().unwrap().statements[0];
        statement.calls = 12_345_678;
        statement.mean_plan_time_ms = Some(999.0);
        statement.temp_blocks_read = 1_234_567;
        let text = render(Format::Text, &result);
        let table = text.split("SERVER").nth(1).unwrap().split("whole database").next().unwrap();
        for word in [
            "calls",
            "server",
            "planning",
            "client",
            "difference",
            "hits",
            "temp",
            "blocks",
            "default",
            "12,345,678",
            "1,234,567",
        ] {
            assert!(table.contains(word), "{word}: {table}");
        }
        assert!(!table.contains('…'), "{table}");
    }

    #[test]
    fn plans_in_text() {
        insta::assert_snapshot!(section(Format::Text, "PLANS", "EVENTS"), @r"
        PLANS   EXPLAIN (ANALYZE, BUFFERS) of one later execution, with warm caches
          row 17 of host host_<b>_8 (default) took 1.21 s; generic plan; execution 12
            Sort (cost=8.46..8.46 rows=1 width=24) (actual time=0.062..0.063 rows=60
            loops=1)
              Sort Key: (date_bin('00:01:00'::interval, ts, '2000-01-01
              00:00:00+00'::timestamp with time zone))
              Buffers: shared hit=4
              -> Index Scan using cpu_usage_host_ts on cpu_usage (actual time=0.02..0.04
              rows=360 loops=1)
            Execution Time: 0.101 ms
          row 4 of host host_<b>_8 (default) took 1.21 s
            no plan: the statement writes, and EXPLAIN ANALYZE would write again
        ");
    }

    #[test]
    fn the_server_section_and_plans_in_markdown() {
        insta::assert_snapshot!(section(Format::Markdown, "### Server", "### Environment"), @r"
        ### Server · the server's own counters during the run

        | query | calls | server mean | client mean | difference | hits |
        |---|--:|--:|--:|--:|--:|
        | `default` | 200 | 3.00 ms | 5.20 ms | 2.20 ms | 99.9 % |

        |  |  |
        |---|---|
        | Whole database | 99.3 % of 130,900 blocks in shared buffers, 99,000 rows scanned, 212 commits, 1 rollback, 1.25 ms waiting for blocks |
        | Hypertable | public.cpu\_usage, 3 chunks, 1 compressed |

        - query 'scan': the server counted 9 executions, the run completed 8: another client with this role ran it meanwhile, or rows ran twice

        ### Placement

        |  |  |
        |---|---|
        | Placement | rendezvous, 2 workers, 0 idle, skew 1.20× |

        ### Plans · EXPLAIN (ANALYZE, BUFFERS) of one later execution, with warm caches

        <details><summary>row 17 of host host_&lt;b&gt;_8 (default) took 1.21 s; generic plan; execution 12</summary>

        ```
        Sort  (cost=8.46..8.46 rows=1 width=24) (actual time=0.062..0.063 rows=60 loops=1)
          Sort Key: (date_bin('00:01:00'::interval, ts, '2000-01-01 00:00:00+00'::timestamp with time zone))
          Buffers: shared hit=4
          ->  Index Scan using cpu_usage_host_ts on cpu_usage  (actual time=0.02..0.04 rows=360 loops=1)
        Execution Time: 0.101 ms
        ```

        </details>

        <details><summary>row 4 of host host_&lt;b&gt;_8 (default) took 1.21 s</summary>

        No plan: the statement writes, and EXPLAIN ANALYZE would write again

        </details>
        ");
    }
}
