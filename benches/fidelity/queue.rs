//! One worker with Poisson arrivals and exponential service times is an M/M/1 queue. Its mean response time is known: it follows from the
//! Pollaczek–Khinchine formula with the measured moments of the service time.

use muster_report::result::RunResult;
use muster_stats::random::SplitMix64;

use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

use super::SEED;

const MEAN_MS: f64 = 5.0;
/// The duration of each run.
const SECONDS: f64 = 30.0;

pub(crate) fn print() {
    println!(
        "| utilization | verdict | service mean | response mean | Pollaczek–Khinchine, 95 % interval | queueing p99 | generator delay p99 |"
    );
    println!("|---|---|---|---|---|---|---|");
    for utilization in [0.5, 0.8, 0.9] {
        let report = round(utilization);
        let service = report.service_time_ms.as_ref().unwrap();
        let (mean, deviation) = (service.mean, service.stddev.unwrap());
        let rate = report.load.scheduled_qps.unwrap() / 1e3;
        let rho = rate * mean;
        let expected = mean + rate * (mean * mean + deviation * deviation) / (2.0 * (1.0 - rho));
        // Daley 1968: the asymptotic variance of the mean wait.
        let variance = rho * (2.0 + 5.0 * rho - 4.0 * rho.powi(2) + rho.powi(3)) / (1.0 - rho).powi(4);
        let margin = 1.96 * mean * (variance / service.count as f64).sqrt();
        let p99 = |latency: &Option<muster_report::result::Latency>| latency.as_ref().unwrap().p99.unwrap();
        println!(
            "| {:.1} % | {:?} | {mean:.3} ms | {:.3} ms | {expected:.3} ± {margin:.3} ms | {:.1} ms | {:.3} ms |",
            rho * 100.0,
            report.verdict.status,
            report.response_time_ms.as_ref().unwrap().mean,
            p99(&report.queueing_ms),
            p99(&report.generator_delay_ms),
        );
    }
}

fn round(utilization: f64) -> RunResult {
    let fake = FakePostgres::start();
    let rate = utilization / (MEAN_MS / 1e3 + 1e-4);
    let mut random = SplitMix64::of_stream(SEED, 11);
    let rows: Vec<_> = (0..(rate * SECONDS) as usize)
        .map(|row| format!("h{},{:.0}us", row % 10, -MEAN_MS * 1e3 * (1.0 - random.unit()).ln()))
        .collect();
    let run = Run::new(&fake.url(), &rows).with(&["--arrivals", "poisson", "--rate", &rate.to_string()]);
    let report: RunResult = serde_json::from_str(&run.with_processes(1, 1).stdout).unwrap();
    assert_eq!(report.queries.completed, rows.len() as u64);
    report
}
