//! Values as JSON: a result with schema `muster.result/v1`, a comparison with `muster.compare/v1`. It contains every figure, with times in
//! milliseconds, for use by programs.

use serde::Serialize;

pub fn render(value: &impl Serialize) -> String {
    let json = serde_json::to_string_pretty(value)
        .expect("a result contains only numbers, strings, lists and maps with string keys");
    json + "\n"
}

#[cfg(test)]
mod tests {
    use crate::fixtures;

    #[test]
    fn json_of_a_small_result() {
        insta::assert_snapshot!(super::render(&fixtures::small()), @r#"
        {
          "schema": "muster.result/v1",
          "run_id": "20261123-7f3a",
          "started_at": "2026-11-23T10:00:00Z",
          "ending": "completed",
          "verdict": {
            "status": "DEGRADED",
            "reasons": [
              "slot-1 was lost and not replaced; keep its machine running, or use --on-agent-loss reassign"
            ],
            "causes": [
              "agent_lost"
            ]
          },
          "notes": [],
          "workload": {
            "file": "data/query_params.csv",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "rows": 200,
            "hosts": 10,
            "skipped": 0
          },
          "queries": {
            "total": 200,
            "completed": 0,
            "failed": 197,
            "unaccounted": 3,
            "retried": 0,
            "duplicates": 0,
            "stale": 0,
            "quarantined_rows": [],
            "unaccounted_rows": [
              [
                7,
                9
              ]
            ]
          },
          "result": {
            "rows": 0,
            "bytes": 0,
            "digest": "0000000000000000"
          },
          "total_processing_time_ms": 0.0,
          "wall_time_ms": 312.2,
          "throughput_qps": 0.0,
          "load": {
            "model": "closed",
            "rate": null,
            "arrivals": null,
            "scheduled_qps": null,
            "achieved_qps": null,
            "think_time_ms": 0.0,
            "warmup": null,
            "repeat": 1,
            "duration_ms": null,
            "due": null,
            "not_begun": null,
            "seed": 0
          },
          "passes": null,
          "early_executions": null,
          "statements": [],
          "search": null,
          "service_time_ms": {
            "count": 0,
            "min": null,
            "median": null,
            "mean": null,
            "max": null,
            "stddev": null,
            "p90": null,
            "p95": null,
            "p99": null,
            "p99_9": null,
            "median_ci": null,
            "p90_ci": null,
            "p95_ci": null,
            "p99_ci": null,
            "p99_9_ci": null
          },
          "response_time_ms": {
            "count": 0,
            "min": null,
            "median": null,
            "mean": null,
            "max": null,
            "stddev": null,
            "p90": null,
            "p95": null,
            "p99": null,
            "p99_9": null,
            "median_ci": null,
            "p90_ci": null,
            "p95_ci": null,
            "p99_ci": null,
            "p99_9_ci": null
          },
          "lag_ms": {
            "count": 0,
            "min": null,
            "median": null,
            "mean": null,
            "max": null,
            "stddev": null,
            "p90": null,
            "p95": null,
            "p99": null,
            "p99_9": null,
            "median_ci": null,
            "p90_ci": null,
            "p95_ci": null,
            "p99_ci": null,
            "p99_9_ci": null
          },
          "queueing_ms": {
            "count": 0,
            "min": null,
            "median": null,
            "mean": null,
            "max": null,
            "stddev": null,
            "p90": null,
            "p95": null,
            "p99": null,
            "p99_9": null,
            "median_ci": null,
            "p90_ci": null,
            "p95_ci": null,
            "p99_ci": null,
            "p99_9_ci": null
          },
          "generator_delay_ms": {
            "count": 0,
            "min": null,
            "median": null,
            "mean": null,
            "max": null,
            "stddev": null,
            "p90": null,
            "p95": null,
            "p99": null,
            "p99_9": null,
            "median_ci": null,
            "p90_ci": null,
            "p95_ci": null,
            "p99_ci": null,
            "p99_9_ci": null
          },
          "utilization": null,
          "connect_ms": {
            "count": 2,
            "min": 0.824,
            "median": 6.42,
            "mean": 10.404,
            "max": 25.0,
            "stddev": 4.5,
            "p90": null,
            "p95": null,
            "p99": null,
            "p99_9": null,
            "median_ci": null,
            "p90_ci": null,
            "p95_ci": null,
            "p99_ci": null,
            "p99_9_ci": null
          },
          "prepare_ms": null,
          "start_skew_ms": 0.412,
          "agents": [
            {
              "slot": "slot-0",
              "name": "db1/4711",
              "version": "0.1.0",
              "workers": 1,
              "hosts": 5,
              "queries": 100,
              "completed": 0,
              "failed": 100,
              "service_time_ms": null,
              "lost": null,
              "hosts_at_end": 5,
              "sessions": [
                {
                  "epoch": 1,
                  "name": "db1/4711",
                  "lost": null
                }
              ],
              "health": null
            }
          ],
          "workers": [
            {
              "worker": "slot-0/0",
              "hosts": 5,
              "queries": 100,
              "completed": 0,
              "failed": 100,
              "busy_ms": 0.0,
              "generator_overhead_ms": 12.5,
              "service_time_ms": null
            }
          ],
          "hosts": [
            {
              "host": "host_000000",
              "worker": "slot-0/0",
              "completed": 0,
              "failed": 20,
              "mean_ms": null,
              "max_ms": null
            }
          ],
          "errors": [
            {
              "sqlstate": "42P01",
              "count": 200,
              "message": "relation \"cpu_usage\" does not exist",
              "detail": null,
              "hint": null,
              "row": 0,
              "host": "host_000008"
            }
          ],
          "placement": {
            "method": "rendezvous",
            "workers": 2,
            "idle": 0,
            "skew": 1.2
          },
          "versus": null,
          "events": [
            {
              "at_ms": 12.0,
              "run_ms": null,
              "what": "slot-0 joined: db1/4711, 1 worker"
            }
          ],
          "series": [],
          "distributions": null,
          "thresholds": [
            {
              "expression": "p95 < 10 ms",
              "value": 8.2,
              "passed": true,
              "unit": "ms",
              "note": null
            },
            {
              "expression": "failed = 0",
              "value": 13.0,
              "passed": false,
              "unit": "queries",
              "note": null
            }
          ],
          "query": {
            "name": "default",
            "sql": "SELECT time_bucket('1 minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage WHERE host = $1",
            "protocol": "prepared",
            "results": {
              "format": "binary",
              "reason": "default"
            },
            "bucket_function": "date_bin"
          },
          "database": {
            "server_version": "15.8",
            "timescaledb": null,
            "embedded": "PostgreSQL 15.8 from /usr/lib/postgresql/15/bin",
            "settings": {},
            "identity": null,
            "other_identities": [],
            "reconnects": {
              "count": 0,
              "outage_max_ms": null,
              "disconnected": 0
            }
          },
          "tool": {
            "version": "0.1.0",
            "command": "coordinator run data/query_params.csv --agents 2"
          },
          "coordinator_health": null,
          "server": null
        }
        "#);
    }
}
