//! The search for the highest rate that meets an objective: decides which rate to try next, and what the answer is. Pure: the input is the
//! steps that were run, the output is the next step or the end, so an interrupted search continues from its steps.
//!
//! The rate doubles until a step fails, or is divided by four until a step holds. Then the gap between the highest rate that held and the
//! lowest that failed is bisected until it is within [`TOLERANCE`]. A single outlier must not decide: the lowest failing rate is tried a
//! second time, and the answer is confirmed by a step of twice the length. If the confirmation fails, the search continues below that rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use muster_stats::latency::distribution::Latency;

use crate::objective::Objective;
use crate::schedule::{Process, Rate, Schedule, Share};

/// The search ends when the lowest failing rate ÷ the highest holding rate is at most this.
pub const TOLERANCE: f64 = 1.05;
/// Maximum number of steps before the confirmation.
pub const STEPS_MAX: usize = 16;
/// Maximum number of failed confirmations.
const CONFIRMATIONS_MAX: usize = 8;
const GROWTH: f64 = 2.0;
const FALL: f64 = 4.0;
/// The first rate ÷ the lowest rate that is tried.
const FALL_MAX: f64 = 256.0;
/// A search begins at this fraction of the capacity that a closed loop showed.
const FIRST_OF_CAPACITY: f64 = 0.5;
/// A step is not extended beyond this to collect enough queries for a percentile.
const STEP_MAX: Duration = Duration::from_secs(60);
/// Factor on the sample size that a percentile needs, because some due queries may not run.
const SAMPLE_MARGIN: f64 = 1.1;
/// Minimum fraction of a step's due queries that must have run.
const RUN_MIN: f64 = 0.98;
const RATE_MIN: f64 = 1e-3;
const RATE_MAX: f64 = 1e6;

/// The objective of a search and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub objective: Objective,
    /// Length of a step; a step is longer if a percentile needs more queries.
    pub step_time: Duration,
    /// The first rate; `None` means half of the capacity that a closed loop shows.
    pub from: Option<f64>,
    pub process: Process,
}

/// One step to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Queries per second.
    pub rate: f64,
    pub time: Duration,
    /// True if this step measures the answer a second time.
    pub is_confirmation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    Run(Step),
    /// The search is over; [`answer`] returns its result.
    Over,
}

/// Measurements of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    pub completed: u64,
    pub failed: u64,
    pub service: Option<Latency>,
    pub response: Option<Latency>,
    pub lag: Option<Latency>,
    pub generator_delay: Option<Latency>,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    pub rate: f64,
    /// True if the rate held when it was measured a second time.
    pub is_confirmed: bool,
}

/// Parses a rate in queries per second.
///
/// # Errors
/// Rejects text that is not a number between 0.001 and 1,000,000.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate| (RATE_MIN..=RATE_MAX).contains(rate));
    rate.map(round_to_4_digits).ok_or_else(|| {
        format!("'{text}' is not a rate: write queries per second between 0.001 and 1,000,000, such as 500")
    })
}

/// Returns the rate of the first step, from the mean service time in a closed loop. Each worker's share of the rate is its share of the
/// rows, so the busiest worker limits the rate: with equal shares, the limit is the number of workers ÷ the mean service time. Returns
/// `None` if there are no rows or no time.
pub fn first_rate(mean_service_time_ms: f64, rows_of_worker: impl Iterator<Item = u64>) -> Option<f64> {
    let (all, busiest) = rows_of_worker.fold((0, 0), |(all, busiest), rows| (all + rows, rows.max(busiest)));
    let capacity = all as f64 / busiest as f64 / (mean_service_time_ms / 1e3);
    let is_rate = capacity.is_finite() && capacity > 0.0;
    is_rate.then(|| round_to_4_digits(capacity * FIRST_OF_CAPACITY))
}

/// Returns the next step of a search that began at the rate `first`.
pub fn next(plan: &Plan, first: f64, steps: &[SearchStep]) -> Next {
    let known = Findings::of(steps);
    if known.confirmed.is_some() {
        return Next::Over;
    }
    if let Some(rate) = known.unexplored(plan, first) {
        return Next::Run(plan.step(rate, false));
    }
    let rate = known.highest_held().filter(|_| known.unconfirmed.len() < CONFIRMATIONS_MAX);
    rate.map_or(Next::Over, |rate| Next::Run(plan.step(rate, true)))
}

/// Returns the result of the steps so far: the confirmed rate, otherwise the highest rate that held and is below every failed confirmation.
/// Returns `None` if no rate held or too many confirmations failed.
pub fn answer(steps: &[SearchStep]) -> Option<Answer> {
    let known = Findings::of(steps);
    let unconfirmed = || known.highest_held().filter(|_| known.unconfirmed.len() < CONFIRMATIONS_MAX);
    match known.confirmed {
        Some(rate) => Some(Answer { rate, is_confirmed: true }),
        None => unconfirmed().map(|rate| Answer { rate, is_confirmed: false }),
    }
}

/// A summary of a search's steps.
struct Findings<'a> {
    explored: Vec<&'a SearchStep>,
    confirmed: Option<f64>,
    /// Rates that failed their confirmation.
    unconfirmed: Vec<f64>,
}

impl<'a> Findings<'a> {
    fn of(steps: &'a [SearchStep]) -> Self {
        let (confirmations, explored): (Vec<&SearchStep>, Vec<&SearchStep>) =
            steps.iter().partition(|step| step.is_confirmation);
        let (held, failed): (Vec<&SearchStep>, Vec<&SearchStep>) =
            confirmations.into_iter().partition(|step| step.holds);
        let unconfirmed = failed.into_iter().map(|step| step.rate).collect();
        Self { explored, confirmed: held.last().map(|step| step.rate), unconfirmed }
    }

    /// Rates at or above this one are not trusted, even if they held once.
    fn lowest_unconfirmed(&self) -> f64 {
        self.unconfirmed.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest_held(&self) -> Option<f64> {
        let held = self.explored.iter().filter(|step| step.holds).map(|step| step.rate);
        held.filter(|rate| *rate < self.lowest_unconfirmed()).max_by(f64::total_cmp)
    }

    /// Returns the next rate to explore, or `None` once the limit is known precisely enough or cannot be refined.
    fn unexplored(&self, plan: &Plan, first: f64) -> Option<f64> {
        if self.explored.len() >= STEPS_MAX {
            return None;
        }
        let first = round_to_4_digits(first.max(plan.lowest_rate()));
        let Some(lowest) = self.explored.iter().map(|step| step.rate).min_by(f64::total_cmp) else {
            return Some(first);
        };
        let Some(good) = self.highest_held() else {
            let end = plan.lowest_rate().max(first / FALL_MAX);
            return (lowest > round_to_4_digits(end)).then(|| round_to_4_digits((lowest / FALL).max(end)));
        };
        let above = self.explored.iter().map(|step| step.rate).filter(|rate| *rate > good);
        let bad = above.chain(self.unconfirmed.iter().copied()).fold(f64::INFINITY, f64::min);
        if bad.is_infinite() {
            return (good < RATE_MAX).then(|| round_to_4_digits((good * GROWTH).min(RATE_MAX)));
        }
        if bad / good > TOLERANCE {
            return Some(round_to_4_digits((bad * good).sqrt()));
        }
        // The failure may have been an outlier.
        let tries = self.explored.iter().filter(|step| step.rate == bad).count();
        (tries < 2 && !self.unconfirmed.contains(&bad)).then_some(bad)
    }
}

/// Decides whether a step held. `due` is the number of queries that were due during the step. When the step ends, each of the `workers` may
/// still have one due query that waits for the one before it.
pub fn judge(plan: &Plan, step: &Step, due: u64, workers: usize, figures: Figures) -> SearchStep {
    let Figures { completed, failed, service, response, lag, generator_delay } = figures;
    let ran = completed.saturating_add(failed);
    let missing = due.saturating_sub(ran);
    let kept_up = ran as f64 >= RUN_MIN * due as f64 || missing <= workers as u64;
    let missed = plan.objective.check(response.as_ref(), completed, failed);
    let reason = match missed {
        Err(miss) => Some(miss.to_string()),
        Ok(()) if !kept_up => Some(format!("only {ran} of {due} due queries ran")),
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
        let wanted = if is_confirmation { 2 * self.step_time } else { self.step_time };
        let for_sample = self.sample() / rate;
        let time = Duration::from_secs_f64(for_sample.min(STEP_MAX.as_secs_f64())).max(wanted);
        Step { rate, time, is_confirmation }
    }

    /// Returns the number of queries that a step should have.
    fn sample(&self) -> f64 {
        self.objective.samples_needed() as f64 * SAMPLE_MARGIN
    }

    /// Returns the rate below which no step is long enough for the objective's percentiles.
    fn lowest_rate(&self) -> f64 {
        let longest = self.step_time.max(STEP_MAX).as_secs_f64();
        (self.sample() / longest).max(RATE_MIN)
    }

    /// Returns the open-loop schedule of a step.
    pub fn schedule(&self, rate: f64, seed: u64) -> Option<Schedule> {
        Some(Schedule { rate: Rate::constant(rate).ok()?, process: self.process, seed })
    }
}

/// Returns how many rows are due within `time`, over all workers.
pub fn due_within(schedule: &Schedule, rows_of_worker: &[u64], time: Duration) -> u64 {
    let all = rows_of_worker.iter().sum();
    let end_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let of_worker = |(worker, rows): (usize, &u64)| {
        let mut arrivals = schedule.arrivals(worker, Share::of(*rows, all)?);
        Some((0..).take_while(|_: &u64| arrivals.take() < end_ns).count() as u64)
    };
    rows_of_worker.iter().enumerate().filter_map(of_worker).sum()
}

/// Rounds to four significant digits: precise enough for a reader, and JSON round-trips it exactly.
fn round_to_4_digits(rate: f64) -> f64 {
    format!("{rate:.3e}").parse().unwrap_or(rate)
}

/// An open loop at one rate for some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SearchStep {
    /// Specified rate in queries per second.
    pub rate: f64,
    /// True if this step measures the result of the search a second time.
    pub is_confirmation: bool,
    /// How long queries were due in this step.
    pub duration_ms: f64,
    /// Completed queries per second.
    pub achieved_rate: f64,
    /// Number of queries that were due during the step.
    pub due: u64,
    /// Completed queries.
    pub completed: u64,
    /// Failed queries.
    pub failed: u64,
    /// Service times of completed queries.
    pub service_time_ms: Option<Latency>,
    /// Service time plus lag.
    pub response_time_ms: Option<Latency>,
    /// Start minus due time.
    pub lag_ms: Option<Latency>,
    /// The part of lag that is the load generator's own delay.
    #[serde(default)]
    pub generator_delay_ms: Option<Latency>,
    /// True if the objective was met.
    pub holds: bool,
    /// Why the objective was not met; `null` if it was.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests;
