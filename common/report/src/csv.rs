//! Latencies as CSV for a spreadsheet or a data frame: one line for the run, each query of a mix, each agent, each worker and each host.
//! Times are in milliseconds. A cell is empty if the sample does not support the figure. A run with thresholds has a line for each of
//! them and two more columns, `value` and `passed`. The csv crate does the quoting, and [`csv_cell`] prevents a spreadsheet from
//! executing a name.

use muster_stats::latency::figure::{self, Figure};

use crate::result::{Host, RunResult};

use super::csv_cell::csv_cell;

/// Followed by the figures.
const COLUMNS: [&str; 4] = ["scope", "name", "count", "failed"];
/// Present only if the run has thresholds.
const THRESHOLD_COLUMNS: [&str; 2] = ["value", "passed"];

pub(super) fn render(result: &RunResult) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    for line in lines(result) {
        csv.write_record(line)
            .expect("writing to memory cannot fail, and all lines have the same number of columns");
    }
    let bytes = csv.into_inner().expect("flushing to memory cannot fail");
    String::from_utf8(bytes).expect("only strings were written")
}

fn lines(result: &RunResult) -> Vec<Vec<String>> {
    let queries = &result.queries;
    let run = [("run", &result.run_id, queries.completed, queries.failed, &result.service_time_ms)];
    let statements = result.statements.iter();
    let statements = statements.map(|of| ("query", &of.name, of.completed, of.failed, &of.service_time_ms));
    let agents = result.agents.iter();
    let agents = agents.map(|of| ("agent", &of.slot, of.completed, of.failed, &of.service_time_ms));
    let workers = result.workers.iter();
    let workers = workers.map(|of| ("worker", &of.worker, of.completed, of.failed, &of.service_time_ms));
    let mut lines = vec![head()];
    let timed = run.into_iter().chain(statements).chain(agents).chain(workers);
    lines.extend(timed.map(|(scope, name, completed, failed, latency)| {
        line(scope, name, completed, failed, |figure| latency.as_ref().and_then(figure.of))
    }));
    lines.extend(result.hosts.iter().map(host));
    if result.thresholds.is_empty() {
        return lines;
    }
    for (position, line) in lines.iter_mut().enumerate() {
        line.extend(
            THRESHOLD_COLUMNS.map(|name| if position == 0 { name.to_owned() } else { String::new() }),
        );
    }
    lines.extend(result.thresholds.iter().map(|threshold| {
        let mut line = vec!["threshold".to_owned(), csv_cell(&threshold.expression).into_owned()];
        line.resize(COLUMNS.len() + figure::ALL.len(), String::new());
        line.extend([number(threshold.value), threshold.passed.to_string()]);
        line
    }));
    lines
}

fn head() -> Vec<String> {
    let figures = figure::ALL.map(|figure| format!("{}_ms", figure.field));
    COLUMNS.map(str::to_owned).into_iter().chain(figures).collect()
}

/// Only these figures are stored per host, because a million distributions would take too much memory.
fn host(host: &Host) -> Vec<String> {
    line("host", &host.host, host.completed, host.failed, |figure| match figure {
        _ if *figure == figure::MEAN => host.mean_ms,
        _ if *figure == figure::MAX => host.max_ms,
        _ => None,
    })
}

/// `completed` is the column `count`. It may exceed the sample size, because retried rows are counted but excluded from latencies.
fn line(
    scope: &str,
    name: &str,
    completed: u64,
    failed: u64,
    value: impl Fn(&Figure) -> Option<f64>,
) -> Vec<String> {
    let head = [scope.to_owned(), csv_cell(name).into_owned(), completed.to_string(), failed.to_string()];
    head.into_iter().chain(figure::ALL.map(|figure| number(value(figure)))).collect()
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn csv_of_a_run_without_completed_queries() {
        insta::assert_snapshot!(render(&fixtures::all_failed()), @r"
        scope,name,count,failed,min_ms,median_ms,mean_ms,max_ms,stddev_ms,p90_ms,p95_ms,p99_ms,p99_9_ms
        run,20261123-7f3a,0,200,,,,,,,,,
        agent,slot-0,0,100,,,,,,,,,
        agent,slot-1,0,100,,,,,,,,,
        worker,slot-0/0,0,100,,,,,,,,,
        worker,slot-1/0,0,100,,,,,,,,,
        host,host_000000,0,20,,,,,,,,,
        host,host_000001,0,20,,,,,,,,,
        host,host_000002,0,20,,,,,,,,,
        host,host_000003,0,20,,,,,,,,,
        host,host_000004,0,20,,,,,,,,,
        host,host_000005,0,20,,,,,,,,,
        host,host_000006,0,20,,,,,,,,,
        host,host_000007,0,20,,,,,,,,,
        host,host_000008,0,20,,,,,,,,,
        host,host_000009,0,20,,,,,,,,,
        ");
    }

    #[test]
    fn each_threshold_has_a_line_with_two_more_columns() {
        let csv = render(&fixtures::failures());
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].ends_with(",p99_9_ms,value,passed"), "{csv}");
        assert!(lines[1].starts_with("run,") && lines[1].ends_with(",,"), "{csv}");
        let [.., first, second] = lines.as_slice() else { panic!("{csv}") };
        assert_eq!(*first, "threshold,p95 < 10 ms,,,,,,,,,,,,8.2,true");
        assert_eq!(*second, "threshold,failed = 0,,,,,,,,,,,,13,false");
        let undecided = render(&fixtures::hostile());
        assert!(undecided.lines().any(|line| line.ends_with(",,false")), "{undecided}");
    }

    #[test]
    fn the_csv_can_be_read_back() {
        for (name, result) in fixtures::all() {
            let csv = render(&result);
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let headers: Vec<&str> = reader.headers().unwrap().iter().take(head().len()).collect();
            assert_eq!(headers, head(), "{name}");
            let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
            let lines = 1 + result.agents.len() + result.workers.len() + result.hosts.len();
            assert_eq!(records.len(), lines + result.thresholds.len(), "{name}");
            let run = &records[0];
            assert_eq!(&run[1], result.run_id, "{name}");
            assert_eq!(
                run[5].parse().ok(),
                result.service_time_ms.as_ref().map(|latency| latency.median),
                "{name}"
            );
            assert_eq!(
                run[12].parse().ok(),
                result.service_time_ms.as_ref().and_then(|latency| latency.p99_9),
                "{name}"
            );
            let host = &records[lines - 1];
            let expected = result.hosts.last().unwrap();
            assert_eq!(host[1], *csv_cell(&expected.host), "{name}");
            assert_eq!(host[7].parse().ok(), expected.max_ms, "{name}");
        }
    }
}
