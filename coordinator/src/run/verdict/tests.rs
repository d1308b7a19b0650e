use muster_report::result::{AgentHealth, Late, RunQueue, WorkerShare};

use super::*;

fn latency(median: f64) -> Latency {
    Latency {
        count: 1_000,
        min: median / 2.0,
        median,
        mean: median,
        max: median * 3.0,
        stddev: Some(1.0),
        p90: Some(median * 1.2),
        p95: Some(median * 1.5),
        p99: Some(median * 2.0),
        p99_9: None,
        intervals: Intervals::default(),
    }
}

/// Ten uneventful seconds on two processors.
fn health() -> AgentHealth {
    let late = Late { count: 2_000, median: 0.1, p90: Some(0.2), p95: Some(0.3), p99: Some(0.5), max: 2.0 };
    AgentHealth {
        process: ProcessHealth {
            watched_ms: 10_000.0,
            cores: 2.0,
            cpu_share: Some(0.2),
            cpu_share_worst: Some(0.4),
            cpu_hot_ms: Some(0.0),
            machine_busy_share: Some(0.99),
            machine_busy_share_worst: Some(1.0),
            steal_share: Some(0.0),
            throttled_share: Some(0.0),
            late_ms: Some(late),
        },
        run_queue: Some(RunQueue { waited_ms: 60.0, turns: 2_000, in_flight_ms: 10_000.0, share: 0.006 }),
        starved_times: 0,
        starved_ms: 0.0,
        starved_share: 0.0,
        starved_worst: None,
        results_kept_max: 10,
        results_kept_bound: 100,
        round_trip_max_ms: 0.4,
    }
}

fn agent(slot: u16, change: impl FnOnce(&mut AgentHealth)) -> Agent {
    let mut health = health();
    change(&mut health);
    Agent {
        slot: format!("slot-{slot}"),
        name: format!("db{slot}/4711"),
        version: String::new(),
        workers: 1,
        hosts: 1,
        queries: 1_000,
        completed: 1_000,
        failed: 0,
        service_time_ms: Some(latency(10.0)),
        lost: None,
        hosts_at_end: 1,
        sessions: Vec::new(),
        health: Some(health),
    }
}

fn evidence(agents: &[Agent]) -> Evidence<'_> {
    Evidence {
        ending: Ending::Completed,
        resumed: 0,
        lost: Vec::new(),
        null_database_slots: Vec::new(),
        agents,
        coordinator: None,
        has_embedded_server: false,
        queries: [1_000, 0],
        servers: Vec::new(),
        broken: Broken::default(),
        service: None,
        generator_delay: None,
        overhead: None,
    }
}

/// The verdict on one healthy agent and one whose health is changed.
fn of_one(change: impl FnOnce(&mut AgentHealth)) -> Verdict {
    judge(&evidence(&[agent(0, |_| {}), agent(1, change)]))
}

#[track_caller]
fn check(verdict: &Verdict, status: VerdictStatus, cause: Cause, reason: &str) {
    assert_eq!((verdict.status, verdict.causes.as_slice()), (status, &[cause][..]), "{verdict:?}");
    assert_eq!(verdict.reasons, [reason]);
}

#[track_caller]
fn check_cause(verdict: &Verdict, cause: Cause, begin: &str) {
    assert_eq!(verdict.causes, [cause], "{verdict:?}");
    assert!(verdict.reasons[0].starts_with(begin), "{verdict:?}");
}

#[test]
fn a_busy_machine_alone_does_not_degrade_the_run() {
    assert_eq!(of_one(|_| {}), Verdict { status: VerdictStatus::Valid, reasons: vec![], causes: vec![] });
}

#[test]
fn an_agent_without_health_is_not_judged() {
    let mut silent = agent(0, |_| {});
    silent.health = None;
    assert_eq!(judge(&evidence(&[silent])).status, VerdictStatus::Valid);
}

#[test]
fn an_agent_that_uses_its_cpu_up_degrades_the_run() {
    let verdict = of_one(|health| health.process.cpu_share = Some(0.93));
    check(
        &verdict,
        VerdictStatus::Degraded,
        Cause::AgentBusy,
        "slot-1 used 93 % of its available CPU (2 processors): the times may include its own delays; add agents (about 1 more), or run \
         workers on other machines",
    );
    let hot = |health: &mut AgentHealth| {
        (health.process.cpu_share_worst, health.process.cpu_hot_ms) = (Some(0.97), Some(2_100.0));
    };
    let verdict = of_one(hot);
    assert!(
        verdict.reasons[0].contains("used 97 % of its available CPU (2 processors) at times"),
        "{verdict:?}"
    );
    let brief = of_one(|health| {
        (health.process.cpu_share_worst, health.process.cpu_hot_ms) = (Some(0.97), Some(1_900.0))
    });
    assert_eq!(brief.status, VerdictStatus::Valid);
}

#[test]
fn enough_additional_agents_are_recommended_to_lower_the_share() {
    let busy: Vec<Agent> =
        (0..10).map(|slot| agent(slot, |health| health.process.cpu_share = Some(0.9))).collect();
    let verdict = judge(&evidence(&busy));
    // 10 × 0.9 ÷ 0.7 = 12.9.
    assert!(verdict.reasons[0].starts_with("slot-0 (and 9 other agents) used 90 %"), "{verdict:?}");
    assert!(verdict.reasons[0].contains("about 3 more"), "{verdict:?}");
}

#[test]
fn a_quota_that_throttles_an_agent_voids_the_run() {
    let limited = |health: &mut AgentHealth| {
        (health.process.cores, health.process.throttled_share) = (0.25, Some(0.45));
        health.process.cpu_share = Some(0.99);
        health.process.late_ms.as_mut().unwrap().median = 40.0;
        (health.starved_ms, health.starved_share) = (900.0, 0.1);
    };
    let verdict = of_one(limited);
    check(
        &verdict,
        VerdictStatus::Void,
        Cause::AgentThrottled,
        "slot-1 was throttled by its CPU limit (0.25 processors) for 45 % of the time: its times reflect this limit; raise it, \
         or add agents with separate limits",
    );
    assert_eq!(of_one(|health| health.process.throttled_share = Some(0.009)).status, VerdictStatus::Valid);
    // The embedded server is in the same container and uses most of its CPU limit.
    let agents = [agent(0, limited)];
    let verdict = judge(&Evidence { has_embedded_server: true, ..evidence(&agents) });
    assert_eq!(verdict.status, VerdictStatus::Degraded);
}

#[test]
fn a_condition_that_affected_few_rows_does_not_void_the_run() {
    let throttled = |health: &mut AgentHealth| health.process.throttled_share = Some(0.45);
    let mut agents: Vec<Agent> = (0..3).map(|slot| agent(slot, |_| {})).collect();
    agents.push(Agent { completed: 20, ..agent(3, throttled) });
    assert_eq!(judge(&evidence(&agents)).status, VerdictStatus::Degraded);
    agents[3].completed = 100;
    assert_eq!(judge(&evidence(&agents)).status, VerdictStatus::Void);
}

#[test]
fn scheduling_delay_degrades_or_voids_the_run() {
    let delay = |median, p99| {
        move |health: &mut AgentHealth| {
            let late = Late { count: 2_000, median, p90: None, p95: None, p99: Some(p99), max: p99 };
            health.process.late_ms = Some(late);
        }
    };
    check(
        &of_one(delay(0.1, 6.0)),
        VerdictStatus::Degraded,
        Cause::AgentLate,
        "the scheduling delay of slot-1 was 6.00 ms (p99) where queries took 20.0 ms (p99): its times include waiting for a \
         processor; stop other processes on db1, whose processors were 99 % busy, or run agents elsewhere",
    );
    let verdict = of_one(delay(6.0, 19.0));
    assert_eq!((verdict.status, verdict.causes[0]), (VerdictStatus::Void, Cause::AgentLate));
    let expected = "was 6.00 ms (median) where queries took 10.0 ms (median): it did not run when it was due";
    assert!(verdict.reasons[0].contains(expected), "{verdict:?}");
    let agents = [agent(0, delay(0.1, 6.0))];
    let verdict = judge(&Evidence { has_embedded_server: true, ..evidence(&agents) });
    assert!(
        verdict.reasons[0].ends_with("use fewer agents, or a database on another machine"),
        "{verdict:?}"
    );
}

#[test]
fn waits_for_a_processor_degrade_or_void_the_run() {
    let waited = |share: f64, turns| {
        move |health: &mut AgentHealth| {
            health.run_queue = Some(RunQueue { waited_ms: share * 1e4, turns, in_flight_ms: 1e4, share });
        }
    };
    let check_status = |share, turns, expected| {
        let verdict = of_one(waited(share, turns));
        assert_eq!(verdict.status, expected, "{share} in {turns} turns: {verdict:?}");
    };
    check_status(0.09, 2_000, VerdictStatus::Valid);
    check_status(0.11, 2_000, VerdictStatus::Degraded);
    check_status(0.49, 2_000, VerdictStatus::Degraded);
    check_status(0.51, 2_000, VerdictStatus::Void);
    check_status(0.9, 499, VerdictStatus::Valid);
    check(
        &of_one(waited(0.34, 2_000)),
        VerdictStatus::Degraded,
        Cause::AgentWaited,
        "workers of slot-1 were ready to run and waited for a processor for 34 % of the time that their queries took: up to this \
         share of the times is this wait and not the database; stop other processes on db1, whose processors were 99 % busy, or run \
         agents elsewhere",
    );
    let void = of_one(waited(0.62, 2_000));
    assert!(
        void.reasons[0].contains("most of the times may be this wait and not the database; stop"),
        "{void:?}"
    );
    let busy_agent = of_one(|health| {
        waited(0.2, 2_000)(health);
        health.process.cpu_share = Some(0.75);
    });
    assert!(
        busy_agent.reasons[0].contains(
            "is this wait and not the database; run fewer workers there, stop other processes on db1"
        ),
        "{busy_agent:?}"
    );
    assert_eq!(
        of_one(|health| health.run_queue = None).status,
        VerdictStatus::Valid,
        "not counted on this system"
    );
    // The embedded server inevitably takes processors from agents that share them.
    let agents = [agent(0, waited(0.6, 2_000))];
    let verdict = judge(&Evidence { has_embedded_server: true, ..evidence(&agents) });
    assert_eq!(verdict.status, VerdictStatus::Degraded);
    assert!(
        verdict.reasons[0].ends_with("use fewer agents, or a database on another machine"),
        "{verdict:?}"
    );
    // A quota has its own remedy, so the other rules ignore the process.
    let throttled = of_one(|health| {
        waited(0.6, 2_000)(health);
        health.process.throttled_share = Some(0.4);
    });
    assert_eq!(throttled.causes, [Cause::AgentThrottled]);
}

#[test]
fn the_waits_of_agents_in_one_process_are_weighted_by_their_query_time() {
    let waited = |share, in_flight_ms, turns| {
        move |health: &mut AgentHealth| {
            health.run_queue = Some(RunQueue { waited_ms: 0.0, turns, in_flight_ms, share });
        }
    };
    // One of them ran hardly any queries and waited for most of that time; together they waited for 9 ÷ 110 of the time.
    let mut agents = [agent(0, waited(0.0, 100.0, 400)), agent(1, waited(0.9, 10.0, 100))];
    agents.iter_mut().for_each(|agent| "vm/7".clone_into(&mut agent.name));
    assert_eq!(judge(&evidence(&agents)).status, VerdictStatus::Valid);
    waited(0.2, 100.0, 400)(agents[0].health.as_mut().unwrap());
    let verdict = judge(&evidence(&agents));
    check_cause(&verdict, Cause::AgentWaited, "workers of slot-0 … slot-1 were ready to run and waited for");
}

#[test]
fn a_process_with_several_agents_is_named_once_and_compared_with_all_queries() {
    let paused = |health: &mut AgentHealth| health.process.late_ms.as_mut().unwrap().max = 1_003.0;
    let mut agents: Vec<Agent> = (0..10).map(|slot| agent(slot, paused)).collect();
    agents.iter_mut().for_each(|agent| "vm/7".clone_into(&mut agent.name));
    let all = latency(8.0);
    let verdict = judge(&Evidence { service: Some(&all), ..evidence(&agents) });
    check(
        &verdict,
        VerdictStatus::Degraded,
        Cause::AgentStoodStill,
        "slot-0 … slot-9 was paused for 1.00 s: the process was stopped, or its machine was paused or short of memory; queries in \
         flight appear slower by this time; repeat the run without disturbing the machine",
    );
}

#[test]
fn starved_workers_are_reported_unless_an_agent_was_lost() {
    let starved = |health: &mut AgentHealth| (health.starved_ms, health.starved_share) = (1_200.0, 0.12);
    check(
        &of_one(starved),
        VerdictStatus::Degraded,
        Cause::AgentStarved,
        "workers of slot-1 had no row to run for 12 % of their time (1.20 s) although rows were left: the load was lower than \
         possible; give the coordinator more CPU, or move it closer to the agents (slowest heartbeat: 400 µs)",
    );
    assert_eq!(
        of_one(|health| (health.starved_ms, health.starved_share) = (99.0, 0.12)).status,
        VerdictStatus::Valid
    );
    let agents = [agent(0, starved)];
    let lost = vec![Lost { slot: "slot-0".to_owned(), reason: "no heartbeat for 3.3s", machine: "db0" }];
    let verdict = judge(&Evidence { lost, ..evidence(&agents) });
    check(
        &verdict,
        VerdictStatus::Degraded,
        Cause::AgentLost,
        "slot-0 was lost (no heartbeat for 3.3s); see its log on db0",
    );
}

#[test]
fn steal_time_is_reported() {
    let verdict = of_one(|health| health.process.steal_share = Some(0.12));
    assert_eq!((verdict.status, verdict.causes[0]), (VerdictStatus::Degraded, Cause::MachineStolen));
    assert!(
        verdict.reasons[0].starts_with("the machine of slot-1 received 12 % less CPU time"),
        "{verdict:?}"
    );
    assert_eq!(of_one(|health| health.process.steal_share = Some(0.04)).status, VerdictStatus::Valid);
    let brief = |health: &mut AgentHealth| {
        (health.process.steal_share, health.process.watched_ms) = (Some(0.12), 80.0);
    };
    assert_eq!(of_one(brief).status, VerdictStatus::Valid, "one tick of eight");
}

#[test]
fn a_run_with_a_null_database_is_void() {
    let slots = |slots: &[&str]| slots.iter().map(ToString::to_string).collect();
    let verdict =
        judge(&Evidence { null_database_slots: slots(&["slot-1", "slot-2", "slot-3"]), ..evidence(&[]) });
    assert_eq!((verdict.status, &verdict.causes[..]), (VerdictStatus::Void, &[Cause::NoDatabase][..]));
    assert!(verdict.reasons[0].starts_with("slot-1 and 2 others used no database"), "{verdict:?}");
}

#[test]
fn the_coordinators_event_loop_may_be_delayed_by_a_tenth_of_a_second() {
    let mut coordinator = health().process;
    let mut check = |p99, max, expected: Option<&str>| {
        let delay = coordinator.late_ms.as_mut().unwrap();
        (delay.p99, delay.max) = (p99, max);
        let verdict = judge(&Evidence { coordinator: Some(&coordinator), ..evidence(&[]) });
        match expected {
            None => assert_eq!(verdict.status, VerdictStatus::Valid),
            Some(words) => {
                assert_eq!(
                    (verdict.status, verdict.causes[0]),
                    (VerdictStatus::Degraded, Cause::CoordinatorLate)
                );
                assert!(verdict.reasons[0].contains(words), "{verdict:?}");
            }
        }
    };
    check(Some(99.0), 500.0, None);
    check(Some(140.0), 500.0, Some("140 ms (p99)"));
    check(None, 1_500.0, Some("1.50 s (max)"));
}

#[test]
fn a_high_generator_delay_voids_the_run() {
    let service = latency(20.0);
    let verdict = |lag: &Latency| {
        judge(&Evidence { service: Some(&service), generator_delay: Some(lag), ..evidence(&[]) })
    };
    // A tenth of the median of 20 ms.
    let lag = |p99| Latency { p99, ..latency(0.1) };
    assert_eq!(verdict(&lag(Some(1.9))).status, VerdictStatus::Valid);
    check(
        &verdict(&lag(Some(2.1))),
        VerdictStatus::Void,
        Cause::Lag,
        "the generator delay is 2.10 ms (p99), above the limit of 2.00 ms: queries began late although their workers were free, so the \
         times are not those of the requested rate; add agents, run them on separate machines, or lower the rate",
    );
    assert_eq!(verdict(&lag(None)).status, VerdictStatus::Valid, "p95 is 0.15 ms");
    let within = |interval| Latency {
        intervals: Intervals { p99_ci: Some(interval), ..Intervals::default() },
        ..lag(Some(2.1))
    };
    assert_eq!(verdict(&within([2.01, 3.0])).status, VerdictStatus::Void, "certainly above 2 ms");
    assert_eq!(verdict(&within([1.9, 3.0])).status, VerdictStatus::Degraded, "possibly above 2 ms");
}

#[test]
fn a_generator_delay_beside_lost_agents_or_a_resumed_run_does_not_void_it() {
    let (service, delay) = (latency(20.0), Latency { p99: Some(9_000.0), ..latency(0.1) });
    let delayed = || Evidence { service: Some(&service), generator_delay: Some(&delay), ..evidence(&[]) };
    let lost = vec![Lost { slot: "slot-0".to_owned(), reason: "no heartbeat for 3.3s", machine: "db0" }];
    for evidence in [Evidence { lost, ..delayed() }, Evidence { resumed: 1, ..delayed() }] {
        let verdict = judge(&evidence);
        assert_eq!((verdict.status, verdict.causes[1]), (VerdictStatus::Degraded, Cause::Lag), "{verdict:?}");
        assert!(
            verdict.reasons[1].ends_with("; rows became due while their worker was missing"),
            "{verdict:?}"
        );
    }
}

fn utilization(share: f64, overhead_ms: f64) -> Utilization {
    let worst = WorkerShare { worker: "slot-3/0".to_owned(), share: share + 0.01 };
    Utilization {
        busy_share: 0.5,
        busy_share_max: 0.6,
        generator_overhead_ms: Some(overhead_ms),
        generator_overhead_share: Some(share),
        generator_overhead_worst: Some(worst),
    }
}

#[test]
fn noticeable_time_between_queries_degrades_the_run() {
    let verdict = |share, overhead_ms| {
        let utilization = utilization(share, overhead_ms);
        judge(&Evidence { overhead: Some(&utilization), ..evidence(&[]) })
    };
    check(
        &verdict(0.31, 900.0),
        VerdictStatus::Degraded,
        Cause::GeneratorOverhead,
        "workers spent 31 % of their time between queries (slot-3/0 the most, 32 %): the throughput is lower by this share than the \
         connections allow; run agents on separate machines, or add agents",
    );
    assert_eq!(verdict(OVERHEAD_SHARE_MAX, 900.0).status, VerdictStatus::Valid, "the limit itself");
    assert_eq!(verdict(0.31, OVERHEAD_MS_MIN).status, VerdictStatus::Valid, "too short to be evidence");
}

#[test]
fn every_reason_is_reported_and_void_ones_come_first() {
    let agents = [agent(0, |health| health.process.throttled_share = Some(0.5))];
    let verdict = judge(&Evidence { ending: Ending::Interrupted, resumed: 1, ..evidence(&agents) });
    assert_eq!(verdict.status, VerdictStatus::Void);
    assert_eq!(verdict.causes, [Cause::AgentThrottled, Cause::EndedEarly, Cause::Resumed]);
    assert_eq!(verdict.reasons.len(), 3);
}
