//! Results for the tests of every format, one for each way in which a run can end.

pub mod comparisons;
mod parts;
mod plots;
mod search;
mod server;

use crate::result::*;

pub use plots::{Plotted, with_plots};
pub use search::{search, search_without_rate};
pub use server::server_side;

use parts::{accounting, agent, error, event, health, host, latency, threshold, worker};

/// A valid closed loop over ten hosts, with too few queries for p99.
pub fn good() -> RunResult {
    RunResult {
        schema: SCHEMA.to_owned(),
        run_id: "20261123-7f3a".to_owned(),
        started_at: Some("2026-11-23T10:00:00Z".to_owned()),
        ending: Ending::Completed,
        verdict: Verdict { status: VerdictStatus::Valid, reasons: Vec::new(), causes: Vec::new() },
        notes: Vec::new(),
        workload: Workload {
            file: "data/query_params.csv".to_owned(),
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
            rows: 200,
            hosts: 10,
            skipped: 0,
        },
        queries: accounting(200, 200, 0, &[]),
        result: Answers { rows: 12_162, bytes: 291_888, digest: "0123456789abcdef".to_owned() },
        total_processing_time_ms: 1_040.4,
        wall_time_ms: 312.2,
        throughput_qps: 640.6,
        load: Load { repeat: Some(1), ..Load::default() },
        search: None,
        early_executions: None,
        passes: None,
        statements: Vec::new(),
        versus: None,
        service_time_ms: Some(latency(200, 1.0)),
        response_time_ms: Some(latency(200, 1.0)),
        lag_ms: Some(Latency {
            min: 0.0,
            median: 0.0,
            mean: 0.0,
            max: 0.0,
            stddev: Some(0.0),
            p90: Some(0.0),
            p95: Some(0.0),
            intervals: Intervals::default(),
            ..latency(200, 1.0)
        }),
        queueing_ms: None,
        generator_delay_ms: None,
        utilization: None,
        connect_ms: Some(latency(2, 2.0)),
        prepare_ms: Some(latency(2, 0.1)),
        start_skew_ms: Some(0.412),
        agents: (0..2).map(|slot| agent(slot, 1.0 + f64::from(slot))).collect(),
        workers: (0..2).map(|slot| worker(slot, 0)).collect(),
        hosts: (0..10).map(host).collect(),
        errors: Vec::new(),
        placement: Placement { method: "rendezvous".to_owned(), workers: 2, idle: 0, skew: 1.2 },
        series: Vec::new(),
        distributions: None,
        events: vec![
            event(12.0, "slot-0 joined: db1/4711, 1 worker"),
            event(34.5, "slot-1 joined: db2/4712, 1 worker"),
            event(1_234.0, "armed: 2 agents start together"),
        ],
        thresholds: Vec::new(),
        query: Query {
            name: "default".to_owned(),
            sql: "SELECT time_bucket('1 minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage WHERE host = $1".to_owned(),
            protocol: "prepared".to_owned(),
            results: Some(ResultFormat { format: "binary".to_owned(), reason: "default".to_owned() }),
            bucket_function: Some("time_bucket".to_owned()),
        },
        database: Some(Database {
            server_version: "16.4".to_owned(),
            timescaledb: Some("2.17.1".to_owned()),
            embedded: None,
            settings: [("jit", "on"), ("shared_buffers", "128MB"), ("work_mem", "4MB")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            identity: None,
            other_identities: Vec::new(),
            reconnects: Reconnects::default(),
        }),
        tool: Tool {
            version: "0.1.0".to_owned(),
            command: "coordinator run data/query_params.csv --agents 2".to_owned(),
        },
        coordinator_health: None,
        server: None,
    }
}

/// Some queries failed, bad rows were skipped and a threshold was missed; agents have several workers, and the placement is uneven.
pub fn failures() -> RunResult {
    RunResult {
        workload: Workload { skipped: 3, ..good().workload },
        queries: accounting(200, 187, 13, &[]),
        service_time_ms: Some(latency(187, 1.0)),
        errors: vec![
            error("57014", 1, "canceling statement due to statement timeout", 199),
            error("22007", 12, "invalid input syntax for type timestamp with time zone: \"yester|day\"", 17),
        ],
        agents: (0..2).map(|slot| Agent { workers: 2, completed: 94, failed: 6, ..agent(slot, 1.0) }).collect(),
        workers: (0..4).map(|i| worker(i / 2, i % 2)).collect(),
        placement: Placement { method: "rendezvous".to_owned(), workers: 4, idle: 1, skew: 2.9 },
        notes: vec![
            "slot-1 (db2/4712) takes 2.00× as long as the other agents, median 6.42 ms against 3.21 ms: its machine or network may be slow, or its hosts cost more".to_owned(),
        ],
        thresholds: vec![
            threshold("p95 < 10 ms", Some(8.2), "ms", None),
            Threshold { passed: false, ..threshold("failed = 0", Some(13.0), "queries", None) },
        ],
        ..good()
    }
}

/// An agent was lost, and its rows have no result.
pub fn agent_lost() -> RunResult {
    let mut agents = good().agents;
    agents[1].lost = Some("no heartbeat for 3.3 s".to_owned());
    RunResult {
        ending: Ending::AgentsLost,
        service_time_ms: Some(latency(146, 1.0)),
        verdict: Verdict {
            status: VerdictStatus::Degraded,
            reasons: vec![
                "slot-1 was lost and not replaced; keep its machine running, or use --on-agent-loss reassign"
                    .to_owned(),
            ],
            causes: vec![Cause::AgentLost],
        },
        queries: Queries { retried: 4, ..accounting(200, 150, 0, &[[100, 139], [150, 150], [190, 198]]) },
        agents,
        ..good()
    }
}

/// Every query failed, so there are no latencies; an embedded server without TimescaleDB.
pub fn all_failed() -> RunResult {
    RunResult {
        queries: accounting(200, 0, 200, &[]),
        result: Answers { rows: 0, bytes: 0, digest: "0000000000000000".to_owned() },
        total_processing_time_ms: 0.0,
        throughput_qps: 0.0,
        service_time_ms: None,
        response_time_ms: None,
        lag_ms: None,
        queueing_ms: None,
        generator_delay_ms: None,
        utilization: None,
        agents: good()
            .agents
            .into_iter()
            .map(|agent| Agent { completed: 0, failed: 100, service_time_ms: None, ..agent })
            .collect(),
        workers: good()
            .workers
            .into_iter()
            .map(|worker| Worker { completed: 0, failed: 100, busy_ms: 0.0, service_time_ms: None, ..worker })
            .collect(),
        hosts: good()
            .hosts
            .into_iter()
            .map(|host| Host { completed: 0, failed: 20, mean_ms: None, max_ms: None, ..host })
            .collect(),
        errors: vec![error("42P01", 200, "relation \"cpu_usage\" does not exist", 0)],
        query: Query { bucket_function: Some("date_bin".to_owned()), ..good().query },
        database: Some(Database {
            timescaledb: None,
            embedded: Some("PostgreSQL 15.8 from /usr/lib/postgresql/15/bin".to_owned()),
            settings: std::collections::BTreeMap::new(),
            server_version: "15.8".to_owned(),
            identity: None,
            other_identities: Vec::new(),
            reconnects: Reconnects::default(),
        }),
        ..good()
    }
}

/// An open loop whose load generator could not keep up: response time and lag show delays that the service time does not contain.
pub fn open_loop() -> RunResult {
    RunResult {
        verdict: Verdict {
            status: VerdictStatus::Void,
            reasons: vec!["the generator delay is 9.80 ms (p99), above the limit of 1.00 ms".to_owned()],
            causes: vec![Cause::Lag],
        },
        queries: accounting(5_000, 5_000, 0, &[]),
        workload: Workload { rows: 5_000, ..good().workload },
        service_time_ms: Some(latency(5_000, 1.0)),
        response_time_ms: Some(latency(5_000, 300.0)),
        lag_ms: Some(latency(5_000, 299.0)),
        queueing_ms: Some(latency(5_000, 296.0)),
        generator_delay_ms: Some(latency(5_000, 3.0)),
        ..good()
    }
}

/// The largest allowed number of agents: tables and events are truncated.
pub fn thousand_agents() -> RunResult {
    RunResult {
        agents: (0..1_000).map(|slot| agent(slot, 1.0 + f64::from(slot))).collect(),
        workers: (0..1_000).map(|slot| worker(slot, 0)).collect(),
        hosts: (0..1_000).map(host).collect(),
        workload: Workload { hosts: 25_000, ..good().workload },
        placement: Placement { method: "balanced".to_owned(), workers: 1_000, idle: 0, skew: 1.25 },
        events: (0..1_000)
            .map(|i| event(f64::from(i) * 10.0, &format!("slot-{i} joined: db{i}/4711, 1 worker")))
            .collect(),
        ..good()
    }
}

/// External texts are long or contain control characters and markup, and numbers are large.
pub fn hostile() -> RunResult {
    let long = "averylongname-".repeat(20);
    hostile_with(&format!("a|b`c\u{1b}[31m\nnext line\u{202e}<img src=x>{long}"))
}

/// A result with this text in every place that can contain external text.
pub fn hostile_with(nasty: &str) -> RunResult {
    let long = "averylongname-".repeat(20);
    let nasty = nasty.to_owned();
    let mut result = agent_lost();
    result.run_id = long.clone();
    result.verdict.reasons = vec![nasty.clone(), "many words ".repeat(200)];
    result.notes = result.verdict.reasons.clone();
    result.workload.file = format!("/data/{nasty}.csv");
    result.workload.rows = u64::MAX;
    result.queries = Queries { retried: u64::MAX, ..accounting(u64::MAX, u64::MAX, u64::MAX, &[]) };
    result.queries.unaccounted = u64::MAX;
    result.queries.unaccounted_rows =
        (0..1_000).map(|i| [u64::MAX - 10 * i - 4, u64::MAX - 10 * i]).collect();
    result.result.bytes = u64::MAX;
    for agent in &mut result.agents {
        agent.name = nasty.clone();
        (agent.completed, agent.failed) = (4_294_967_295, 0);
        agent.workers = 512;
        agent.lost = Some(nasty.clone());
    }
    for host in &mut result.hosts {
        host.host = nasty.clone();
    }
    result.errors = (0..30)
        .map(|row| Error { host: nasty.clone(), ..error("XX000", u64::MAX, &nasty.repeat(3), row) })
        .collect();
    result.events = vec![event(1e12, &nasty)];
    result.thresholds = vec![Threshold { passed: false, ..threshold(&nasty, None, "ms", Some(&nasty)) }];
    result.query.name = nasty.clone();
    result.tool.command = nasty.clone();
    result.placement.method = nasty.clone();
    let database = result.database.as_mut().unwrap();
    database.embedded = Some(nasty.clone());
    database.settings.insert("search_path".to_owned(), nasty);
    result
}

/// A result with one agent and one host, short enough for a snapshot of its JSON.
pub fn small() -> RunResult {
    let mut result = all_failed();
    result.agents.truncate(1);
    result.workers.truncate(1);
    result.hosts.truncate(1);
    result.events.truncate(1);
    result.queries.unaccounted_rows = vec![[7, 9]];
    result.queries.unaccounted = 3;
    result.queries.failed = 197;
    result.verdict = agent_lost().verdict;
    result.thresholds = failures().thresholds;
    result.prepare_ms = None;
    result
}

/// All fixtures with their names.
pub fn all() -> [(&'static str, RunResult); 11] {
    [
        ("good", good()),
        ("failures", failures()),
        ("agent_lost", agent_lost()),
        ("all_failed", all_failed()),
        ("open_loop", open_loop()),
        ("search", search()),
        ("search_without_rate", search_without_rate()),
        ("server_side", server_side()),
        ("thousand_agents", thousand_agents()),
        ("hostile", hostile()),
        ("unhealthy", unhealthy()),
    ]
}

/// Agents of two processes that reported their health. The second was throttled, and its system does not provide every figure.
pub fn unhealthy() -> RunResult {
    let mut agents: Vec<Agent> = (0..3).map(|slot| agent(slot, 1.0)).collect();
    agents[1].name = agents[0].name.clone();
    for agent in &mut agents {
        agent.health = Some(health());
    }
    let health_of_last = agents[2].health.as_mut().unwrap();
    health_of_last.process.cpu_share = Some(0.934);
    health_of_last.process.steal_share = None;
    health_of_last.process.throttled_share = Some(0.31);
    health_of_last.process.late_ms = Some(Late {
        median: 0.12,
        p90: Some(8.4),
        p95: Some(20.0),
        p99: Some(61.4),
        count: 2_000,
        max: 1_003.0,
    });
    (health_of_last.starved_times, health_of_last.starved_ms, health_of_last.starved_share) =
        (4, 30.5, 0.0554);
    RunResult {
        verdict: Verdict {
            status: VerdictStatus::Void,
            reasons: vec![
                "slot-2 was throttled by its CPU limit (2 processors) for 31 % of the time: raise the limit"
                    .to_owned(),
            ],
            causes: vec![Cause::AgentThrottled],
        },
        agents,
        coordinator_health: Some(health().process),
        ..good()
    }
}

/// Returns the part of a report from `title` up to `next`.
pub fn part(report: &str, title: &str, next: &str) -> String {
    let from = report.find(title).unwrap();
    let to = from + report[from..].find(next).unwrap();
    report[from..to].trim_end().to_owned()
}
