//! Open loops in which queries wait for a busy server, which is what an open loop is used to measure: however slow the server is, the
//! verdict does not blame the load generator, and the report shows how long queries waited.

use muster_stats::random::SplitMix64;
use tokio::time::{Duration, sleep};

use crate::verdict::fixture::{Generator, health, reason};
use muster_testing::report::Report;

/// Causes that the machine which runs the test may add; they are not caused by the queue.
const MACHINE_CAUSES: [&str; 3] = ["agent_late", "agent_waited", "machine_stolen"];
/// If other programs keep the processors busy, an agent's threads may really be delayed. Then the report may contain these causes, and
/// the test prints a message.
const BUSY_SHARE: f64 = 0.6;

/// A verdict that blames the load generator for the queue of the server does so in every attempt; another program on this machine does not
/// disturb the agent in all of them.
const ATTEMPTS: usize = 4;

/// Returns the first report without blame, and true if the machine was quiet. Panics if every attempt ends with blame.
async fn without_blame(measure: impl AsyncFn() -> Report) -> (Report, bool) {
    for _ in 1..ATTEMPTS {
        let report = measure().await;
        if is_without_blame(&report) {
            return (report, true);
        }
        println!("another attempt, because of {}", report.at("/verdict"));
    }
    let report = measure().await;
    let is_quiet = health(&report, 0, "machine_busy_share") <= BUSY_SHARE;
    assert!(!is_quiet || is_without_blame(&report), "{}", report.at("/verdict"));
    (report, is_quiet)
}

fn is_without_blame(report: &Report) -> bool {
    let causes = report.list("/verdict/causes");
    let is_noise = |cause: &serde_json::Value| MACHINE_CAUSES.iter().any(|noise| cause == noise);
    causes.iter().all(is_noise) && report.text("/verdict/status") != "VOID"
}

/// On a busy machine the agent itself may have stopped for a moment. Then the report does not name the server as the limit.
fn stood_still(report: &Report) -> bool {
    report.list("/verdict/causes").iter().any(|cause| cause == "agent_stood_still")
}

fn milliseconds(report: &Report, figure: &str) -> f64 {
    report.at(figure).as_f64().unwrap_or_else(|| panic!("{figure} is {}", report.at(figure)))
}

fn note(report: &Report, text: &str) -> String {
    let notes = report.list("/notes");
    let found = notes.iter().filter_map(|note| note.as_str()).find(|note| note.contains(text));
    found.unwrap_or_else(|| panic!("no note contains '{text}': {notes:?}")).to_owned()
}

/// Runs with one worker, because the formulas are for a queue with one server.
async fn run(scripts: Vec<String>, more: &[&str]) -> Report {
    let mut generator = Generator::with_scripts(1, scripts.into_iter(), more).await;
    generator.join(&[]);
    generator.end(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_stall_of_a_second_is_valid() {
    let mut scripts = vec!["1ms".to_owned(); 600];
    scripts[100] = "1000ms".to_owned();
    let (report, _) = without_blame(async || run(scripts.clone(), &["--rate", "200"]).await).await;
    // Row j after the stall is due at j * 5 ms and ends at 1,000 + j * s ms. The p99 of 600 is the 7th largest value, so j = 6.
    let computed = 1_000.0 - 6.0 * (5.0 - milliseconds(&report, "/service_time_ms/median"));
    let p99 = milliseconds(&report, "/response_time_ms/p99");
    assert!((computed - 20.0..computed + 300.0).contains(&p99), "{p99} ms, expected {computed} ms");
    assert!(milliseconds(&report, "/queueing_ms/p99") > 900.0);
    assert!(milliseconds(&report, "/generator_delay_ms/p99") < 100.0);
    note(&report, "for a busy connection; connections were busy ");
}

/// All connections wait for the server, as behind a lock on a table.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_stall_of_a_second_is_valid() {
    let measure = async || {
        let mut generator = Generator::start(1, 800, "1ms", &["--rate", "200"]).await;
        generator.join(&["--workers", "4"]);
        generator.armed().await;
        sleep(Duration::from_secs(1)).await;
        let fake = std::sync::Arc::clone(&generator.fake);
        tokio::task::spawn_blocking(move || fake.stall(Duration::from_secs(1))).await.unwrap();
        generator.end(false).await
    };
    let (report, _) = without_blame(measure).await;
    // 200 of the 800 rows were due in that second, at even intervals: the 9th largest value is of the row due 40 ms after its beginning.
    let p99 = milliseconds(&report, "/response_time_ms/p99");
    assert!((900.0..1_300.0).contains(&p99), "{p99} ms, expected 960 ms");
    assert!(
        milliseconds(&report, "/service_time_ms/p95") < 300.0,
        "four of 800 queries waited in the server"
    );
    if !stood_still(&report) {
        note(&report, ": the server or the number of connections is the limit");
    }
}

/// One worker with Poisson arrivals is an M/M/1 queue. Its mean response time follows from the Pollaczek-Khinchine formula with the
/// measured moments of the service time. The interval is at 99.9 %, from the asymptotic variance of the mean wait (Daley 1968, "The serial
/// correlation coefficients of waiting times in a stationary single server queue").
async fn check_queue(utilization: f64) {
    const ROWS: usize = 1_000;
    const MEAN_US: f64 = 5_000.0;
    let mut random = SplitMix64::of_stream(20_170_101, 7);
    let scripts: Vec<String> =
        (0..ROWS).map(|_| format!("{:.0}us", -MEAN_US * (1.0 - random.unit()).ln())).collect();
    // The fake server and the connection to it take about 0.1 ms.
    let rate = format!("{:.2}", utilization / (MEAN_US / 1e6 + 1e-4));
    let (report, is_quiet) = without_blame(async || {
        run(scripts.clone(), &["--rate", &rate, "--arrivals", "poisson", "--seed", "11"]).await
    })
    .await;
    let [mean, deviation] =
        ["mean", "stddev"].map(|name| milliseconds(&report, &format!("/service_time_ms/{name}")));
    let rate = milliseconds(&report, "/load/scheduled_qps") / 1e3;
    let rho = rate * mean;
    if !is_quiet && rho > 0.97 {
        println!(
            "not compared: on this busy machine queries took {mean} ms, and an overloaded queue has no mean"
        );
        return;
    }
    let expected = mean + rate * (mean * mean + deviation * deviation) / (2.0 * (1.0 - rho));
    let variance = rho * (2.0 + 5.0 * rho - 4.0 * rho.powi(2) + rho.powi(3)) / (1.0 - rho).powi(4);
    let margin = 3.29 * mean * (variance / ROWS as f64).sqrt();
    let response = milliseconds(&report, "/response_time_ms/mean");
    println!("utilization {rho:.3}: response {response:.2} ms, expected {expected:.2} +- {margin:.2} ms");
    assert!(
        (response - expected).abs() <= margin,
        "utilization {rho:.3}: {response} ms instead of {expected} +- {margin} ms"
    );
    let busy = milliseconds(&report, "/utilization/busy_share");
    assert!((busy - rho).abs() < 0.1, "busy share {busy}, expected from rate and service time: {rho}");
    if utilization > 0.7 && !stood_still(&report) {
        note(&report, ": the server or the number of connections is the limit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_at_50_percent_load_is_valid_and_matches_theory() {
    check_queue(0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_at_80_percent_load_is_valid_and_matches_theory() {
    check_queue(0.8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_at_90_percent_load_is_valid_and_matches_theory() {
    check_queue(0.9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_above_the_capacity_is_valid_and_both_rates_are_reported() {
    let (report, _) =
        without_blame(async || run(vec!["10ms".to_owned(); 300], &["--rate", "200"]).await).await;
    let achieved = milliseconds(&report, "/load/achieved_qps");
    assert!((50.0..=100.0).contains(&achieved), "{achieved}");
    assert!((milliseconds(&report, "/load/scheduled_qps") - 200.0).abs() < 1e-6);
    let note = note(&report, "the rate was not reached: ");
    assert!(
        stood_still(&report)
            || note
                .contains(" of 200 queries/s ran, and the server or the number of connections was the limit"),
        "{note}"
    );
    assert!(milliseconds(&report, "/utilization/busy_share") > 0.9);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_could_not_begin_because_of_a_stall_at_the_end_are_counted_and_noted() {
    let mut scripts = vec!["1ms".to_owned(); 400];
    scripts[100] = "3000ms".to_owned();
    let (report, _) =
        without_blame(async || run(scripts.clone(), &["--rate", "100", "--duration", "2s"]).await).await;
    // Row 100 is due after one second and ends after the run's duration: the 99 rows after it do not begin.
    assert_eq!(report.number("/load/due"), 200);
    assert_eq!(report.number("/load/not_begun"), 99);
    assert_eq!(report.number("/queries/completed"), 101);
    note(&report, "99 of 200 due queries had not started when the duration ended");
    note(&report, "the rate was not reached: ");
}

/// `just fidelity due` measures the same at 10,000 queries per second.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_immediately_is_not_void() {
    let measure = async || {
        let mut generator = Generator::start(1, 4_000, "0us", &["--rate", "2000"]).await;
        generator.join(&["--workers", "4"]);
        generator.end(false).await
    };
    let (report, _) = without_blame(measure).await;
    let achieved = milliseconds(&report, "/load/achieved_qps");
    assert!((1_900.0..=2_010.0).contains(&achieved), "{achieved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stopped_for_300_ms_is_reported() {
    let mut generator = Generator::start(1, 400, "1ms", &["--rate", "200"]).await;
    generator.join(&[]);
    generator.armed().await;
    sleep(Duration::from_millis(700)).await;
    generator.agents[0].signal("STOP");
    sleep(Duration::from_millis(300)).await;
    generator.agents[0].signal("CONT");
    let report = generator.end(false).await;
    assert_ne!(report.text("/verdict/status"), "VALID");
    let reason = reason(&report, "agent_stood_still");
    assert!(reason.starts_with("slot-0 was paused for "), "{reason}");
    // A stop during a query is part of its service time. Between two queries it delays the next one.
    let longest = ["/generator_delay_ms/max", "/service_time_ms/max"].map(|time| milliseconds(&report, time));
    assert!(longest.into_iter().any(|ms| ms > 200.0), "{longest:?}");
    let notes = report.at("/notes").to_string();
    assert!(!notes.contains("the server or the number of connections"), "{notes}");
}

/// Little's law with one worker: its time is either service time or overhead.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_worker_in_a_closed_loop_is_service_time_and_overhead() {
    let (report, _) = without_blame(async || run(vec!["2ms".to_owned(); 300], &[]).await).await;
    let busy: f64 = report.list("/workers").iter().map(|worker| worker["busy_ms"].as_f64().unwrap()).sum();
    let overhead = milliseconds(&report, "/utilization/generator_overhead_ms");
    let wall = milliseconds(&report, "/wall_time_ms");
    assert!((wall - busy - overhead).abs() < 0.01, "{wall} ms is not {busy} + {overhead} ms");
    assert!(overhead > 0.0 && overhead < 0.5 * wall);
    assert_eq!(milliseconds(&report, "/workers/0/generator_overhead_ms"), overhead);
}
