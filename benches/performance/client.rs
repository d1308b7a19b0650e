//! The client's cost per query, compared with pgbench: the same statement, distribution of parameters, server and number of connections,
//! both in a closed loop with prepared statements. Muster's figure is that of the whole agent process, which includes its queue, clock,
//! results, acknowledgements and health checks. Columns are cast to text on the server, because pgbench reads every result as text and
//! Muster in binary. Each round runs all programs once, so that other load on the machine affects all of them. A minimal blocking client
//! runs as well; its median is the lower bound on this machine.

use std::fmt::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use muster_report::result::RunResult;
use muster_stats::random::SplitMix64;

use muster_testing::binaries::agent_binary;

use crate::SEED;
use crate::bare_client;
use crate::children::{Ended, end};
use crate::figures::{ascending, median, quantile};
use crate::server::{Server, command, coordinator};

const ROUNDS: usize = 7;
const CONNECTIONS: [usize; 3] = [1, 8, 32];

/// Exclusive upper bounds of `:h` and `:m`.
const HOSTS: u64 = 20;
const MINUTES: u64 = 1_400;

#[derive(Debug, Clone, Copy)]
enum Contender {
    /// With this number of threads.
    Pgbench(usize),
    Muster,
    /// `bare_client.rs`.
    Bare,
}

struct Workload {
    name: &'static str,
    statement: &'static str,
    /// Rows for one connection, and in total for several connections; each takes some seconds.
    rows: [usize; 2],
}

const WORKLOADS: [Workload; 2] = [
    Workload { name: "SELECT 1", statement: "SELECT 1", rows: [40_000, 120_000] },
    Workload {
        name: "an hour by the minute",
        statement: "SELECT date_bin('1 minute', ts, timestamptz '2017-01-01 00:00+00')::text AS minute, max(usage)::text, min(usage)::text \
            FROM cpu_usage WHERE host = 'host_' || lpad(:h, 6, '0') AND ts BETWEEN timestamptz '2017-01-01 00:00+00' + :m * interval '1 minute' \
            AND timestamptz '2017-01-01 01:00+00' + :m * interval '1 minute' GROUP BY 1 ORDER BY 1",
        rows: [10_000, 20_000],
    },
];

/// Figures of one run.
#[derive(Debug, Clone, Copy)]
struct Figures {
    queries_per_s: f64,
    cpu_us_per_query: f64,
    /// Median service time by the client's own clock. NaN for pgbench, which would have to log each query to a file.
    median_us: f64,
}

pub(crate) fn section() -> String {
    let Some(server) = Server::start() else { return "Skipped: PostgreSQL is not available.\n".to_owned() };
    if Command::new(server.program("pgbench")).arg("--version").output().is_err() {
        return "Skipped: pgbench is not installed.\n".to_owned();
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let contenders =
        [Contender::Pgbench(1), Contender::Pgbench(processors), Contender::Muster, Contender::Bare];
    let mut text = format!(
        "Medians of {ROUNDS} rounds, each of which runs all four programs. In parentheses, the interquartile range of the rounds' ratios: pgbench -j{processors} and the bare client \
         relative to pgbench -j1, the agent relative to both pgbench runs.\n"
    );
    let mut tables = ["queries/s", "client CPU per query, µs"].map(|figure| {
        let names = contenders.map(|one| one.name());
        format!(
            "\n{figure}:\n\n| statement | connections | {} |\n|---|---|---|---|---|---|\n",
            names.join(" | ")
        )
    });
    let mut times = "\nmedian service time by the client's own clock, µs:\n\n\
        | statement | connections | agent | bare client | difference, interquartile range of the rounds |\n|---|---|---|---|---|\n"
        .to_owned();
    for workload in &WORKLOADS {
        for connections in CONNECTIONS {
            let directory = tempfile::tempdir().unwrap();
            let rows = workload.rows[usize::from(connections > 1)];
            write(workload, connections, rows, directory.path());
            let round = || contenders.map(|one| one.run(&server, connections, rows, directory.path()));
            let rounds: Vec<[Figures; 4]> = (0..ROUNDS).map(|_| round()).collect();
            let cells = |of: fn(&Figures) -> f64, digits: usize| {
                let of_all = |contender: usize| rounds.iter().map(move |round| of(&round[contender]));
                let ratios = |contender: usize, to: usize| {
                    let ratios = of_all(contender).zip(of_all(to)).map(|(one, other)| one / other);
                    let ratios = ascending(ratios.collect());
                    let [low, high] = [250, 750].map(|per_mille| quantile(&ratios, per_mille));
                    format!("{low:.2} to {high:.2}")
                };
                let cell = |contender: usize| {
                    let median = median(&of_all(contender).collect::<Vec<f64>>());
                    match contenders[contender] {
                        Contender::Pgbench(1) => format!("{median:.digits$}"),
                        Contender::Muster => {
                            format!("{median:.digits$} ({}; {})", ratios(contender, 0), ratios(contender, 1))
                        }
                        _ => format!("{median:.digits$} ({})", ratios(contender, 0)),
                    }
                };
                [0, 1, 2, 3].map(cell).join(" | ")
            };
            let cells = [cells(|one| one.queries_per_s, 0), cells(|one| one.cpu_us_per_query, 1)];
            for (table, cells) in tables.iter_mut().zip(cells) {
                writeln!(table, "| {} | {connections} | {cells} |", workload.name).unwrap();
            }
            let medians = |contender: usize| rounds.iter().map(move |round| round[contender].median_us);
            let differences =
                ascending(medians(2).zip(medians(3)).map(|(agent, bare)| agent - bare).collect());
            let [low, half, high] = [250, 500, 750].map(|per_mille| quantile(&differences, per_mille));
            let [agent, bare] = [2, 3].map(|contender| median(&medians(contender).collect::<Vec<f64>>()));
            writeln!(
                times,
                "| {} | {connections} | {agent:.1} | {bare:.1} | {half:+.1} ({low:+.1} to {high:+.1}) |",
                workload.name
            )
            .unwrap();
        }
    }
    text.extend(tables);
    text.push_str(&times);
    text
}

fn write(workload: &Workload, connections: usize, rows: usize, directory: &Path) {
    let (hosts, minutes, statement) = (HOSTS - 1, MINUTES - 1, workload.statement);
    let script = format!("\\set h random(0, {hosts})\n\\set m random(0, {minutes})\n{statement};\n");
    std::fs::write(directory.join("pgbench.sql"), script).unwrap();
    std::fs::write(directory.join("muster.sql"), statement).unwrap();
    let mut random = SplitMix64::new(SEED);
    let mut csv = "hostname,h,m\n".to_owned();
    for row in 0..rows {
        let (h, m) = (random.below(HOSTS), random.below(MINUTES));
        writeln!(csv, "w{},{h},{m}", row % connections).unwrap();
    }
    std::fs::write(directory.join("rows.csv"), csv).unwrap();
}

impl Contender {
    fn name(self) -> String {
        match self {
            Self::Pgbench(threads) => format!("pgbench -j{threads}"),
            Self::Muster => "agent".to_owned(),
            Self::Bare => "bare client".to_owned(),
        }
    }

    fn run(self, server: &Server, connections: usize, rows: usize, directory: &Path) -> Figures {
        match self {
            Self::Pgbench(threads) => pgbench(server, connections, rows, threads, directory),
            Self::Muster => muster(server, connections, rows, directory),
            Self::Bare => bare(server, connections, rows, directory),
        }
    }
}

fn pgbench(server: &Server, connections: usize, rows: usize, threads: usize, directory: &Path) -> Figures {
    let mut command = Command::new(server.program("pgbench"));
    command.args(["--no-vacuum", "--protocol=prepared", "--file"]).arg(directory.join("pgbench.sql"));
    command.args([
        "--jobs",
        &threads.min(connections).to_string(),
        "--client",
        &connections.to_string(),
        "--transactions",
        &(rows / connections).to_string(),
    ]);
    command.args(["--random-seed", &SEED.to_string()]).env("PGTZ", "UTC").arg(server.url());
    let Ended { stdout, cpu } = end(started(command.stdout(Stdio::piped())));
    // tps = 12345.678901 (without initial connection time)
    let tps = stdout.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let queries_per_s = tps.expect("pgbench reports its transactions per second");
    Figures { queries_per_s, cpu_us_per_query: per_query(cpu, rows), median_us: f64::NAN }
}

fn per_query(cpu: Duration, rows: usize) -> f64 {
    cpu.as_secs_f64() * 1e6 / rows as f64
}

fn bare(server: &Server, connections: usize, rows: usize, directory: &Path) -> Figures {
    let mut command = command(&std::env::current_exe().unwrap());
    command.args([bare_client::WORD, &socket(server.url())]);
    command.args([directory.join("muster.sql"), directory.join("rows.csv")]).arg(connections.to_string());
    let Ended { stdout, cpu } = end(started(command.stdout(Stdio::piped())));
    let figures: Vec<f64> = stdout.split_whitespace().map(|figure| figure.parse().unwrap()).collect();
    let [median_ns, queries_per_s] = figures[..] else { panic!("expected two figures, not {stdout}") };
    Figures { queries_per_s, cpu_us_per_query: per_query(cpu, rows), median_us: median_ns / 1e3 }
}

/// Path of the embedded server's unix socket.
fn socket(url: &str) -> String {
    let config: tokio_postgres::Config = url.parse().unwrap();
    match config.get_hosts() {
        [tokio_postgres::config::Host::Unix(directory)] => {
            directory.join(".s.PGSQL.5432").to_str().unwrap().to_owned()
        }
        hosts => panic!("an embedded server has one unix socket, not {hosts:?}"),
    }
}

fn muster(server: &Server, connections: usize, rows: usize, directory: &Path) -> Figures {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut coordinator = coordinator();
    coordinator.args(["run", "--agents", "1", "--listen", &address, "--database-url", server.url()]);
    coordinator.args([
        "--placement",
        "balanced",
        "--no-run-dir",
        "--allow-void",
        "--quiet",
        "--output",
        "json",
        "--query",
    ]);
    coordinator.arg(directory.join("muster.sql")).arg(directory.join("rows.csv")).stdout(Stdio::piped());
    let mut agent = command(agent_binary());
    agent.args(["--once", "--coordinator", &address, "--workers", &connections.to_string()]);
    let (coordinator, agent) = (started(&mut coordinator), started(agent.stdout(Stdio::null())));
    let Ended { cpu, .. } = end(agent);
    let report: RunResult = serde_json::from_str(&end(coordinator).stdout).unwrap();
    assert_eq!(report.queries.completed, rows as u64);
    let median_us = report.service_time_ms.as_ref().unwrap().median * 1e3;
    Figures { queries_per_s: report.throughput_qps, cpu_us_per_query: per_query(cpu, rows), median_us }
}

fn started(command: &mut Command) -> Child {
    command.stderr(Stdio::null()).spawn().unwrap()
}
