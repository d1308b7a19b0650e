//! Snapshots of the text report for every way in which a run can end.

use crate::{Format, fixtures, render};

/// Returns the lines from the one that starts with `title` up to the next empty line.
fn section(text: &str, title: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with(title))
        .take_while(|line| !line.is_empty())
        .collect();
    lines.join("\n")
}

#[test]
fn a_good_run() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::good()), @r"
    VALID   run 20261123-7f3a · started 2026-11-23T10:00:00Z

    workload               data/query_params.csv · 200 rows · 10 hosts
                           sha256 9f86d081884c
    load                   closed loop
    queries                200 total · 200 completed · 0 failed · 0 unaccounted
    total processing time  1.04 s
    wall time              312 ms · 641 queries/s · start skew 412 µs
    result                 12,162 rows · 291,888 bytes · digest 0123456789abcdef
    connect                2 connections · median 6.42 ms · max 25.0 ms
    prepare                2 connections · median 321 µs · max 1.25 ms

    LATENCY of 200 queries
              service  95 % interval
      min      412 µs
      median  3.21 ms  3.05–3.40 ms
      mean    5.20 ms
      max     12.5 ms
      stddev  2.25 ms
      p90     7.10 ms  6.80–7.60 ms
      p95     8.20 ms  7.50–9.10 ms
      p99           –  (needs 459 queries)
      p99.9         –  (needs 4,603 queries)

    placement              rendezvous · 2 workers · 0 idle · skew 1.20×

    AGENTS
      slot    name      hosts  queries  failed   median      p95      max
      slot-0  db1/4711      5      100       0  3.21 ms  8.20 ms  12.5 ms
      slot-1  db2/4712      5      100       0  6.42 ms  16.4 ms  25.0 ms

    HOSTS
      host         worker    completed  failed     mean      max
      host_000000  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000001  slot-1/0         20       0  9.00 ms  12.5 ms
      host_000002  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000003  slot-1/0         20       0  9.00 ms  12.5 ms
      host_000004  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000005  slot-1/0         20       0  8.99 ms  12.5 ms
      host_000006  slot-0/0         20       0  8.99 ms  12.5 ms
      host_000007  slot-1/0         20       0  8.99 ms  12.5 ms
      host_000008  slot-0/0         20       0  8.99 ms  12.5 ms
      host_000009  slot-1/0         20       0  8.99 ms  12.5 ms

    EVENTS   time since the coordinator started to listen
         0.012 s  slot-0 joined: db1/4711, 1 worker
         0.035 s  slot-1 joined: db2/4712, 1 worker
         1.234 s  armed: 2 agents start together

    database               PostgreSQL 16.4 · TimescaleDB 2.17.1
    settings               jit=on · shared_buffers=128MB · work_mem=4MB
    query                  default · prepared protocol · binary results
                           buckets by time_bucket
    muster                 0.1.0
    command                coordinator run data/query_params.csv --agents 2
    ");
}

#[test]
fn a_run_with_failures() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::failures()), @r#"
    VALID   run 20261123-7f3a · started 2026-11-23T10:00:00Z
    NOTE   slot-1 (db2/4712) takes 2.00× as long as the other agents, median 6.42 ms
           against 3.21 ms: its machine or network may be slow, or its hosts cost
           more

    workload               data/query_params.csv · 200 rows · 10 hosts
                           sha256 9f86d081884c
    load                   closed loop
    queries                200 total · 187 completed · 13 failed · 0 unaccounted
                           3 bad rows skipped
    total processing time  1.04 s
    wall time              312 ms · 641 queries/s · start skew 412 µs
    result                 12,162 rows · 291,888 bytes · digest 0123456789abcdef
    connect                2 connections · median 6.42 ms · max 25.0 ms
    prepare                2 connections · median 321 µs · max 1.25 ms

    LATENCY of 187 queries
              service  95 % interval
      min      412 µs
      median  3.21 ms  3.05–3.40 ms
      mean    5.20 ms
      max     12.5 ms
      stddev  2.25 ms
      p90     7.10 ms  6.80–7.60 ms
      p95     8.20 ms  7.50–9.10 ms
      p99           –  (needs 459 queries)
      p99.9         –  (needs 4,603 queries)

    THRESHOLDS
      passed  p95 < 10 ms (is 8.20 ms)
      MISSED  failed = 0 (is 13 queries)

    placement              rendezvous · 4 workers · 1 idle · skew 2.90×
                           uneven: too few hosts for even hashing
                           try --placement balanced

    AGENTS
      slot    name      workers  hosts  queries  failed   median      p95      max
      slot-0  db1/4711        2      5      100       6  3.21 ms  8.20 ms  12.5 ms
      slot-1  db2/4712        2      5      100       6  3.21 ms  8.20 ms  12.5 ms

    WORKERS
      worker    hosts  queries  failed    busy   median  p95      max
      slot-0/0      5      100       0  520 ms  3.21 ms    –  12.5 ms
      slot-0/1      5      100       0  520 ms  3.21 ms    –  12.5 ms
      slot-1/0      5      100       0  521 ms  3.21 ms    –  12.5 ms
      slot-1/1      5      100       0  521 ms  3.21 ms    –  12.5 ms

    HOSTS
      host         worker    completed  failed     mean      max
      host_000000  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000001  slot-1/0         20       0  9.00 ms  12.5 ms
      host_000002  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000003  slot-1/0         20       0  9.00 ms  12.5 ms
      host_000004  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000005  slot-1/0         20       0  8.99 ms  12.5 ms
      host_000006  slot-0/0         20       0  8.99 ms  12.5 ms
      host_000007  slot-1/0         20       0  8.99 ms  12.5 ms
      host_000008  slot-0/0         20       0  8.99 ms  12.5 ms
      host_000009  slot-1/0         20       0  8.99 ms  12.5 ms

    ERRORS   by SQLSTATE and message; row ids count from 0
      22007   12 queries · e.g. row 17 of host host_000008
              invalid input syntax for type timestamp with time zone: "yester|day"
      57014   1 query · e.g. row 199 of host host_000008
              canceling statement due to statement timeout

    EVENTS   time since the coordinator started to listen
         0.012 s  slot-0 joined: db1/4711, 1 worker
         0.035 s  slot-1 joined: db2/4712, 1 worker
         1.234 s  armed: 2 agents start together

    database               PostgreSQL 16.4 · TimescaleDB 2.17.1
    settings               jit=on · shared_buffers=128MB · work_mem=4MB
    query                  default · prepared protocol · binary results
                           buckets by time_bucket
    muster                 0.1.0
    command                coordinator run data/query_params.csv --agents 2
    "#);
}

#[test]
fn a_run_that_lost_an_agent() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::agent_lost()), @r"
    DEGRADED   run 20261123-7f3a · started 2026-11-23T10:00:00Z
      - slot-1 was lost and not replaced; keep its machine running, or use
        --on-agent-loss reassign
    PARTIAL   agents were lost: 50 of 200 queries have no result

    workload               data/query_params.csv · 200 rows · 10 hosts
                           sha256 9f86d081884c
    load                   closed loop
    queries                200 total · 150 completed · 0 failed · 50 unaccounted
                           4 retried
    total processing time  1.04 s
    wall time              312 ms · 641 queries/s · start skew 412 µs
    result                 12,162 rows · 291,888 bytes · digest 0123456789abcdef
    connect                2 connections · median 6.42 ms · max 25.0 ms
    prepare                2 connections · median 321 µs · max 1.25 ms

    LATENCY of 146 of 150 completed queries
              service  95 % interval
      min      412 µs
      median  3.21 ms  3.05–3.40 ms
      mean    5.20 ms
      max     12.5 ms
      stddev  2.25 ms
      p90     7.10 ms  6.80–7.60 ms
      p95     8.20 ms  7.50–9.10 ms
      p99           –  (needs 459 queries)
      p99.9         –  (needs 4,603 queries)

    placement              rendezvous · 2 workers · 0 idle · skew 1.20×

    AGENTS
      slot    name      hosts  queries  failed   median      p95      max
      slot-0  db1/4711      5      100       0  3.21 ms  8.20 ms  12.5 ms
      slot-1  db2/4712      5      100       0  6.42 ms  16.4 ms  25.0 ms
      slot-1 lost: no heartbeat for 3.3 s

    HOSTS
      host         worker    completed  failed     mean      max
      host_000000  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000001  slot-1/0         20       0  9.00 ms  12.5 ms
      host_000002  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000003  slot-1/0         20       0  9.00 ms  12.5 ms
      host_000004  slot-0/0         20       0  9.00 ms  12.5 ms
      host_000005  slot-1/0         20       0  8.99 ms  12.5 ms
      host_000006  slot-0/0         20       0  8.99 ms  12.5 ms
      host_000007  slot-1/0         20       0  8.99 ms  12.5 ms
      host_000008  slot-0/0         20       0  8.99 ms  12.5 ms
      host_000009  slot-1/0         20       0  8.99 ms  12.5 ms

    UNACCOUNTED   50 rows; row ids count from 0
      100-139, 150, 190-198

    EVENTS   time since the coordinator started to listen
         0.012 s  slot-0 joined: db1/4711, 1 worker
         0.035 s  slot-1 joined: db2/4712, 1 worker
         1.234 s  armed: 2 agents start together

    database               PostgreSQL 16.4 · TimescaleDB 2.17.1
    settings               jit=on · shared_buffers=128MB · work_mem=4MB
    query                  default · prepared protocol · binary results
                           buckets by time_bucket
    muster                 0.1.0
    command                coordinator run data/query_params.csv --agents 2
    ");
}

#[test]
fn a_run_in_which_every_query_failed() {
    insta::assert_snapshot!(render(Format::Text, &fixtures::all_failed()), @r#"
    VALID   run 20261123-7f3a · started 2026-11-23T10:00:00Z

    workload               data/query_params.csv · 200 rows · 10 hosts
                           sha256 9f86d081884c
    load                   closed loop
    queries                200 total · 0 completed · 200 failed · 0 unaccounted
    total processing time  0 µs
    wall time              312 ms · 0 queries/s · start skew 412 µs
    result                 0 rows · 0 bytes · digest 0000000000000000
    connect                2 connections · median 6.42 ms · max 25.0 ms
    prepare                2 connections · median 321 µs · max 1.25 ms

    LATENCY   none: no query completed

    placement              rendezvous · 2 workers · 0 idle · skew 1.20×

    AGENTS
      slot    name      hosts  queries  failed  median  p95  max
      slot-0  db1/4711      5      100     100       –    –    –
      slot-1  db2/4712      5      100     100       –    –    –

    ERRORS   by SQLSTATE and message; row ids count from 0
      42P01   200 queries · e.g. row 0 of host host_000008
              relation "cpu_usage" does not exist

    EVENTS   time since the coordinator started to listen
         0.012 s  slot-0 joined: db1/4711, 1 worker
         0.035 s  slot-1 joined: db2/4712, 1 worker
         1.234 s  armed: 2 agents start together

    database               PostgreSQL 15.8 · without TimescaleDB
                           embedded: PostgreSQL 15.8 from /usr/lib/postgresql/15/bin
    query                  default · prepared protocol · binary results
                           buckets by date_bin
    muster                 0.1.0
    command                coordinator run data/query_params.csv --agents 2
    "#);
}

#[test]
fn an_open_loop_shows_response_time_and_both_parts_of_lag() {
    let text = render(Format::Text, &fixtures::open_loop());
    insta::assert_snapshot!(section(&text, "LATENCY"), @r"
    LATENCY of 5,000 queries
              service  95 % interval  response  95 % interval  queueing  gen. delay
      min      412 µs                   124 ms                   122 ms     1.24 ms
      median  3.21 ms  3.05–3.40 ms     963 ms  915 ms–1.02 s    950 ms     9.63 ms
      mean    5.20 ms                  1.56 s                   1.54 s      15.6 ms
      max     12.5 ms                  3.75 s                   3.70 s      37.5 ms
      stddev  2.25 ms                   675 ms                   666 ms     6.75 ms
      p90     7.10 ms  6.80–7.60 ms    2.13 s   2.04–2.28 s     2.10 s      21.3 ms
      p95     8.20 ms  7.50–9.10 ms    2.46 s   2.25–2.73 s     2.43 s      24.6 ms
      p99     9.80 ms  9.00–10.9 ms    2.94 s   2.70–3.27 s     2.90 s      29.4 ms
      p99.9   11.0 ms  10.4–12.5 ms    3.30 s   3.12–3.75 s     3.26 s      33.0 ms
    ");
}

#[test]
fn of_a_thousand_agents_the_slowest_are_listed() {
    let text = render(Format::Text, &fixtures::thousand_agents());
    insta::assert_snapshot!(section(&text, "AGENTS"), @r"
    AGENTS   the 20 slowest by mean of 1,000 (in the JSON: all)
      slot      name         hosts  queries  failed   median      p95      max
      slot-999  db1000/5710      5      100       0  3.21 s   8.20 s   12.5 s
      slot-998  db999/5709       5      100       0  3.21 s   8.19 s   12.5 s
      slot-997  db998/5708       5      100       0  3.20 s   8.18 s   12.5 s
      slot-996  db997/5707       5      100       0  3.20 s   8.18 s   12.5 s
      slot-995  db996/5706       5      100       0  3.20 s   8.17 s   12.4 s
      slot-994  db995/5705       5      100       0  3.19 s   8.16 s   12.4 s
      slot-993  db994/5704       5      100       0  3.19 s   8.15 s   12.4 s
      slot-992  db993/5703       5      100       0  3.19 s   8.14 s   12.4 s
      slot-991  db992/5702       5      100       0  3.18 s   8.13 s   12.4 s
      slot-990  db991/5701       5      100       0  3.18 s   8.13 s   12.4 s
      slot-989  db990/5700       5      100       0  3.18 s   8.12 s   12.4 s
      slot-988  db989/5699       5      100       0  3.17 s   8.11 s   12.4 s
      slot-987  db988/5698       5      100       0  3.17 s   8.10 s   12.3 s
      slot-986  db987/5697       5      100       0  3.17 s   8.09 s   12.3 s
      slot-985  db986/5696       5      100       0  3.17 s   8.09 s   12.3 s
      slot-984  db985/5695       5      100       0  3.16 s   8.08 s   12.3 s
      slot-983  db984/5694       5      100       0  3.16 s   8.07 s   12.3 s
      slot-982  db983/5693       5      100       0  3.16 s   8.06 s   12.3 s
      slot-981  db982/5692       5      100       0  3.15 s   8.05 s   12.3 s
      slot-980  db981/5691       5      100       0  3.15 s   8.04 s   12.3 s
    ");
    assert_eq!(
        section(&text, "HOSTS").lines().next().unwrap(),
        "HOSTS   the 10 slowest by mean of 25,000 (in the JSON: 1,000)"
    );
    assert_eq!(section(&text, "EVENTS").lines().count(), 21);
}

#[test]
fn a_run_that_never_started_is_reported_as_such() {
    let mut result = fixtures::all_failed();
    result.started_at = None;
    result.database = None;
    result.ending = crate::result::Ending::Interrupted;
    result.agents.clear();
    let text = render(Format::Text, &result);
    assert!(
        text.starts_with("VALID   run 20261123-7f3a · never started\nPARTIAL   the run was interrupted: "),
        "{text}"
    );
    assert!(text.contains("database               not reached by any agent"), "{text}");
    assert!(!text.contains("AGENTS"), "{text}");
}

#[test]
fn the_load_generator_has_a_line_and_if_unhealthy_a_table() {
    let unhealthy = fixtures::unhealthy();
    let text = render(Format::Text, &unhealthy);
    insta::assert_snapshot!(section(&text, "load generator"), @r"
    load generator         agents' CPU 93 % · scheduling delay p99 61.4 ms
                           starved 5.5 % · coordinator 12 %
                           not available on every agent: steal
    ");
    insta::assert_snapshot!(section(&text, "GENERATOR"), @r"
    GENERATOR
                                                         sched.      max
      slot              CPU  machine  steal  throttled    delay    delay  starved
      slot-0 … slot-1  12 %     97 %  0.1 %      0.0 %   480 µs  2.10 ms    0.0 %
      slot-2           93 %     97 %      –       31 %  61.4 ms  1.00 s     5.5 %
      coordinator's event loop: delay p99 480 µs, max 2.10 ms
    ");
    let mut healthy = unhealthy;
    (healthy.verdict, healthy.agents[2].health) = (fixtures::good().verdict, None);
    let text = render(Format::Text, &healthy);
    insta::assert_snapshot!(section(&text, "load generator"), @r"
    load generator         agents' CPU 12 % · scheduling delay p99 480 µs
                           starved 0.0 % · coordinator 12 %
    ");
    assert!(!text.contains("GENERATOR"), "{text}");
    assert!(
        !render(Format::Text, &fixtures::good()).contains("load generator"),
        "no agent reported its health"
    );
}
