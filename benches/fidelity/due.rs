//! How precisely queries start at their due times, against a server that answers immediately. For comparison, bare threads sleep until the
//! same times and then poll the clock: on a busy machine both wake with a delay.

use std::thread;
use std::time::{Duration, Instant};

use muster_report::result::RunResult;

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

use super::figures::{ascending, median, ms, quantile};

const ROUNDS: usize = 5;
const AGENTS: usize = 4;
const SECONDS: usize = 5;

pub(crate) fn print() {
    println!("Generator delay in µs, with that of the bare threads in parentheses; {ROUNDS} rounds.\n");
    println!(
        "| queries/s requested | achieved | median | p99, median of the rounds | p99 of each round | max of all | service median | verdicts |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for rate in [100, 1_000, 5_000, 10_000] {
        let rounds: Vec<(RunResult, Vec<f64>)> = (0..ROUNDS).map(|_| (round(rate), bare(rate))).collect();
        let each = |figure: fn(&RunResult) -> f64| {
            rounds.iter().map(|(report, _)| figure(report)).collect::<Vec<f64>>()
        };
        let bare = |per_mille| rounds.iter().map(|(_, bare)| quantile(bare, per_mille)).collect::<Vec<f64>>();
        let both = |report: f64, bare: f64| format!("{:.0} ({:.0})", report * 1e3, bare * 1e3);
        let p99 =
            each(|report| report.generator_delay_ms.as_ref().unwrap().p99.expect("500 rows are enough"));
        let of_rounds: Vec<_> = p99.iter().zip(bare(990)).map(|(p99, bare)| both(*p99, bare)).collect();
        let max = ascending(each(|report| report.generator_delay_ms.as_ref().unwrap().max));
        println!(
            "| {rate} | {:.1} | {} | {} | {} | {} | {:.0} | {} |",
            median(&each(|report| report.throughput_qps)),
            both(
                median(&each(|report| report.generator_delay_ms.as_ref().unwrap().median)),
                median(&bare(500))
            ),
            both(median(&p99), median(&bare(990))),
            of_rounds.join(", "),
            both(quantile(&max, 1_000), quantile(&ascending(bare(1_000)), 1_000)),
            median(&each(|report| report.service_time_ms.as_ref().unwrap().median)) * 1e3,
            verdicts(&rounds),
        );
    }
}

fn verdicts(rounds: &[(RunResult, Vec<f64>)]) -> String {
    let verdicts = rounds.iter().map(|(report, _)| format!("{:?}", report.verdict.status).to_uppercase());
    verdicts.collect::<Vec<_>>().join(", ")
}

/// Delays of bare threads in milliseconds, ascending. There are as many threads as agents, and each has its share of the rate.
fn bare(rate: usize) -> Vec<f64> {
    let between = Duration::from_secs_f64(AGENTS as f64 / rate as f64);
    let start = Instant::now() + Duration::from_millis(10);
    let threads: Vec<_> = (0..AGENTS)
        .map(|thread| {
            let first = start + between.mul_f64(thread as f64 / AGENTS as f64);
            let dues = (0..rate * SECONDS / AGENTS).map(move |row| first + between.mul_f64(row as f64));
            thread::spawn(move || dues.map(delay_ms).collect::<Vec<f64>>())
        })
        .collect();
    ascending(threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect())
}

/// Waits until `due` as `agent/src/waiter.rs` does, and returns the delay in milliseconds.
fn delay_ms(due: Instant) -> f64 {
    const EARLY: Duration = Duration::from_micros(120);
    let left = due.saturating_duration_since(Instant::now());
    thread::sleep(left - EARLY.min(left / 8));
    while Instant::now() < due {
        std::hint::spin_loop();
    }
    ms(due.elapsed())
}

fn round(rate: usize) -> RunResult {
    let fake = FakePostgres::start();
    let rows: Vec<_> = (0..rate * SECONDS).map(|row| format!("h{},0us", row % AGENTS)).collect();
    let run = Run::new(&fake.url(), &rows).with(&["--placement", "balanced", "--rate", &rate.to_string()]);
    let report: RunResult = serde_json::from_str(&run.with_processes(AGENTS, 1).stdout).unwrap();
    assert_eq!(report.queries.completed, rows.len() as u64);
    report
}
