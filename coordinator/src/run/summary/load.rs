//! Load and search of the result.

use std::time::Duration;

use muster_core::load::{Load, Warmup};
use muster_report::result;

use crate::run::record::Searched;
use crate::run::utilization;

/// The load of the run; in a search, that of the round that counts. `ran` rows have a result.
pub(super) fn load(
    load: &Load,
    searched: &Searched,
    [ran, unaccounted]: [u64; 2],
    wall: Duration,
    due: Option<u64>,
) -> result::Load {
    let Load { schedule, think_time, warmup, repeat, duration, search, seed, .. } = load;
    let counted = searched.counted.filter(|_| search.is_some());
    let process = schedule.as_ref().map(|schedule| schedule.process);
    let process = process.or(search.as_ref().map(|search| search.process));
    let duration_ms = duration.map(|duration| duration.as_secs_f64() * 1e3);
    let [scheduled_qps, achieved_qps] = match utilization::rates(load, counted, ran, wall) {
        Some(rates) => rates.map(Some),
        None => [None; 2],
    };
    result::Load {
        model: if process.is_some() { result::LoadModel::Open } else { result::LoadModel::Closed },
        rate: schedule
            .as_ref()
            .map(|schedule| schedule.rate.to_string())
            .or(counted.map(|(rate, _)| rate.to_string())),
        arrivals: process.map(|process| process.to_string()),
        scheduled_qps,
        achieved_qps,
        think_time_ms: think_time.as_secs_f64() * 1e3,
        warmup: warmup.map(|warmup| match warmup {
            Warmup::Rows(rows) => format!("{rows} rows"),
            Warmup::Time(time) => format!("{time:?}"),
        }),
        repeat: (duration.is_none() && search.is_none()).then_some(u64::from(*repeat)),
        duration_ms: duration_ms.or(counted.map(|(_, lasts_ms)| lasts_ms)),
        due,
        not_begun: due.map(|due| due.saturating_sub(ran + unaccounted)),
        seed: *seed,
    }
}

pub(super) fn search(load: &Load, searched: &Searched) -> Option<result::Search> {
    let plan = load.search.as_ref()?;
    let answer = muster_core::search::answer(&searched.steps);
    Some(result::Search {
        objective: plan.objective.to_string(),
        highest_rate: answer.map(|answer| answer.rate),
        is_confirmed: answer.is_some_and(|answer| answer.is_confirmed),
        steps: searched.steps.clone(),
    })
}
