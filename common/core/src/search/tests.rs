//! Tests of the search against servers that are modelled by formulas.

use muster_stats::latency::figure;
use muster_stats::random::SplitMix64;

use super::*;

fn plan(objective: &str) -> Plan {
    let objective = objective.parse().unwrap();
    Plan { objective, step_time: Duration::from_secs(10), from: None, process: Process::Uniform }
}

/// A distribution with this 99th percentile; its other values do not matter.
fn latency(p99_ms: f64, count: u64) -> Latency {
    let p99 = (count >= figure::P99.count_min).then_some(p99_ms);
    Latency {
        count,
        min: 0.1,
        median: p99_ms / 2.0,
        mean: p99_ms / 2.0,
        max: p99_ms * 2.0,
        stddev: None,
        p90: Some(p99_ms * 0.9),
        p95: Some(p99_ms * 0.95),
        p99,
        p99_9: None,
        intervals: muster_stats::latency::distribution::Intervals::default(),
    }
}

/// Runs a search on a server whose 99th percentile in milliseconds depends on the rate, and is infinite if the server cannot keep up.
fn search(plan: &Plan, first: f64, mut p99_of: impl FnMut(f64) -> f64) -> Vec<SearchStep> {
    let mut steps = Vec::new();
    while let Next::Run(step) = next(plan, first, &steps) {
        let due = (step.rate * step.time.as_secs_f64()) as u64;
        let p99_ms = p99_of(step.rate);
        let completed = if p99_ms.is_finite() { due } else { due / 2 };
        let response = Some(latency(p99_ms.min(1e9), completed));
        let figures =
            Figures { completed, failed: 0, service: None, response, lag: None, generator_delay: None };
        steps.push(judge(plan, &step, due, 0, figures));
        assert!(steps.len() <= STEPS_MAX + CONFIRMATIONS_MAX, "the search does not end: {steps:#?}");
    }
    steps
}

/// The 99th percentile of the response time of M/M/1, which is exponential with the rate μ − λ.
fn m_m_1(capacity: f64, rate: f64) -> f64 {
    if rate >= capacity { f64::INFINITY } else { 100.0_f64.ln() / (capacity - rate) * 1e3 }
}

/// Returns a random number between `low` and `high`.
fn between(random: &mut SplitMix64, low: f64, high: f64) -> f64 {
    low + (high - low) * random.unit()
}

/// Searches for the knee of a random server with each of 100 seeds; returns how many searches found it.
fn found_of_100(mut server: impl FnMut(&mut SplitMix64) -> (f64, Box<dyn FnMut(f64) -> f64>)) -> usize {
    let plan = plan("p99<50ms");
    let is_found = |seed: &u64| {
        let mut random = SplitMix64::new(*seed);
        let (knee, p99_of) = server(&mut random);
        let first = knee * between(&mut random, 0.02, 3.0);
        let steps = search(&plan, first, p99_of);
        let answer = answer(&steps).filter(|answer| answer.is_confirmed);
        answer.is_some_and(|answer| (answer.rate / knee - 1.0).abs() <= TOLERANCE - 1.0)
    };
    (0..100).filter(is_found).count()
}

#[test]
fn the_knee_of_a_queue_is_found() {
    let found = found_of_100(|random| {
        let capacity = between(random, 200.0, 20_000.0);
        let knee = capacity - 100.0_f64.ln() / 0.05;
        (knee, Box::new(move |rate| m_m_1(capacity, rate)))
    });
    assert_eq!(found, 100);
}

#[test]
fn a_cliff_is_found() {
    let found = found_of_100(|random| {
        let cliff = between(random, 20.0, 20_000.0);
        (cliff, Box::new(move |rate| if rate <= cliff { 5.0 } else { f64::INFINITY }))
    });
    assert_eq!(found, 100);
}

/// Percentiles vary from step to step by 5 %, and in one step of thirty an external load slows the server down.
#[test]
fn noise_and_outliers_do_not_hide_the_knee() {
    let found = found_of_100(|random| {
        let capacity = between(random, 300.0, 20_000.0);
        let knee = capacity - 100.0_f64.ln() / 0.05;
        let mut random = random.clone();
        let server = move |rate: f64| {
            // The sum of twelve uniform values is close to a normal value of variance 1 and mean 6.
            let normal = (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
            let trouble = if random.below(30) == 0 { 100.0 } else { 0.0 };
            m_m_1(capacity, rate) * (1.0 + 0.05 * normal) + trouble
        };
        (knee, Box::new(server))
    });
    assert!(found >= 95, "{found} of 100");
}

#[test]
fn the_search_ends_whatever_the_server_does() {
    for seed in 0..1_000 {
        let mut random = SplitMix64::new(seed);
        let odds = random.below(10);
        let first = between(&mut random, 0.001, 1e6);
        // `search` checks the number of steps.
        search(&plan("p99<50ms"), first, |_| if random.below(10) < odds { 1.0 } else { f64::INFINITY });
    }
}

#[test]
fn a_server_that_never_holds_is_tried_at_lower_rates_until_the_search_gives_up() {
    let steps = search(&plan("p99<50ms"), 1_000.0, |_| 60.0);
    let rates: Vec<f64> = steps.iter().map(|step| step.rate).collect();
    // At the last rate, a step of a minute has just the number of queries that p99 needs.
    assert_eq!(rates, [1_000.0, 250.0, 62.5, 15.62, 8.415]);
    assert_eq!(answer(&steps), None);
    assert_eq!(steps[4].duration_ms, 60_000.0);
    assert_eq!(steps[0].reason.as_deref(), Some("p99<50ms is not met: 60.00 ms"));
}

#[test]
fn a_server_that_always_holds_is_tried_up_to_the_highest_rate() {
    let steps = search(&plan("p99<50ms"), 1_000.0, |_| 1.0);
    assert_eq!(answer(&steps), Some(Answer { rate: RATE_MAX, is_confirmed: true }));
}

#[test]
fn a_step_is_as_long_as_its_percentile_needs_and_a_confirmation_is_twice_as_long() {
    let step = |objective: &str, rate, is_confirmation| plan(objective).step(rate, is_confirmation).time;
    assert_eq!(step("median<1s", 1.0, false), Duration::from_secs(10));
    assert_eq!(step("p99<1s", 1_000.0, false), Duration::from_secs(10));
    assert_eq!(step("p99<1s", 20.0, false).as_secs_f64(), 459.0 * 1.1 / 20.0);
    assert_eq!(step("p99<1s", 1.0, false), STEP_MAX);
    assert_eq!(step("p99<1s", 1_000.0, true), Duration::from_secs(20));
}

#[test]
fn a_rate_that_holds_only_once_is_not_the_answer() {
    let mut asked = 0;
    // 400 holds only the first time, as if data had been cached.
    let p99_of = |rate| {
        asked += i32::from(rate == 400.0);
        if rate < 300.0 || (rate == 400.0 && asked == 1) { 5.0 } else { 500.0 }
    };
    let steps = search(&plan("p99<50ms"), 400.0, p99_of);
    let found = answer(&steps).unwrap();
    assert!(found.is_confirmed && found.rate < 300.0, "{steps:#?}");
}

#[test]
fn an_interrupted_search_has_an_answer_and_continues_with_the_same_steps() {
    let whole = search(&plan("p99<50ms"), 100.0, |rate| m_m_1(1_000.0, rate));
    for cut in 0..whole.len() {
        let Next::Run(step) = next(&plan("p99<50ms"), 100.0, &whole[..cut]) else { panic!("at {cut}") };
        assert_eq!((step.rate, step.is_confirmation), (whole[cut].rate, whole[cut].is_confirmation));
    }
    assert_eq!(answer(&whole[..0]), None);
    assert_eq!(answer(&whole[..3]), Some(Answer { rate: 400.0, is_confirmed: false }));
}

#[test]
fn a_step_that_does_not_keep_up_does_not_hold() {
    let step = Step { rate: 100.0, time: Duration::from_secs(10), is_confirmation: false };
    let holds = |completed, workers| {
        let response = Some(latency(5.0, completed));
        let figures =
            Figures { completed, failed: 0, service: None, response, lag: None, generator_delay: None };
        judge(&plan("p99<50ms"), &step, 1_000, workers, figures).reason
    };
    assert_eq!(holds(980, 4), None);
    assert_eq!(holds(970, 40), None, "one query of each worker may still wait when the time is over");
    assert_eq!(holds(979, 4).as_deref(), Some("only 979 of 1000 due queries ran"));
}

#[test]
fn the_busiest_worker_limits_the_first_rate() {
    assert_eq!(first_rate(5.0, [10, 10, 10, 10].into_iter()), Some(400.0));
    assert_eq!(first_rate(5.0, [20, 10, 0, 10].into_iter()), Some(200.0));
    assert_eq!(first_rate(0.0, [1].into_iter()), None);
    assert_eq!(first_rate(5.0, [].into_iter()), None);
}

#[test]
fn due_rows_are_counted_over_all_workers() {
    for process in [Process::Uniform, Process::Poisson] {
        let plan = Plan { process, ..plan("p99<50ms") };
        let schedule = plan.schedule(1_000.0, 1).unwrap();
        let due = due_within(&schedule, &[5, 3, 0, 2], Duration::from_secs(10));
        let tolerance = if process == Process::Uniform { 3 } else { 500 };
        assert!(due.abs_diff(10_000) <= tolerance, "{process:?}: {due}");
    }
}
