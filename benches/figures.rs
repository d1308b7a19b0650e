//! Small statistics of the benchmarks. They do not use the code under test, so that its errors cannot hide themselves.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::time::Duration;

/// The nearest-rank quantile of an ascending sample.
pub(crate) fn quantile(ascending: &[f64], per_mille: usize) -> f64 {
    let rank = (ascending.len() * per_mille).div_ceil(1_000).max(1);
    ascending[rank - 1]
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

pub(crate) fn ascending(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The median of an odd number of values.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(&ascending(values.to_vec()), 500)
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The load average of the last minute, and the number of processors.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().filter(|load| !load.is_empty()).unwrap_or("unknown");
    format!("{load} on {} processors", std::thread::available_parallelism().map_or(1, usize::from))
}
