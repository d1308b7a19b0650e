//! Axes: from values to fractions of a plot, with ticks at round values.

use crate::units;

/// An axis from `from` to `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// A linear axis. It has some length even if both ends are equal.
    pub(super) fn linear(from: f64, to: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, is_log: false }
    }

    /// A logarithmic axis for these durations in milliseconds, with some space at both ends. It starts at 1 µs or above. `None` without
    /// values.
    pub(super) fn log(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        const SPACE: f64 = 1.12;
        const MIN_MS: f64 = 1e-3;
        let values = values
            .into_iter()
            .filter(|value| value.is_finite() && *value > 0.0)
            .map(|value| value.max(MIN_MS));
        let (from, to) =
            values.fold((f64::INFINITY, 0.0_f64), |(from, to), value| (from.min(value), to.max(value)));
        (to > 0.0).then(|| Self { from: from / SPACE, to: to * SPACE, is_log: true })
    }

    pub(super) fn ends(&self) -> [f64; 2] {
        [self.from, self.to]
    }

    pub(super) fn is_log(&self) -> bool {
        self.is_log
    }

    /// The position of a value: 0 at `from`, 1 at `to`. Values outside are at the nearer end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let fraction = match self.is_log {
            true => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        fraction.clamp(0.0, 1.0)
    }

    /// Round values on the axis, about `count` of them.
    pub(super) fn ticks(&self, count: usize) -> Vec<f64> {
        let powers = || {
            (self.from.log10().floor() as i32..=self.to.log10().ceil() as i32).map(|power| 10f64.powi(power))
        };
        let within = |value: &f64| (self.from..=self.to).contains(value);
        if self.is_log {
            let of = |steps: &[f64]| -> Vec<f64> {
                powers().flat_map(|power| steps.iter().map(move |step| power * step)).filter(within).collect()
            };
            let finest = of(&[1.0, 2.0, 5.0]);
            let powers = of(&[1.0]);
            return match () {
                // Less than a factor of two has at most one round power.
                () if finest.len() < 2 => Self { is_log: false, ..*self }.ticks(count),
                () if finest.len() <= count + 1 || powers.len() < 2 => finest,
                () => every(powers, count),
            };
        }
        let step = round_step((self.to - self.from) / count as f64);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last).map(|at| at as f64 * step).collect()
    }
}

/// About `count` of the values, evenly spaced.
fn every(values: Vec<f64>, count: usize) -> Vec<f64> {
    let step = values.len().div_ceil(count.max(1)).max(1);
    values.into_iter().step_by(step).collect()
}

/// The least of 1, 2 and 5 times a power of ten that is not below the value.
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.max(f64::MIN_POSITIVE).log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value * 0.999)
        .unwrap_or(10.0 * power)
}

/// The label of a tick of a duration: `200 µs`, `5 ms`, `1 s`.
pub(super) fn duration_tick(ms: f64) -> String {
    let (value, unit) = match ms {
        _ if ms < 0.9995 => (ms * 1e3, "µs"),
        ..999.5 => (ms, "ms"),
        _ => (ms / 1e3, "s"),
    };
    format!("{} {unit}", plain(value))
}

/// The label of a tick of the run's time, in the unit that suits the whole axis.
pub(super) fn time_tick(ms: f64, end_ms: f64) -> String {
    let (unit_ms, unit) = match end_ms {
        ..2_000.0 => (1.0, "ms"),
        ..600_000.0 => (1e3, "s"),
        ..36_000_000.0 => (60e3, "min"),
        _ => (3_600e3, "h"),
    };
    format!("{} {unit}", plain(ms / unit_ms))
}

/// A number without needless decimals.
pub(super) fn plain(value: f64) -> String {
    let rounded = format!("{value:.3}");
    let rounded = rounded.trim_end_matches('0').trim_end_matches('.');
    match rounded.parse::<f64>() {
        Ok(whole) if whole.fract() == 0.0 => units::figure(whole),
        _ => rounded.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let check = |scale: Scale, expected: &[f64]| {
            let ticks = scale.ticks(5);
            assert_eq!(ticks.len(), expected.len(), "{ticks:?}");
            assert!(ticks.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{ticks:?}");
        };
        check(Scale::linear(0.0, 8_034.0), &[0.0, 2_000.0, 4_000.0, 6_000.0, 8_000.0]);
        check(Scale::linear(0.0, 0.0), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(Scale::log([0.9, 40.0]).unwrap(), &[1.0, 2.0, 5.0, 10.0, 20.0]);
        check(Scale::log([0.001, 9_000.0]).unwrap(), &[0.001, 0.1, 10.0, 1_000.0]);
        check(Scale::log([5.5, 6.5]).unwrap(), &[5.0, 5.5, 6.0, 6.5, 7.0]);
        assert!(Scale::log([0.0, -1.0, f64::NAN]).is_none());
    }

    #[test]
    fn positions_are_fractions() {
        let scale = Scale { from: 1.0, to: 100.0, is_log: true };
        assert_eq!([0.0, 1.0, 10.0, 100.0, 1e9].map(|value| scale.at(value)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(Scale::linear(0.0, 4.0).at(1.0), 0.25);
    }

    #[test]
    fn labels_have_a_fitting_unit() {
        assert_eq!(
            [0.05, 0.2, 5.0, 1_000.0, 2_500.0].map(duration_tick),
            ["50 µs", "200 µs", "5 ms", "1 s", "2.5 s"]
        );
        assert_eq!(time_tick(500.0, 1_500.0), "500 ms");
        assert_eq!(time_tick(2_000.0, 8_000.0), "2 s");
        assert_eq!(time_tick(90_000.0, 3_600_000.0), "1.5 min");
    }
}
