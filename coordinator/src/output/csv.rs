//! Latencies as CSV for a spreadsheet or a data frame: one line for the run, each query of a mix, each agent, each worker and each host.
//! Times are in milliseconds. A cell is empty if the sample does not support the figure. A run with thresholds has a line for each of
//! them and two more columns, `value` and `passed`. The csv crate does the quoting, and [`csv_cell`] prevents a spreadsheet from
//! executing a name.

use muster_common::result::{Latency, RunResult};

use super::csv_cell::csv_cell;

const COLUMNS: [&str; 13] = [
    "scope",
    "name",
    "count",
    "failed",
    "min_ms",
    "median_ms",
    "mean_ms",
    "max_ms",
    "stddev_ms",
    "p90_ms",
    "p95_ms",
    "p99_ms",
    "p99_9_ms",
];

/// Present only if the run has thresholds.
const THRESHOLD_COLUMNS: [&str; 2] = ["value", "passed"];

pub(super) fn render(result: &RunResult) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let has_thresholds = !result.thresholds.is_empty();
    let mut put_with = |line: [String; COLUMNS.len()], threshold: [String; THRESHOLD_COLUMNS.len()]| {
        let threshold = threshold.into_iter().filter(|_| has_thresholds);
        csv.write_record(line.into_iter().chain(threshold))
            .expect("writing to memory cannot fail, and all lines have the same number of columns");
    };
    put_with(COLUMNS.map(str::to_owned), THRESHOLD_COLUMNS.map(str::to_owned));
    let mut put = |line| put_with(line, [const { String::new() }; THRESHOLD_COLUMNS.len()]);
    let queries = &result.queries;
    put(line("run", &result.run_id, queries.completed, queries.failed, latency(&result.service_time_ms)));
    for statement in &result.statements {
        let figures = latency(&statement.service_time_ms);
        put(line("query", &statement.name, statement.completed, statement.failed, figures));
    }
    for agent in &result.agents {
        put(line("agent", &agent.slot, agent.completed, agent.failed, latency(&agent.service_time_ms)));
    }
    for worker in &result.workers {
        put(line(
            "worker",
            &worker.worker,
            worker.completed,
            worker.failed,
            latency(&worker.service_time_ms),
        ));
    }
    for host in &result.hosts {
        // Only these figures are stored per host, because a million distributions would take too much memory.
        let figures = [None, None, host.mean_ms, host.max_ms, None, None, None, None, None];
        put(line("host", &host.host, host.completed, host.failed, figures));
    }
    for threshold in &result.thresholds {
        let mut line = [const { String::new() }; COLUMNS.len()];
        [line[0], line[1]] = ["threshold".to_owned(), csv_cell(&threshold.expression).into_owned()];
        let value = threshold.value.map_or_else(String::new, |value| value.to_string());
        put_with(line, [value, threshold.passed.to_string()]);
    }
    let bytes = csv.into_inner().expect("flushing to memory cannot fail");
    String::from_utf8(bytes).expect("only strings were written")
}

/// `completed` is the column `count`. It may exceed the sample size, because retried rows are counted but excluded from latencies.
fn line(
    scope: &str,
    name: &str,
    completed: u64,
    failed: u64,
    figures: [Option<f64>; 9],
) -> [String; COLUMNS.len()] {
    let [min, median, mean, max, stddev, p90, p95, p99, p99_9] =
        figures.map(|figure| figure.map_or_else(String::new, |ms| ms.to_string()));
    [
        scope.to_owned(),
        csv_cell(name).into_owned(),
        completed.to_string(),
        failed.to_string(),
        min,
        median,
        mean,
        max,
        stddev,
        p90,
        p95,
        p99,
        p99_9,
    ]
}

/// The figures in the order of the columns.
fn latency(latency: &Option<Latency>) -> [Option<f64>; 9] {
    let Some(latency) = latency else {
        return [None; 9];
    };
    let Latency { count: _, min, median, mean, max, stddev, p90, p95, p99, p99_9, intervals: _ } = *latency;
    [Some(min), Some(median), Some(mean), Some(max), stddev, p90, p95, p99, p99_9]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixtures;

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
            let headers: Vec<&str> = reader.headers().unwrap().iter().take(COLUMNS.len()).collect();
            assert_eq!(headers, COLUMNS, "{name}");
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
