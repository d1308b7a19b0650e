//! Describes when queries were sent, which the interpretation of every figure depends on.

use muster_stats::latency::figure::{self, Figure};

use crate::result::{Latency, Load, LoadModel, RunResult};

use super::model::Field;
use crate::units::{count, counted, duration, figure as number};

/// Closed or open loop, the rate, and the other load options.
pub(super) fn parts(load: &Load) -> Vec<String> {
    let mut words = match (load.model, &load.rate) {
        (LoadModel::Open, Some(rate)) => {
            let arrivals = load.arrivals.as_deref().unwrap_or("uniform");
            let mut words =
                vec!["open loop".to_owned(), format!("{rate} queries/s"), format!("{arrivals} arrivals")];
            words.extend(load.achieved_qps.map(|achieved| format!("achieved {}", number(achieved))));
            let not_started = load.not_begun.filter(|not_started| *not_started > 0);
            words
                .extend(not_started.map(|not_started| format!("{} due but not started", count(not_started))));
            words
        }
        // A search that found no rate.
        (LoadModel::Open, None) => {
            let arrivals = load.arrivals.as_deref().unwrap_or("uniform");
            vec!["open loop".to_owned(), format!("{arrivals} arrivals")]
        }
        (LoadModel::Closed, _) => vec!["closed loop".to_owned()],
    };
    if load.think_time_ms > 0.0 {
        words.push(format!("think time {}", duration(load.think_time_ms)));
    }
    if let Some(passes) = load.repeat.filter(|passes| *passes > 1) {
        words.push(format!("{} passes", count(passes)));
    }
    if let Some(ms) = load.duration_ms {
        words.push(format!("for {}", duration(ms)));
    }
    if let Some(warmup) = &load.warmup {
        words.push(format!("after a warm-up of {warmup}"));
    }
    words
}

/// The figures of the first pass, which reads data that is not cached yet, and of the later passes.
pub(super) fn passes(result: &RunResult) -> Vec<Field> {
    let Some(passes) = &result.passes else { return Vec::new() };
    let field = |label, latency: &Option<Latency>| {
        let latency = latency.as_ref()?;
        let mut parts = vec![counted(latency.count, "query")];
        let shown = [&figure::MEDIAN, &figure::MEAN, &figure::P95, &figure::MAX];
        let figure = |figure: &Figure| Some(format!("{} {}", figure.name, duration((figure.of)(latency)?)));
        parts.extend(shown.into_iter().filter_map(figure));
        Some(Field::new(label, parts))
    };
    let named = [("first pass", &passes.first), ("later passes", &passes.later)];
    named.into_iter().filter_map(|(label, latency)| field(label, latency)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_load_is_described() {
        let closed = Load { repeat: Some(1), ..Load::default() };
        assert_eq!(parts(&closed).join(" · "), "closed loop");
        let with_think_time = Load {
            think_time_ms: 10.0,
            warmup: Some("1000 rows".to_owned()),
            repeat: Some(3),
            ..closed.clone()
        };
        assert_eq!(
            parts(&with_think_time).join(" · "),
            "closed loop · think time 10.0 ms · 3 passes · after a warm-up of 1000 rows"
        );
        let open = Load {
            model: LoadModel::Open,
            rate: Some("100..2000/60s".to_owned()),
            arrivals: Some("poisson".to_owned()),
            repeat: None,
            duration_ms: Some(90_000.0),
            ..closed
        };
        assert_eq!(
            parts(&open).join(" · "),
            "open loop · 100..2000/60s queries/s · poisson arrivals · for 90.0 s"
        );
    }
}
