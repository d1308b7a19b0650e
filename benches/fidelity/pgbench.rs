//! Compares Muster with pgbench: the same statement, distribution of parameters, server and number of connections, both in a closed loop
//! with prepared statements. Each round runs pgbench, Muster and pgbench, so that other load on the machine affects both, and so that the
//! difference between the two runs of pgbench shows the noise. Columns are cast to text on the server, because pgbench reads every result
//! as text and Muster in binary.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use muster_stats::random::SplitMix64;

use super::SEED;
use super::figures::{ascending, mean, median, quantile};
use super::server::Server;

const ROUNDS: usize = 11;

struct Workload {
    name: &'static str,
    statement: &'static str,
    connections: usize,
    rows_per_connection: usize,
}

const DAY: &str = "SELECT date_bin('1 hour', ts, timestamptz '2017-01-01 00:00+00')::text AS hour, max(usage)::text, min(usage)::text \
     FROM cpu_usage WHERE host = 'host_' || lpad(:h, 6, '0') AND ts BETWEEN timestamptz '2017-01-01 00:00+00' + :m * interval '1 minute' \
     AND timestamptz '2017-01-02 00:00+00' + :m * interval '1 minute' GROUP BY 1 ORDER BY 1";
const HOUR: &str = "SELECT date_bin('1 minute', ts, timestamptz '2017-01-01 00:00+00')::text AS minute, max(usage)::text, min(usage)::text \
     FROM cpu_usage WHERE host = 'host_' || lpad(:h, 6, '0') AND ts BETWEEN timestamptz '2017-01-01 00:00+00' + :m * interval '1 minute' \
     AND timestamptz '2017-01-01 01:00+00' + :m * interval '1 minute' GROUP BY 1 ORDER BY 1";
const SLEEP: &str = "SELECT pg_sleep(0.003 + 0.000001 * (:m)::float8)::text, :h::text";
const POINT: &str = "SELECT usage::text FROM cpu_usage WHERE host = 'host_' || lpad(:h, 6, '0') \
     AND ts = timestamptz '2017-01-01 00:00+00' + :m * interval '1 minute'";

const fn workload(
    name: &'static str,
    statement: &'static str,
    connections: usize,
    rows_per_connection: usize,
) -> Workload {
    Workload { name, statement, connections, rows_per_connection }
}

const WORKLOADS: [Workload; 7] = [
    workload("a day by the hour", DAY, 1, 400),
    workload("a day by the hour", DAY, 4, 200),
    workload("sleep of 3.0 to 4.4 ms", SLEEP, 1, 250),
    workload("sleep of 3.0 to 4.4 ms", SLEEP, 4, 250),
    workload("an hour by the minute", HOUR, 1, 2_000),
    workload("an hour by the minute", HOUR, 4, 1_000),
    workload("one row by its key", POINT, 1, 10_000),
];
/// Exclusive upper bounds of `:h` and `:m`.
const HOSTS: u64 = 20;
const MINUTES: u64 = 1_400;

/// Median and mean of one run in milliseconds.
type Figures = [f64; 2];

pub(crate) fn print() {
    let Some(server) = Server::start() else { return };
    if Command::new(server.program("pgbench")).arg("--version").output().is_err() {
        println!("Skipped: pgbench is not installed.");
        return;
    }
    println!(
        "{ROUNDS} rounds each. Difference: median of the rounds, with the interquartile range in parentheses.\n"
    );
    println!(
        "| statement | connections | median: pgbench, muster | difference | pgbench against itself | mean: pgbench, muster | difference | pgbench against itself |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for workload in &WORKLOADS {
        let directory = tempfile::tempdir().unwrap();
        write(workload, directory.path());
        // Warms the server's caches, so that neither program is the first to read the data.
        muster(workload, &server, directory.path());
        let rounds: Vec<[Figures; 3]> = (0..ROUNDS)
            .map(|_| {
                let before = pgbench(workload, &server, directory.path());
                let during = muster(workload, &server, directory.path());
                [before, during, pgbench(workload, &server, directory.path())]
            })
            .collect();
        let of = |figure: usize| rounds.iter().map(|round| round.map(|run| run[figure])).collect::<Vec<_>>();
        let row = [0, 1].map(|figure| compared(&of(figure)));
        println!("| {} | {} | {} |", workload.name, workload.connections, row.join(" | "));
    }
}

/// Table cells for one figure; each round is `[pgbench, muster, pgbench]`.
fn compared(rounds: &[[f64; 3]]) -> String {
    let percent = |of: fn(&[f64; 3]) -> f64| {
        let all = ascending(rounds.iter().map(|round| (of(round) - 1.0) * 100.0).collect());
        let [low, half, high] = [250, 500, 750].map(|per_mille| quantile(&all, per_mille));
        format!("{half:+.1} % ({low:+.1} to {high:+.1})")
    };
    let pgbench = median(&rounds.iter().flat_map(|[before, _, after]| [*before, *after]).collect::<Vec<_>>());
    let muster = median(&rounds.iter().map(|[_, muster, _]| *muster).collect::<Vec<_>>());
    let difference = percent(|[before, muster, after]| muster / before.midpoint(*after));
    let noise = percent(|[before, _, after]| after / before);
    format!("{pgbench:.3}, {muster:.3} ms | {difference} | {noise}")
}

fn write(workload: &Workload, directory: &Path) {
    let Workload { statement, connections, rows_per_connection, .. } = workload;
    let (hosts, minutes) = (HOSTS - 1, MINUTES - 1);
    let script = format!("\\set h random(0, {hosts})\n\\set m random(0, {minutes})\n{statement};\n");
    std::fs::write(directory.join("pgbench.sql"), script).unwrap();
    std::fs::write(directory.join("muster.sql"), statement).unwrap();
    let mut random = SplitMix64::new(SEED);
    let mut csv = "hostname,h,m\n".to_owned();
    for row in 0..connections * rows_per_connection {
        let (h, m) = (random.below(HOSTS), random.below(MINUTES));
        writeln!(csv, "w{},{h},{m}", row % connections).unwrap();
    }
    std::fs::write(directory.join("rows.csv"), csv).unwrap();
}

/// Median and mean in milliseconds, computed from pgbench's transaction log.
fn pgbench(workload: &Workload, server: &Server, directory: &Path) -> Figures {
    let logs = tempfile::tempdir_in(directory).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(workload.connections);
    let mut command = Command::new(server.program("pgbench"));
    command
        .args(["--no-vacuum", "--protocol=prepared", "--log", "--file"])
        .arg(directory.join("pgbench.sql"));
    command.args(["--client", &workload.connections.to_string(), "--jobs", &threads.to_string()]);
    command.args([
        "--transactions",
        &workload.rows_per_connection.to_string(),
        "--random-seed",
        &SEED.to_string(),
    ]);
    command.current_dir(logs.path()).env("PGTZ", "UTC").arg(server.url());
    let output = command.output().unwrap();
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let mut times_ms = Vec::new();
    for log in std::fs::read_dir(logs.path()).unwrap() {
        // client_id transaction_no time script_no time_epoch time_us
        let log = std::fs::read_to_string(log.unwrap().path()).unwrap();
        let time_us = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
        times_ms.extend(log.lines().map(|line| time_us(line).expect("a line of pgbench's log") / 1e3));
    }
    assert_eq!(times_ms.len(), workload.connections * workload.rows_per_connection);
    let times_ms = ascending(times_ms);
    [quantile(&times_ms, 500), mean(&times_ms)]
}

fn muster(workload: &Workload, server: &Server, directory: &Path) -> Figures {
    let [query, rows] = ["muster.sql", "rows.csv"].map(|name| directory.join(name).display().to_string());
    let workers = workload.connections.to_string();
    let report = server.run(&["--workers", &workers, "--placement", "balanced", "--query", &query, &rows]);
    assert_eq!(report.queries.completed, (workload.connections * workload.rows_per_connection) as u64);
    let latency = report.service_time_ms.unwrap();
    [latency.median, latency.mean]
}
