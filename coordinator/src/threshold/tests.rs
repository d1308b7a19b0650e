use muster_report::result::{self, Latency, RunResult};

use muster_report::fixtures;
use muster_stats::latency::figure;

use super::judge::{HostFigures, judge};
use super::parse::List;
use super::*;

fn threshold(text: &str) -> Threshold {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn check_parsed(text: &str, expected: (Scope, Metric, Comparison, f64)) {
    let Threshold { expression, scope, metric, comparison, bound } = threshold(text);
    assert_eq!((scope, metric, comparison, bound), expected, "{text}");
    assert_eq!(expression, text.trim());
}

#[test]
fn thresholds_are_parsed() {
    use Comparison::{Above, AtLeast, AtMost, Below, Equal};
    let times = |times, name| Metric::Time(times, Figure::named(name).unwrap());
    let service = |name| times(Times::Service, name);
    let hosts = |pattern| Scope::Hosts(Pattern::new(pattern));
    check_parsed("p95<50ms", (Scope::Run, service("p95"), Below, 50.0));
    check_parsed(" p99.9 <= 1.5 s ", (Scope::Run, service("p99.9"), AtMost, 1_500.0));
    check_parsed("p50<800us", (Scope::Run, service("p50"), Below, 0.8));
    check_parsed("median<800µs", (Scope::Run, service("median"), Below, 0.8));
    check_parsed("min>=1m", (Scope::Run, service("min"), AtLeast, 60_000.0));
    check_parsed("service:mean<5ms", (Scope::Run, service("mean"), Below, 5.0));
    check_parsed("response:p99<5ms", (Scope::Run, times(Times::Response, "p99"), Below, 5.0));
    check_parsed("lag:max<5ms", (Scope::Run, times(Times::Lag, "max"), Below, 5.0));
    check_parsed("queueing:p99<5ms", (Scope::Run, times(Times::Queueing, "p99"), Below, 5.0));
    check_parsed("generator_delay:max<1ms", (Scope::Run, times(Times::GeneratorDelay, "max"), Below, 1.0));
    check_parsed("failed<0.1%", (Scope::Run, Metric::FailedShare, Below, 0.1));
    check_parsed("failed=0", (Scope::Run, Metric::FailedCount, Equal, 0.0));
    check_parsed("failed == 0", (Scope::Run, Metric::FailedCount, Equal, 0.0));
    check_parsed("throughput>500", (Scope::Run, Metric::Throughput, Above, 500.0));
    check_parsed("throughput>=0.5/s", (Scope::Run, Metric::Throughput, AtLeast, 0.5));
    check_parsed("host:*:p99<200ms", (hosts("*"), service("p99"), Below, 200.0));
    check_parsed("host:10.0.0.1:9100:median<5ms", (hosts("10.0.0.1:9100"), service("median"), Below, 5.0));
    check_parsed("host:a<b:p90<5ms", (hosts("a<b"), service("p90"), Below, 5.0));
    check_parsed("host:db-*:failed=0", (hosts("db-*"), Metric::FailedCount, Equal, 0.0));
}

#[test]
fn an_invalid_threshold_is_refused_with_the_reason_and_the_syntax() {
    let check = |text: &str, problem: &str| {
        let error = text.parse::<Threshold>().unwrap_err().to_string();
        assert!(
            error
                .starts_with(&format!("'{}' is not a valid threshold: {problem}; write METRIC", text.trim())),
            "{error}"
        );
    };
    check("", "it contains no <, > or =");
    check("p95", "it contains no <, > or =");
    check("p97<5ms", "unknown metric 'p97'");
    check("<5ms", "unknown metric ''");
    check("p95<5", "'5' is not a duration such as 500us, 50ms or 2s");
    check("p95<-5ms", "'-5ms' is not a duration such as 500us, 50ms or 2s");
    check("p95<1e3ms", "'1e3ms' is not a duration such as 500us, 50ms or 2s");
    check("p95<.ms", "'.ms' is not a duration such as 500us, 50ms or 2s");
    check("p95=5ms", "= is allowed only for the number of failed queries");
    check("failed=1%", "= is allowed only for the number of failed queries");
    check("failed<101%", "'101%' is neither a percentage such as 0.1% nor a whole number of queries");
    check("failed<0.5", "'0.5' is neither a percentage such as 0.1% nor a whole number of queries");
    check("throughput>fast", "'fast' is not a number of queries per second");
    check("lag:throughput>5", "'throughput' is not a latency, so no such prefix applies");
    check("host:*:throughput>5", "throughput exists only for the whole run");
    check("host::p99<5ms", "the host name is empty");
    check("db-7:p99<5ms", "unknown prefix 'db-7:'");
}

#[test]
fn thresholds_are_separated_by_commas_and_a_host_name_may_contain_one() {
    let texts = |text: &str| {
        let List(thresholds) = text.parse().unwrap();
        thresholds.into_iter().map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(texts("p95<50ms, failed<0.1%"), ["p95<50ms", "failed<0.1%"]);
    assert_eq!(texts("host:a,b:p99<5ms,failed=0"), ["host:a,b:p99<5ms", "failed=0"]);
    assert!("p95<50ms,".parse::<List>().is_err());
}

#[test]
fn a_threshold_survives_json() {
    let before = threshold("host:*:p99 < 200ms");
    let json = serde_json::to_string(&before).unwrap();
    assert_eq!(json, "\"host:*:p99 < 200ms\"");
    assert_eq!(serde_json::from_str::<Threshold>(&json).unwrap(), before);
    assert!(serde_json::from_str::<Threshold>("\"p95\"").is_err());
}

#[test]
fn a_threshold_that_matches_no_host_is_refused() {
    let mut hosts = HostTable::default();
    assert!(hosts.push("db-1", 1) && hosts.push("db-2", 1));
    let check = |text| Threshold::check(&[threshold(text)], &hosts);
    assert_eq!(check("host:db-2:p99<5ms"), Ok(()));
    assert_eq!(check("host:*:p99<5ms"), Ok(()));
    assert_eq!(check("p99<5ms"), Ok(()));
    let error = check("host:db-7:p99<5ms").unwrap_err().to_string();
    assert!(error.starts_with("--threshold 'host:db-7:p99<5ms' matches no host of the workload"));
}

/// Evaluates a threshold of a run.
#[track_caller]
fn check(text: &str, result: &RunResult, expected: (Option<f64>, bool, &str)) {
    let judged = judge(&[threshold(text)], result, |_| std::iter::empty());
    let result::Threshold { expression, value, passed, unit: _, note } = &judged[0];
    assert_eq!((*value, *passed, note.as_deref().unwrap_or_default()), expected, "{expression}");
}

#[test]
fn a_threshold_is_evaluated_on_the_merged_figures() {
    let run = fixtures::good();
    check("p95<8.3ms", &run, (Some(8.2), true, ""));
    check("p95<8.2ms", &run, (Some(8.2), false, ""));
    check("p95<=8.2ms", &run, (Some(8.2), true, ""));
    check("median>3ms", &run, (Some(3.21), true, ""));
    check("lag:max<1us", &run, (Some(0.0), true, ""));
    check("failed=0", &run, (Some(0.0), true, ""));
    check("throughput>640", &run, (Some(640.6), true, ""));
    let failures = fixtures::failures();
    check("failed<6.5%", &failures, (Some(6.5), false, ""));
    check("failed<=13", &failures, (Some(13.0), true, ""));
}

#[test]
fn a_threshold_that_the_sample_cannot_support_is_missed_with_a_reason() {
    let needs = "cannot be decided: p99 needs 459 queries, but there are 200";
    check("p99<1m", &fixtures::good(), (None, false, needs));
    check("p99>1us", &fixtures::good(), (None, false, needs));
    check("max<1m", &fixtures::all_failed(), (None, false, "cannot be decided: no query was timed"));
    let mut never = fixtures::all_failed();
    (never.queries.completed, never.queries.failed) = (0, 0);
    check("failed<1%", &never, (None, false, "cannot be decided: no query ran"));
}

#[test]
fn waits_cannot_be_decided_if_due_queries_did_not_start() {
    let mut cut_off = fixtures::good();
    check("response:median<10m", &cut_off, (cut_off.response_time_ms.as_ref().map(|l| l.median), true, ""));
    (cut_off.load.due, cut_off.load.not_begun) = (Some(500), Some(98));
    let why = "cannot be decided: 98 of 500 due queries had not started when the duration ended";
    check("response:median<10m", &cut_off, (None, false, why));
    check("queueing:median<10m", &cut_off, (None, false, why));
    check("median<10m", &cut_off, (cut_off.service_time_ms.as_ref().map(|l| l.median), true, ""));
}

fn latency(count: u64, median: f64) -> Latency {
    let p90 = (count >= figure::P90.count_min).then_some(median * 2.0);
    Latency {
        count,
        min: median,
        median,
        mean: median,
        max: median * 3.0,
        stddev: None,
        p90,
        p95: None,
        p99: None,
        p99_9: None,
        intervals: muster_report::result::Intervals::default(),
    }
}

#[track_caller]
fn check_hosts(text: &str, expected: (Option<f64>, bool, &str)) {
    let host = |name, failed, service, is_cut| HostFigures { name, completed: 50, failed, service, is_cut };
    let hosts = || {
        [
            host("db-1", 0, Some(latency(50, 5.0)), false),
            host("db-2", 1, Some(latency(50, 9.0)), false),
            host("db-3", 0, Some(latency(20, 7.0)), false),
            host("old", 50, None, false),
            host("huge", 0, Some(latency(50, 1.0)), true),
        ]
    };
    let wanted = |matches: &dyn Fn(&str) -> bool| {
        hosts().into_iter().filter(|host| matches(host.name)).collect::<Vec<_>>().into_iter()
    };
    let judged = judge(&[threshold(text)], &fixtures::good(), wanted);
    let result::Threshold { expression, value, passed, unit: _, note } = &judged[0];
    assert_eq!((*value, *passed, note.as_deref().unwrap_or_default()), expected, "{expression}");
}

#[test]
fn a_host_threshold_is_evaluated_for_each_host_and_the_worst_is_named() {
    check_hosts("host:db-1:median<6ms", (Some(5.0), true, "worst of 1 host: db-1"));
    check_hosts("host:db-*:median<10ms", (Some(9.0), true, "worst of 3 hosts: db-2"));
    check_hosts("host:db-*:median<6ms", (Some(9.0), false, "worst: db-2; missed by 2 of 3 hosts"));
    check_hosts("host:db-*:min>6ms", (Some(5.0), false, "worst: db-1; missed by 1 of 3 hosts"));
    check_hosts("host:*:failed<=1", (Some(50.0), false, "worst: old; missed by 1 of 5 hosts"));
    check_hosts(
        "host:db-*:p90<30ms",
        (
            Some(18.0),
            false,
            "worst of 2 hosts: db-2; cannot be decided for db-3: p90 needs 44 queries, but there are 20",
        ),
    );
    check_hosts(
        "host:*:median<1s",
        (
            Some(9.0),
            false,
            "worst of 3 hosts: db-2; cannot be decided for 2 hosts such as old: no query was timed",
        ),
    );
    check_hosts(
        "host:huge:median<1s",
        (
            None,
            false,
            "cannot be decided for huge: more samples than can be stored per host; select fewer hosts",
        ),
    );
    check_hosts("host:none:median<1s", (None, false, ""));
}
