//! What Muster adds to a query: the reported service time minus the time at the socket of a fake server, by the fake server's own clock.
//! For comparison, a minimal client writes and reads on a blocking socket: its overhead is the round trip and the wake-up of two threads.
//! Also measures the lag of rows at half of the workers' maximum rate.

use std::fmt::Write;

use muster_report::result::RunResult;

use muster_testing::fake_postgres::Execution;
use muster_testing::fake_postgres::FakePostgres;
use muster_testing::scripted_run::Run;

use crate::bare;
use crate::figures::{ascending, median, ms, quantile};

const ROUNDS: usize = 7;
const ROWS: usize = 3_000;
const DELAYS_US: [u64; 4] = [0, 200, 1_000, 5_000];
const AGENTS: [usize; 2] = [1, 4];
const HOSTS: usize = 40;

pub(crate) fn section() -> String {
    let mut text = format!(
        "Medians of {ROWS} queries, in µs; each is the median of {ROUNDS} rounds.\n\n\
         | server delay | connections | Muster minus the server's clock | bare client minus the server's clock | Muster minus bare client, interquartile range of the rounds |\n\
         |---|---|---|---|---|\n"
    );
    for delay_us in DELAYS_US {
        for agents in AGENTS {
            let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| round(delay_us, agents)).collect();
            let [muster, bare] =
                [0, 1].map(|side| median(&rounds.iter().map(|round| round[side]).collect::<Vec<_>>()));
            let differences = ascending(rounds.iter().map(|[muster, bare]| muster - bare).collect());
            let [low, mid, high] = [250, 500, 750].map(|per_mille| quantile(&differences, per_mille));
            writeln!(
                text,
                "| {delay_us} µs | {agents} | {muster:.0} | {bare:.0} | {mid:+.0} ({low:+.0} to {high:+.0}) |"
            )
            .unwrap();
        }
    }
    text + &lag()
}

/// Overhead of Muster and of the bare client: the client's median minus the fake server's median, in microseconds.
fn round(delay_us: u64, agents: usize) -> [f64; 2] {
    let rows: Vec<_> = (0..ROWS).map(|row| (row % HOSTS, format!("{delay_us}us"))).collect();
    let lines: Vec<_> = rows.iter().map(|(host, script)| format!("h{host},{script}")).collect();
    let fake = FakePostgres::start();
    let run =
        Run::new(&fake.url(), &lines).with(&["--placement", "balanced", "--no-run-dir", "--allow-void"]);
    let report: RunResult = serde_json::from_str(&run.with_processes(agents, 1).stdout).unwrap();
    assert_eq!(report.queries.completed, ROWS as u64);
    let muster = report.service_time_ms.unwrap().median - truth(fake);
    let fake = FakePostgres::start();
    let found = bare::measure(&fake.url(), &rows, agents);
    let bare = quantile(&ascending(found), 500) - truth(fake);
    [muster * 1e3, bare * 1e3]
}

fn truth(fake: FakePostgres) -> f64 {
    let times_ms = fake.finish().completed().map(Execution::at_least).map(ms).collect();
    quantile(&ascending(times_ms), 500)
}

/// With four workers and a server delay of 1 ms, the maximum is 4,000 rows per second, minus the time for wake-ups.
fn lag() -> String {
    const WORKERS: usize = 4;
    const RATE: usize = 1_600;
    const LAG_ROWS: usize = 10 * RATE;
    let figures: Vec<[f64; 3]> = (0..ROUNDS)
        .map(|_| {
            let fake = FakePostgres::start();
            let rows: Vec<_> = (0..LAG_ROWS).map(|row| format!("h{},1000us", row % WORKERS)).collect();
            let run =
                Run::new(&fake.url(), &rows).with(&["--placement", "balanced", "--rate", &RATE.to_string()]);
            let run = run.with(&["--no-run-dir", "--allow-void"]);
            let report: RunResult = serde_json::from_str(&run.with_processes(1, WORKERS).stdout).unwrap();
            assert_eq!(report.queries.completed, LAG_ROWS as u64);
            let lag = report.lag_ms.unwrap();
            [Some(lag.median), lag.p99, lag.p99_9].map(|figure| figure.expect("enough rows") * 1e3)
        })
        .collect();
    let of = |figure: usize| figures.iter().map(|round| round[figure]).collect::<Vec<_>>();
    let each: Vec<String> = of(2).iter().map(|us| format!("{us:.0}")).collect();
    format!(
        "\nLag at {RATE} rows per second, one agent with {WORKERS} workers, server delay 1 ms, in µs: median {:.0}, p99 {:.0}, p99.9 {:.0} \
         (median of {ROUNDS} rounds; p99.9 of each round: {}).\n",
        median(&of(0)),
        median(&of(1)),
        median(&of(2)),
        each.join(", "),
    )
}
