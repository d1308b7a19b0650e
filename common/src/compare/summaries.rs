//! Compares two results without their measurements, from the statistics and intervals in the results. The dependence of the queries is
//! unknown then, so they are assumed to be independent, and rows cannot be paired.

use super::Options;
use super::result::{Figure, Method, Rows, Table};
use super::{Measured, figures};
use crate::latency::{Percentile, samples_needed};
use crate::result::{Latency, RunResult};
use crate::statistics::Confidence;
use crate::statistics::dependence::COUNT_MIN;

/// A statistic with its 95 % margins of error below and above, as logarithms.
type Estimate = (f64, Option<[f64; 2]>);

/// A statistic: its name, its percentile if it is one, and its value in a result.
type Kind = (&'static str, Option<Percentile>, fn(&Latency) -> Option<Estimate>);

const FIGURES: [Kind; 4] = [
    ("median", Some(Percentile::P50), |latency| estimate(Some(latency.median), latency.intervals.median_ci)),
    ("mean", None, mean),
    ("p95", Some(Percentile::P95), |latency| estimate(latency.p95, latency.intervals.p95_ci)),
    ("p99", Some(Percentile::P99), |latency| estimate(latency.p99, latency.intervals.p99_ci)),
];

pub(super) fn measured(base: &RunResult, new: &RunResult, options: Options) -> Measured {
    let has_lag = |result: &RunResult| result.lag_ms.as_ref().is_some_and(|lag| lag.max > 0.0);
    let service = [&base.service_time_ms, &new.service_time_ms].map(Option::as_ref);
    let response = [&base.response_time_ms, &new.response_time_ms].map(Option::as_ref);
    let is_open_loop = has_lag(base) || has_lag(new);
    let supported = FIGURES
        .iter()
        .filter(|(_, _, value)| both(service).is_some_and(|of| of.map(value).iter().all(Option::is_some)));
    let each = Confidence::P95.bonferroni(supported.count() * (1 + usize::from(is_open_loop)));
    let count = |latency: Option<&Latency>| latency.map_or(0, |latency| latency.count);
    Measured {
        rows: Rows {
            method: Method::Summaries,
            base: count(service[0]),
            new: count(service[1]),
            only_base: 0,
            only_new: 0,
        },
        confidence_each: each.get(),
        service_time: table(service, each, options),
        response_time: is_open_loop.then(|| table(response, each, options)),
        row_by_row: None,
        rank_test: None,
    }
}

fn table(latencies: [Option<&Latency>; 2], each: Confidence, options: Options) -> Table {
    let wider = each.normal_quantile() / Confidence::P95.normal_quantile();
    let figure = |(name, percentile, value): Kind| {
        let count_min = percentile.map_or(0, samples_needed).max(COUNT_MIN as u64);
        let enough = both(latencies).filter(|of| of.iter().all(|latency| latency.count >= count_min));
        let of_both = enough.and_then(|[base, new]| Some([value(base)?, value(new)?]));
        let interval = of_both.and_then(|[(base, of_base), (new, of_new)]| {
            let [base_below, base_above] = of_base?;
            let [new_below, new_above] = of_new?;
            let difference = (new / base).ln();
            let low = difference - wider * new_below.hypot(base_above);
            let high = difference + wider * new_above.hypot(base_below);
            (low.is_finite() && high.is_finite()).then_some([low, high])
        });
        let values_ms = of_both.map(|of_both| of_both.map(|(value, _)| value));
        Figure::new(name, count_min, values_ms, interval, options.margin)
    };
    Table { figures: FIGURES.map(figure).into(), worth: None }
}

fn both<T>([base, new]: [Option<T>; 2]) -> Option<[T; 2]> {
    Some([base?, new?])
}

fn estimate(value_ms: Option<f64>, interval_ms: Option<[f64; 2]>) -> Option<Estimate> {
    let value_ms = value_ms?;
    let ends =
        interval_ms.map(|[low, high]| [(value_ms / low).ln().max(0.0), (high / value_ms).ln().max(0.0)]);
    Some((value_ms, ends.filter(|ends| ends.iter().all(|end| end.is_finite()))))
}

fn mean(latency: &Latency) -> Option<Estimate> {
    let error = |stddev: f64| stddev / (latency.count as f64).sqrt() / latency.mean;
    let margin = latency.stddev.map(error).map(|error| Confidence::P95.normal_quantile() * error);
    Some((
        latency.mean,
        margin.and_then(|margin| figures::around(0.0, margin)).map(|[_, margin]| [margin; 2]),
    ))
}
