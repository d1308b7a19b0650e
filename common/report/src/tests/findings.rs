//! What a comparison of two results finds and warns of.

use crate::result::comparison::{Comparison, Finding, Method};
use crate::result::{Ending, RunResult};

use crate::fixtures::{self, comparisons};

#[test]
fn rows_are_paired_if_the_workload_is_the_same() {
    let methods = comparisons::all().map(|(_, comparison)| comparison.rows.method);
    let expected = [
        Method::Paired,
        Method::Paired,
        Method::TwoSample,
        Method::Paired,
        Method::Summaries,
        Method::TwoSample,
    ];
    assert_eq!(methods, expected);
}

#[test]
fn results_without_measurements_are_compared_by_their_intervals() {
    let [base, mut new] = [fixtures::good(), fixtures::good()];
    assert_eq!(summarized(&base, &new).finding, Finding::Noise);
    let latency = new.service_time_ms.as_mut().unwrap();
    latency.median *= 1.5;
    latency.intervals.median_ci = latency.intervals.median_ci.map(|ends| ends.map(|ms| ms * 1.5));
    let slower = summarized(&base, &new);
    assert_eq!(slower.service_time.figures[0].finding, Finding::Slower);
    assert!((slower.service_time.figures[0].change.unwrap() - 0.5).abs() < 1e-9);
    // Results of older versions have no intervals, so that the change of the median has no finding.
    new.service_time_ms.as_mut().unwrap().intervals = Default::default();
    let older = summarized(&base, &new);
    assert_eq!(older.service_time.figures[0].finding, Finding::Unsupported);
    assert!(older.service_time.figures[0].change.is_some());
}

#[test]
fn runs_without_completed_queries_are_compared() {
    let none = fixtures::all_failed();
    let comparison = summarized(&none, &fixtures::good());
    assert_eq!((comparison.finding, comparison.throughput.change), (Finding::Unsupported, None));
    assert_eq!(comparison.failed.base, 200);
}

#[test]
fn every_difference_is_reported() {
    let base = fixtures::good();
    assert_eq!(warnings(&base, |new| new.run_id = "other".to_owned()), Vec::<String>::new());
    let check = |change: fn(&mut RunResult), expected: &str| {
        let reported = warnings(&base, |new| {
            new.run_id = "other".to_owned();
            change(new);
        });
        assert_eq!(reported, [expected]);
    };
    check(|new| new.run_id = "20261123-7f3a".to_owned(), "both are the same run, 20261123-7f3a");
    check(
        |new| new.result.digest = "f".repeat(16),
        "the query results differ, digests 0123456789abcdef and ffffffffffffffff: the data differ",
    );
    check(|new| new.query.sql = "SELECT 1".to_owned(), "the statements differ, both named default");
    check(|new| new.query.protocol = "simple".to_owned(), "the protocols differ: prepared and simple");
    check(|new| new.workload.rows = 100, "the runs have 200 and 100 rows of the same file");
    check(
        |new| new.workload.sha256 = "other".to_owned(),
        "the workloads differ: data/query_params.csv (200 rows) and data/query_params.csv (200 rows), by their sha256",
    );
    check(
        |new| new.database.as_mut().unwrap().server_version = "17.0".to_owned(),
        "the versions of PostgreSQL differ: 16.4 and 17.0",
    );
    check(
        |new| new.database.as_mut().unwrap().timescaledb = None,
        "the versions of TimescaleDB differ: 2.17.1 and none",
    );
    check(
        |new| new.database.as_mut().unwrap().embedded = Some("x".to_owned()),
        "the databases differ: your own and embedded",
    );
    check(
        |new| {
            let settings = &mut new.database.as_mut().unwrap().settings;
            settings.insert("jit".to_owned(), "off".to_owned());
            settings.remove("work_mem");
        },
        "the settings differ: jit on and off, work_mem 4MB and none",
    );
    check(|new| new.agents.truncate(1), "the numbers of agents and workers differ: 2 with 2 and 1 with 2");
    check(
        |new| new.placement.method = "balanced".to_owned(),
        "the placements differ: rendezvous and balanced",
    );
    check(|new| new.tool.version = "0.2.0".to_owned(), "the versions of this tool differ: 0.1.0 and 0.2.0");
    check(
        |new| new.verdict = fixtures::agent_lost().verdict,
        "new is DEGRADED: slot-1 was lost and not replaced; keep its machine running, or use --on-agent-loss reassign",
    );
    check(|new| new.ending = Ending::Interrupted, "new is partial: 0 of 200 queries have no result");
    check(
        |new| new.lag_ms = fixtures::open_loop().lag_ms,
        "only new has queries that began after they were due",
    );
    check(
        |new| new.queries.failed = 3,
        "failed queries (0 of base, 3 of new) are not included in the comparison",
    );
}

/// Returns the warnings without the one that every comparison of results has.
fn warnings(base: &RunResult, change: impl Fn(&mut RunResult)) -> Vec<String> {
    let mut new = fixtures::good();
    change(&mut new);
    let mut warnings = summarized(base, &new).warnings;
    assert!(warnings.pop().is_some_and(|last| last.starts_with("only results were compared")));
    warnings
}

fn summarized(base: &RunResult, new: &RunResult) -> Comparison {
    use crate::compare::{Options, Run, compare};
    let run = |result| Run { result, samples: None };
    compare(run(base), run(new), Options::default())
}
