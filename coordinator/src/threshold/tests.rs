use muster_common::result::{self, Latency, RunResult};

use super::judge::{HostFigures, judge};
use super::parse::List;
use super::*;
use crate::output::fixtures;

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
fn thresholds_are_read_as_they_are_meant() {
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
fn what_is_no_threshold_is_told_with_the_way_to_write_one() {
    let check = |text: &str, problem: &str| {
        let error = text.parse::<Threshold>().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("'{}' is no threshold: {problem}. Write METRIC", text.trim())),
            "{error}"
        );
    };
    check("", "it has no <, > or =");
    check("p95", "it has no <, > or =");
    check("p97<5ms", "there is no metric 'p97'");
    check("<5ms", "there is no metric ''");
    check("p95<5", "'5' is not a time such as 500us, 50ms or 2s");
    check("p95<-5ms", "'-5ms' is not a time such as 500us, 50ms or 2s");
    check("p95<1e3ms", "'1e3ms' is not a time such as 500us, 50ms or 2s");
    check("p95<.ms", "'.ms' is not a time such as 500us, 50ms or 2s");
    check("p95=5ms", "only a count of failed queries can be equal to something");
    check("failed=1%", "only a count of failed queries can be equal to something");
    check("failed<101%", "'101%' is neither a share such as 0.1% nor a whole number of queries");
    check("failed<0.5", "'0.5' is neither a share such as 0.1% nor a whole number of queries");
    check("throughput>fast", "'fast' is not a number of queries per second");
    check("lag:throughput>5", "'throughput' is not a time");
    check("host:*:throughput>5", "throughput is of the whole run");
    check("host::p99<5ms", "the host has no name");
    check("db-7:p99<5ms", "'db-7:' is none of response:, lag:, queueing:, generator_delay: and host:NAME:");
}

#[test]
fn several_have_commas_between_them_and_a_hosts_name_may_have_one() {
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
fn a_host_that_is_not_there_is_told() {
    let mut hosts = HostTable::default();
    assert!(hosts.push("db-1", 1) && hosts.push("db-2", 1));
    let check = |text| Threshold::check(&[threshold(text)], &hosts);
    assert_eq!(check("host:db-2:p99<5ms"), Ok(()));
    assert_eq!(check("host:*:p99<5ms"), Ok(()));
    assert_eq!(check("p99<5ms"), Ok(()));
    let error = check("host:db-7:p99<5ms").unwrap_err().to_string();
    assert!(
        error.starts_with("--threshold 'host:db-7:p99<5ms' is about a host that the workload does not have")
    );
}

/// Of a run.
#[track_caller]
fn check(text: &str, result: &RunResult, expected: (Option<f64>, bool, &str)) {
    let judged = judge(&[threshold(text)], result, |_| std::iter::empty());
    let result::Threshold { expression, value, passed, unit: _, note } = &judged[0];
    assert_eq!((*value, *passed, note.as_deref().unwrap_or_default()), expected, "{expression}");
}

#[test]
fn a_run_is_held_against_its_merged_figures() {
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
fn what_the_sample_cannot_support_is_missed_and_told() {
    let needs = "cannot be decided: p99 needs 459 queries, and there are 200";
    check("p99<1m", &fixtures::good(), (None, false, needs));
    check("p99>1us", &fixtures::good(), (None, false, needs));
    check("max<1m", &fixtures::all_failed(), (None, false, "cannot be decided: no query was timed"));
    let mut never = fixtures::all_failed();
    (never.queries.completed, never.queries.failed) = (0, 0);
    check("failed<1%", &never, (None, false, "cannot be decided: no query was run"));
}

#[test]
fn waits_that_the_end_of_the_run_cut_off_are_not_passed_over() {
    let mut cut_off = fixtures::good();
    check("response:median<10m", &cut_off, (cut_off.response_time_ms.as_ref().map(|l| l.median), true, ""));
    (cut_off.load.due, cut_off.load.not_begun) = (Some(500), Some(98));
    let why = "cannot be decided: 98 of 500 due queries had not begun when the time was over";
    check("response:median<10m", &cut_off, (None, false, why));
    check("queueing:median<10m", &cut_off, (None, false, why));
    check("median<10m", &cut_off, (cut_off.service_time_ms.as_ref().map(|l| l.median), true, ""));
}

fn latency(count: u64, median: f64) -> Latency {
    let p90 = (count >= Latency::P90_COUNT_MIN).then_some(median * 2.0);
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
        intervals: muster_common::result::Intervals::default(),
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
    let wanted = |wants: &dyn Fn(&str) -> bool| {
        hosts().into_iter().filter(|host| wants(host.name)).collect::<Vec<_>>().into_iter()
    };
    let judged = judge(&[threshold(text)], &fixtures::good(), wanted);
    let result::Threshold { expression, value, passed, unit: _, note } = &judged[0];
    assert_eq!((*value, *passed, note.as_deref().unwrap_or_default()), expected, "{expression}");
}

#[test]
fn hosts_are_held_against_their_own_figures_and_the_worst_is_told() {
    check_hosts("host:db-1:median<6ms", (Some(5.0), true, "the worst of 1 host: db-1"));
    check_hosts("host:db-*:median<10ms", (Some(9.0), true, "the worst of 3 hosts: db-2"));
    check_hosts("host:db-*:median<6ms", (Some(9.0), false, "the worst: db-2; 2 of 3 hosts missed it"));
    check_hosts("host:db-*:min>6ms", (Some(5.0), false, "the worst: db-1; 1 of 3 hosts missed it"));
    check_hosts("host:*:failed<=1", (Some(50.0), false, "the worst: old; 1 of 5 hosts missed it"));
    check_hosts(
        "host:db-*:p90<30ms",
        (
            Some(18.0),
            false,
            "the worst of 2 hosts: db-2; cannot be decided for db-3: p90 needs 44 queries, and there are 20",
        ),
    );
    check_hosts(
        "host:*:median<1s",
        (
            Some(9.0),
            false,
            "the worst of 3 hosts: db-2; cannot be decided for 2 hosts such as old: no query was timed",
        ),
    );
    check_hosts(
        "host:huge:median<1s",
        (None, false, "cannot be decided for huge: more samples than can be kept by host; name fewer hosts"),
    );
    check_hosts("host:none:median<1s", (None, false, ""));
}
