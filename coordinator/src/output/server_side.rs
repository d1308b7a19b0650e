//! The server's statistics: its own counters beside the client's times, and the plans of the slowest rows.

use muster_common::printable::{harmless, printable};
use muster_common::result::{Hypertable, Plan, PlanKind, RunResult, ServerDatabase, ServerSide};

use super::markdown::{code, plain, section};
use super::page::Page;
use super::table::{Align, Table};
use super::units::{NONE, count, counted, duration, duration_cell, duration_or_none};

/// Maximum indentation of a line of a plan.
const INDENT_MAX: usize = 40;

/// States that a plan is not that of the slow execution.
const PLANS_NOTE: &str = "EXPLAIN (ANALYZE, BUFFERS) of one later execution, with warm caches";

pub(super) fn text(page: &mut Page, result: &RunResult) {
    let Some(side) = &result.server else { return };
    page.section("SERVER   the server's own counters during the run");
    if !side.statements.is_empty() {
        let mut table = Table::new([
            ("query", Align::Left),
            ("calls", Align::Right),
            ("server mean", Align::Right),
            (if has_planning_times(side) { "planning" } else { "" }, Align::Right),
            ("client mean", Align::Right),
            ("difference", Align::Right),
            ("hits", Align::Right),
            (if has_temp_blocks(side) { "temp blocks" } else { "" }, Align::Right),
        ]);
        for statement in &side.statements {
            let planning = duration_cell(statement.mean_plan_time_ms);
            let temp = statement.temp_blocks_read.saturating_add(statement.temp_blocks_written);
            table.row([
                statement.name.clone(),
                count(statement.calls),
                duration_cell(statement.mean_exec_time_ms),
                if has_planning_times(side) { planning } else { String::new() },
                duration_cell(statement.client_mean_ms),
                duration_cell(statement.between_ms),
                share(statement.hit_share),
                if has_temp_blocks(side) { count(temp) } else { String::new() },
            ]);
        }
        page.table(&table);
    }
    if let Some(database) = &side.database {
        page.field("whole database", &database_parts(database));
    }
    for table in &side.hypertables {
        page.field("hypertable", &hypertable_parts(table));
    }
    for note in &side.notes {
        page.hanging("  - ", note, usize::MAX);
    }
}

/// Adds the plans. They come late in the report, because they are long.
pub(super) fn plans_text(page: &mut Page, result: &RunResult) {
    let plans = plans(result);
    if plans.is_empty() {
        return;
    }
    page.section(&format!("PLANS   {PLANS_NOTE}"));
    for plan in plans {
        page.hanging("  ", &title(plan), usize::MAX);
        for line in &plan.lines {
            let text = line.trim_start();
            let indent = (line.len() - text.len()).min(INDENT_MAX);
            page.hanging_code(&" ".repeat(4 + indent), text);
        }
        if let Some(problem) = &plan.problem {
            page.hanging("    no plan: ", problem, usize::MAX);
        }
    }
}

/// Adds the Markdown sections, if the result has server statistics.
pub(super) fn markdown(page: &mut String, result: &RunResult) {
    use super::markdown::put;
    let Some(side) = &result.server else { return };
    section(page, "Server");
    if !side.statements.is_empty() {
        put(
            page,
            "\n| query | calls | server mean | planning | client mean | difference | hits | temp blocks |",
        );
        put(page, &format!("|---{}|", "|--:".repeat(7)));
    }
    for statement in &side.statements {
        let times = [
            statement.mean_exec_time_ms,
            statement.mean_plan_time_ms,
            statement.client_mean_ms,
            statement.between_ms,
        ];
        let temp = statement.temp_blocks_read.saturating_add(statement.temp_blocks_written);
        let cells = [
            code(&statement.name),
            count(statement.calls),
            times.map(duration_or_none).join(" | "),
            share(statement.hit_share),
            count(temp),
        ];
        put(page, &format!("| {} |", cells.join(" | ")));
    }
    if let Some(database) = &side.database {
        put(page, &format!("\nWhole database: {}", database_parts(database).join(", ")));
    }
    for table in &side.hypertables {
        put(page, &format!("\nHypertable {}", plain(&hypertable_parts(table).join(", "))));
    }
    for note in &side.notes {
        put(page, &format!("\n- {}", plain(note)));
    }
    for plan in plans(result) {
        put(page, &format!("\n<details><summary>{}</summary>\n", html(&title(plan))));
        if let Some(problem) = &plan.problem {
            put(page, &format!("No plan: {}", plain(problem)));
        } else {
            let fence = fence(&plan.lines);
            put(page, &format!("{PLANS_NOTE}\n\n{fence}"));
            plan.lines.iter().for_each(|line| put(page, &printable(line)));
            put(page, &fence);
        }
        put(page, "\n</details>");
    }
}

fn plans(result: &RunResult) -> &[Plan] {
    result.server.as_ref().map_or(&[], |side| &side.plans)
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
        format!("{} of {blocks} in shared buffers", share(hit_share)),
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

fn has_planning_times(side: &ServerSide) -> bool {
    side.statements.iter().any(|statement| statement.mean_plan_time_ms.is_some())
}

fn has_temp_blocks(side: &ServerSide) -> bool {
    side.statements.iter().any(|statement| statement.temp_blocks_read + statement.temp_blocks_written > 0)
}

/// Formats a share as a percentage, rounded down, so that 100 % means that no block was read.
fn share(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), |share| format!("{:.1} %", (share * 1_000.0).floor() / 10.0))
}

/// Returns a fence with more backticks than any run of backticks in the lines.
fn fence(lines: &[String]) -> String {
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max();
    "`".repeat(longest.unwrap_or(0).max(2) + 1)
}

fn html(text: &str) -> String {
    harmless(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, fixtures, render};

    /// Returns the text from `title` up to `next`.
    fn section(format: Format, title: &str, next: &str) -> String {
        let text = render(format, &fixtures::server_side());
        let from = text.find(title).unwrap();
        let to = from + text[from..].find(next).unwrap();
        text[from..to].trim_end().to_owned()
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
        ### Server

        | query | calls | server mean | planning | client mean | difference | hits | temp blocks |
        |---|--:|--:|--:|--:|--:|--:|--:|
        | `default` | 200 | 3.00 ms | – | 5.20 ms | 2.20 ms | 99.9 % | 0 |

        Whole database: 99.3 % of 130,900 blocks in shared buffers, 99,000 rows scanned, 212 commits, 1 rollback, 1.25 ms waiting for blocks

        Hypertable public.cpu\_usage, 3 chunks, 1 compressed

        - query 'scan': the server counted 9 executions, the run completed 8: another client with this role ran it meanwhile, or rows ran twice

        <details><summary>row 17 of host host_&lt;b&gt;_8 (default) took 1.21 s; generic plan; execution 12</summary>

        EXPLAIN (ANALYZE, BUFFERS) of one later execution, with warm caches

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

    #[test]
    fn a_hundred_percent_means_that_no_block_was_read() {
        assert_eq!(
            [Some(1.0), Some(0.99996), Some(0.5), None].map(share),
            ["100.0 %", "99.9 %", "50.0 %", NONE]
        );
    }

    #[test]
    fn a_plan_cannot_close_its_fence() {
        assert_eq!(fence(&["a".to_owned()]), "```");
        assert_eq!(fence(&["Filter: (a = '````')".to_owned()]), "`````");
    }
}
