//! The search for the highest rate that holds an objective: which rate is tried next, and what the answer is. Pure: the steps that were
//! run come in, the next one or the answer goes out; so a search that was broken off goes on from its steps.
//!
//! Rates double until one does not hold, or are quartered until one does; then the gap between the highest that held and the lowest that
//! did not is halved until it is within [`TOLERANCE`]. One bad moment must not decide, nor one good one: the border above is tried a
//! second time, and the answer is measured once more for twice as long. When it does not hold then, the search goes on below it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::objective::Objective;
use crate::result::{Latency, SearchStep};
use crate::schedule::{Process, Rate, Schedule, Share};

/// The lowest rate that does not hold ÷ the highest that does.
pub const TOLERANCE: f64 = 1.05;
/// Steps before the confirmation.
pub const STEPS_MAX: usize = 16;
/// Confirmations that may fail.
const CONFIRMATIONS_MAX: usize = 8;
const GROWTH: f64 = 2.0;
const FALL: f64 = 4.0;
/// The first rate ÷ the lowest that is tried.
const FALL_MAX: f64 = 256.0;
/// A search begins with this part of what a closed loop showed to be possible.
const FIRST_OF_CAPACITY: f64 = 0.5;
/// A step is not longer than this for the sake of a percentile.
const STEP_MAX: Duration = Duration::from_secs(60);
/// More than the sample that a percentile needs, for some queries are due and not run.
const SAMPLE_MARGIN: f64 = 1.1;
/// Of the queries that were due in a step, so many must have run.
const RUN_MIN: f64 = 0.98;
const RATE_MIN: f64 = 1e-3;
const RATE_MAX: f64 = 1e6;

/// What is searched for, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub objective: Objective,
    /// Of one step; longer where a percentile wants more queries.
    pub step_time: Duration,
    /// The first rate; `None`: half of what a closed loop shows to be possible.
    pub from: Option<f64>,
    pub process: Process,
}

/// One step to be run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Queries per second.
    pub rate: f64,
    pub time: Duration,
    /// What the search found is measured once more.
    pub is_confirmation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    Run(Step),
    /// The search is over; [`answer`] says what it found.
    Over,
}

/// What was measured in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub completed: u64,
    pub failed: u64,
    pub service: Option<Latency>,
    pub response: Option<Latency>,
    pub lag: Option<Latency>,
    pub generator_delay: Option<Latency>,
}

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    pub rate: f64,
    /// It held when it was measured once more.
    pub is_confirmed: bool,
}

/// A rate in queries per second that can be run.
///
/// # Errors
/// For a number that is outside of 0.001 to 1,000,000.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate| (RATE_MIN..=RATE_MAX).contains(rate));
    rate.map(legible).ok_or_else(|| {
        format!("'{text}' is no rate: write queries per second between 0.001 and 1,000,000, such as 500")
    })
}

/// The rate of the first step, from the mean service time in a closed loop. Each worker's share of the rows is its share of the rate, so
/// the busiest one bounds it: with all alike, it is the number of workers ÷ the mean service time. `None` without rows or time.
pub fn first_rate(mean_service_time_ms: f64, rows_of_worker: impl Iterator<Item = u64>) -> Option<f64> {
    let (all, busiest) = rows_of_worker.fold((0, 0), |(all, busiest), rows| (all + rows, rows.max(busiest)));
    let capacity = all as f64 / busiest as f64 / (mean_service_time_ms / 1e3);
    let is_rate = capacity.is_finite() && capacity > 0.0;
    is_rate.then(|| legible(capacity * FIRST_OF_CAPACITY))
}

/// The next step of a search that began with the rate `first`.
pub fn next(plan: &Plan, first: f64, steps: &[SearchStep]) -> Next {
    let known = Known::of(steps);
    if known.confirmed.is_some() {
        return Next::Over;
    }
    if let Some(rate) = known.unexplored(plan, first) {
        return Next::Run(plan.step(rate, false));
    }
    let rate = known.highest_held().filter(|_| known.unconfirmed.len() < CONFIRMATIONS_MAX);
    rate.map_or(Next::Over, |rate| Next::Run(plan.step(rate, true)))
}

/// What the steps so far say: the confirmed rate, else the highest that held and that no failed confirmation speaks against. `None` when
/// none did, and when too many confirmations failed.
pub fn answer(steps: &[SearchStep]) -> Option<Answer> {
    let known = Known::of(steps);
    let unconfirmed = || known.highest_held().filter(|_| known.unconfirmed.len() < CONFIRMATIONS_MAX);
    match known.confirmed {
        Some(rate) => Some(Answer { rate, is_confirmed: true }),
        None => unconfirmed().map(|rate| Answer { rate, is_confirmed: false }),
    }
}

/// What the steps of a search say.
struct Known<'a> {
    explored: Vec<&'a SearchStep>,
    confirmed: Option<f64>,
    /// Rates that did not hold when they were measured once more.
    unconfirmed: Vec<f64>,
}

impl<'a> Known<'a> {
    fn of(steps: &'a [SearchStep]) -> Self {
        let (confirmations, explored): (Vec<&SearchStep>, Vec<&SearchStep>) =
            steps.iter().partition(|step| step.is_confirmation);
        let (held, failed): (Vec<&SearchStep>, Vec<&SearchStep>) =
            confirmations.into_iter().partition(|step| step.holds);
        let unconfirmed = failed.into_iter().map(|step| step.rate).collect();
        Self { explored, confirmed: held.last().map(|step| step.rate), unconfirmed }
    }

    /// From here on upwards, what held is not believed.
    fn lowest_unconfirmed(&self) -> f64 {
        self.unconfirmed.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest_held(&self) -> Option<f64> {
        let held = self.explored.iter().filter(|step| step.holds).map(|step| step.rate);
        held.filter(|rate| *rate < self.lowest_unconfirmed()).max_by(f64::total_cmp)
    }

    /// The rate that is left to be tried; `None` once the border is known well enough, or will not be.
    fn unexplored(&self, plan: &Plan, first: f64) -> Option<f64> {
        if self.explored.len() >= STEPS_MAX {
            return None;
        }
        let first = legible(first.max(plan.lowest_rate()));
        let Some(lowest) = self.explored.iter().map(|step| step.rate).min_by(f64::total_cmp) else {
            return Some(first);
        };
        let Some(good) = self.highest_held() else {
            let end = plan.lowest_rate().max(first / FALL_MAX);
            return (lowest > legible(end)).then(|| legible((lowest / FALL).max(end)));
        };
        let above = self.explored.iter().map(|step| step.rate).filter(|rate| *rate > good);
        let bad = above.chain(self.unconfirmed.iter().copied()).fold(f64::INFINITY, f64::min);
        if bad.is_infinite() {
            return (good < RATE_MAX).then(|| legible((good * GROWTH).min(RATE_MAX)));
        }
        if bad / good > TOLERANCE {
            return Some(legible((bad * good).sqrt()));
        }
        // It may have been a moment's trouble.
        let tries = self.explored.iter().filter(|step| step.rate == bad).count();
        (tries < 2 && !self.unconfirmed.contains(&bad)).then_some(bad)
    }
}

/// What a step showed. `due` is how many queries were due in its time; `workers` may each have one that is due and waits for the one
/// before when the time is over.
pub fn judge(plan: &Plan, step: &Step, due: u64, workers: usize, figures: Figures) -> SearchStep {
    let Figures { completed, failed, service, response, lag, generator_delay } = figures;
    let ran = completed.saturating_add(failed);
    let missing = due.saturating_sub(ran);
    let kept_up = ran as f64 >= RUN_MIN * due as f64 || missing <= workers as u64;
    let missed = plan.objective.check(response.as_ref(), completed, failed);
    let reason = match missed {
        Err(miss) => Some(miss.to_string()),
        Ok(()) if !kept_up => Some(format!("only {ran} of {due} queries that were due were run")),
        Ok(()) => None,
    };
    SearchStep {
        rate: step.rate,
        is_confirmation: step.is_confirmation,
        duration_ms: step.time.as_secs_f64() * 1e3,
        achieved_rate: completed as f64 / step.time.as_secs_f64(),
        due,
        completed,
        failed,
        service_time_ms: service,
        response_time_ms: response,
        lag_ms: lag,
        generator_delay_ms: generator_delay,
        holds: reason.is_none(),
        reason,
    }
}

impl Plan {
    fn step(&self, rate: f64, is_confirmation: bool) -> Step {
        let asked = if is_confirmation { 2 * self.step_time } else { self.step_time };
        let for_sample = self.sample() / rate;
        let time = Duration::from_secs_f64(for_sample.min(STEP_MAX.as_secs_f64())).max(asked);
        Step { rate, time, is_confirmation }
    }

    /// Queries that a step should have.
    fn sample(&self) -> f64 {
        self.objective.samples_needed() as f64 * SAMPLE_MARGIN
    }

    /// Below it, no step is long enough for the objective's percentiles.
    fn lowest_rate(&self) -> f64 {
        let longest = self.step_time.max(STEP_MAX).as_secs_f64();
        (self.sample() / longest).max(RATE_MIN)
    }

    /// The open loop of a step.
    pub fn schedule(&self, rate: f64, seed: u64) -> Option<Schedule> {
        Some(Schedule { rate: Rate::constant(rate).ok()?, process: self.process, seed })
    }
}

/// How many rows are due within a time, over all workers.
pub fn due_within(schedule: &Schedule, rows_of_worker: &[u64], time: Duration) -> u64 {
    let all = rows_of_worker.iter().sum();
    let end_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let of_worker = |(worker, rows): (usize, &u64)| {
        let mut arrivals = schedule.arrivals(worker, Share::of(*rows, all)?);
        Some((0..).take_while(|_: &u64| arrivals.take() < end_ns).count() as u64)
    };
    rows_of_worker.iter().enumerate().filter_map(of_worker).sum()
}

/// Four digits: what people read, and what JSON gives back to the last bit.
fn legible(rate: f64) -> f64 {
    format!("{rate:.3e}").parse().unwrap_or(rate)
}

#[cfg(test)]
mod tests;
