//! Compares two results without their measurements, from the statistics and intervals in the results. The dependence of the queries is
//! unknown then, so they are assumed to be independent, and rows cannot be paired.

use muster_stats::latency::distribution::Latency;
use muster_stats::latency::figure::{self, COMPARED};
use muster_stats::statistics::Confidence;

use super::conclusion::Measured;
use super::figures::count_min;
use super::input::Options;
use crate::result::RunResult;
use crate::result::comparison::{Figure, Method, Rows, Table};

/// A statistic with its 95 % margins of error below and above, as logarithms.
type Estimate = (f64, Option<[f64; 2]>);

pub(super) fn measured(base: &RunResult, new: &RunResult, options: Options) -> Measured {
    let has_lag = |result: &RunResult| result.lag_ms.as_ref().is_some_and(|lag| lag.max > 0.0);
    let service = [&base.service_time_ms, &new.service_time_ms].map(Option::as_ref);
    let response = [&base.response_time_ms, &new.response_time_ms].map(Option::as_ref);
    let is_open_loop = has_lag(base) || has_lag(new);
    let is_supported = |figure: &&figure::Figure| {
        both(service).is_some_and(|of| of.iter().all(|latency| (figure.of)(latency).is_some()))
    };
    let supported = COMPARED.into_iter().filter(is_supported);
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
    let compared = |figure: &figure::Figure| {
        let is_enough = |latency: &&Latency| latency.count >= count_min(figure);
        let enough = both(latencies).filter(|of| of.iter().all(is_enough));
        let of_both = enough.and_then(|[base, new]| Some([estimate(figure, base)?, estimate(figure, new)?]));
        let interval = of_both.and_then(|[(base, of_base), (new, of_new)]| {
            let [base_below, base_above] = of_base?;
            let [new_below, new_above] = of_new?;
            let difference = (new / base).ln();
            let low = difference - wider * new_below.hypot(base_above);
            let high = difference + wider * new_above.hypot(base_below);
            (low.is_finite() && high.is_finite()).then_some([low, high])
        });
        let values_ms = of_both.map(|of_both| of_both.map(|(value, _)| value));
        Figure::new(figure, values_ms, interval, options.margin)
    };
    Table { figures: COMPARED.map(compared).into(), worth: None }
}

fn both<T>([base, new]: [Option<T>; 2]) -> Option<[T; 2]> {
    Some([base?, new?])
}

fn estimate(figure: &figure::Figure, latency: &Latency) -> Option<Estimate> {
    let value_ms = (figure.of)(latency)?;
    if figure.percentile.is_none() {
        return Some((value_ms, margin_of_mean(latency).map(|margin| [margin; 2])));
    }
    let logarithms =
        |[low, high]: [f64; 2]| [(value_ms / low).ln().max(0.0), (high / value_ms).ln().max(0.0)];
    let ends = (figure.interval)(latency).map(logarithms);
    Some((value_ms, ends.filter(|ends| ends.iter().all(|end| end.is_finite()))))
}

fn margin_of_mean(latency: &Latency) -> Option<f64> {
    let error = latency.stddev? / (latency.count as f64).sqrt() / latency.mean;
    Some(Confidence::P95.normal_quantile() * error).filter(|margin| margin.is_finite())
}
