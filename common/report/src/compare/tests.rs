//! Comparisons of simulated runs, for which the true difference is known.

use muster_core::ids::RowId;
use muster_stats::random::SplitMix64;

use super::design::Design;
use super::*;
use crate::result::comparison::Finding;

/// A closed loop over rows of different cost. Noise is autocorrelated within a worker.
#[derive(Debug, Clone, Copy)]
struct Loop {
    rows: u32,
    workers: u32,
    /// Standard deviation of the logarithm of the rows' costs.
    costs: f64,
    /// Standard deviation of the logarithm of the noise.
    noise: f64,
    /// Correlation of the noise between successive queries of a worker.
    rho: f64,
    /// Factor on all times.
    factor: f64,
}

const QUIET: Loop = Loop { rows: 400, workers: 4, costs: 0.8, noise: 0.1, rho: 0.0, factor: 1.0 };

impl Loop {
    /// Runs rows of these costs, assigned to workers round robin.
    fn run(&self, random: &mut SplitMix64, costs: &[f64]) -> Series {
        let innovation = (1.0 - self.rho * self.rho).sqrt();
        let mut workers: Vec<(u64, f64)> = (0..self.workers).map(|_| (0, random.normal())).collect();
        let timed = (0..self.rows).zip(costs).map(|(row, cost)| {
            let worker = row % self.workers;
            let (clock_ns, state) = &mut workers[worker as usize];
            *state = self.rho * *state + innovation * random.normal();
            let service_ns = (5e6 * self.factor * (cost + self.noise * *state).exp()).round() as u64;
            let start_ns = *clock_ns;
            *clock_ns += service_ns + 10_000;
            Timed { row: RowId::new(row), worker, start_ns, lag_ns: 0, service_ns }
        });
        Series::new(timed.collect())
    }

    fn costs(&self, random: &mut SplitMix64) -> Vec<f64> {
        (0..self.rows).map(|_| self.costs * random.normal()).collect()
    }
}

/// Two runs of the same rows.
fn pair(random: &mut SplitMix64, base: Loop, new: Loop) -> [Series; 2] {
    let costs = base.costs(random);
    [base.run(random, &costs), new.run(random, &costs)]
}

/// Two runs of different rows.
fn unpaired(random: &mut SplitMix64, base: Loop, new: Loop) -> [Series; 2] {
    [base, new].map(|each| {
        let costs = each.costs(random);
        each.run(random, &costs)
    })
}

/// Every significant difference counts, however small.
const NO_MARGIN: Options = Options { margin: 0.0, timing: Timing::Separate };

fn found(measured: &Measured) -> Option<Finding> {
    Some(conclusion::overall(measured)).filter(|finding| !matches!(finding, Finding::Noise))
}

// -- runs without a difference -----------------------------------------------------------------------------------------

/// Makes 100 comparisons of equal runs: at most five find a difference in any statistic.
#[track_caller]
fn check_alike(what: &str, compared: impl Fn(&mut SplitMix64) -> Measured) {
    let mut random = SplitMix64::new(2026);
    let findings: Vec<Finding> = (0..100).filter_map(|_| found(&compared(&mut random))).collect();
    assert!(findings.len() <= 5, "{what}: {findings:?}");
}

#[test]
fn equal_runs_do_not_differ() {
    let compared = |base: Loop, new: Loop| {
        move |random: &mut SplitMix64| {
            let [base, new] = pair(random, base, new);
            paired(&base, &new, NO_MARGIN)
        }
    };
    check_alike("quiet", compared(QUIET, QUIET));
    let busy = Loop { noise: 0.5, rho: 0.7, rows: 1_000, ..QUIET };
    check_alike("autocorrelated noise", compared(busy, busy));
    check_alike("other workers, so another order", compared(busy, Loop { workers: 7, ..busy }));
    let few = Loop { rows: 200, workers: 10, ..QUIET };
    check_alike("ten workers with twenty rows each", compared(few, few));
}

#[test]
fn equal_runs_of_different_rows_do_not_differ() {
    let compared = |base: Loop, new: Loop| {
        move |random: &mut SplitMix64| {
            let [base, new] = unpaired(random, base, new);
            two_samples(&base, &new, NO_MARGIN)
        }
    };
    check_alike("independent", compared(QUIET, Loop { rows: 300, ..QUIET }));
    let busy = Loop { costs: 0.1, noise: 0.8, rho: 0.7, rows: 1_000, ..QUIET };
    check_alike("autocorrelated noise", compared(busy, busy));
}

/// Shows that the test above can fail: assuming independence, every third of these comparisons would find a difference.
#[test]
fn assuming_independence_would_find_differences_between_equal_runs() {
    let busy = Loop { noise: 0.5, rho: 0.7, rows: 1_000, ..QUIET };
    let mut random = SplitMix64::new(1);
    let naive = (0..100).filter(|_| {
        let [base, new] = pair(&mut random, busy, busy);
        let design = Design::paired(&base, &new, Timed::service_ns);
        let ratios = design.of_pairs(|base, new| (new as f64 / base as f64).ln()).unwrap();
        let mean = design.mean_of_pairs(&ratios).unwrap();
        mean.mean.abs() > 1.96 * (mean.variance / mean.count as f64).sqrt()
    });
    assert!(naive.count() > 30);
}

// -- runs with a difference --------------------------------------------------------------------------------------------

/// Returns the number of rows with which, in theory, nine of ten comparisons find a difference of 5 % row by row: the change is as far from
/// 0 as the margin of error plus 1.28 standard deviations (`n = ((t + z) × σ ÷ ln 1.05)²`, σ of the logarithms of the rows' ratios).
fn rows_in_theory(runs: Loop) -> u32 {
    let sigma = runs.noise * std::f64::consts::SQRT_2;
    let needed = |deviates: f64| ((deviates + 1.281_6) * sigma / 1.05_f64.ln()).powi(2).ceil();
    let each = |figures: usize| Confidence::P95.bonferroni(figures + 1);
    // The quantile depends on the number of batches, and so on n; a few iterations converge.
    let mut rows = needed(2.58);
    for _ in 0..20 {
        let count = rows as u32;
        let sequence =
            muster_stats::statistics::dependence::Sequence::new((0..count).map(|row| row % runs.workers));
        let degrees_of_freedom = 1.5 * (f64::from(count) / sequence.batch() as f64 - 1.0);
        let figures = if count >= 459 { 4 } else { 3 };
        rows = needed(each(figures).student_quantile(degrees_of_freedom));
    }
    rows as u32
}

#[test]
fn a_change_of_5_percent_is_found_with_the_number_of_rows_that_theory_predicts() {
    let noisy = Loop { noise: 0.2, ..QUIET };
    let rows = rows_in_theory(noisy);
    assert!((500..800).contains(&rows), "{rows}");
    for (rows, expected) in [(rows, 80..=100), (rows * 2, 95..=100), (rows / 8, 0..=40)] {
        let base = Loop { rows, ..noisy };
        let mut random = SplitMix64::new(rows.into());
        let findings = (0..100).map(|_| {
            let [base, new] = pair(&mut random, base, Loop { factor: 1.05, ..base });
            paired(&base, &new, Options::default()).row_by_row.unwrap().finding
        });
        let slower = findings.filter(|finding| *finding == Finding::Slower).count();
        assert!(expected.contains(&slower), "{slower} of 100 with {rows} rows, expected {expected:?}");
    }
}

#[test]
fn swapping_the_runs_inverts_the_changes() {
    let mut random = SplitMix64::new(3);
    let base = Loop { rows: 2_000, ..QUIET };
    let [base, new] = pair(&mut random, base, Loop { factor: 0.9, ..base });
    let forward = paired(&base, &new, Options::default());
    let reverse = paired(&new, &base, Options::default());
    assert_eq!((found(&forward), found(&reverse)), (Some(Finding::Faster), Some(Finding::Slower)));
    for (forward, reverse) in forward.service_time.figures.iter().zip(&reverse.service_time.figures) {
        let ([low, high], [reverse_low, reverse_high]) =
            (forward.change_ci.unwrap(), reverse.change_ci.unwrap());
        assert!(((1.0 + low) * (1.0 + reverse_high) - 1.0).abs() < 1e-9, "{forward:?} {reverse:?}");
        assert!(((1.0 + high) * (1.0 + reverse_low) - 1.0).abs() < 1e-9, "{forward:?} {reverse:?}");
    }
}

#[test]
fn a_slow_tail_is_found_if_the_median_is_the_same() {
    let mut random = SplitMix64::new(4);
    let base = Loop { rows: 4_000, costs: 0.2, ..QUIET };
    let [base, mut new] = pair(&mut random, base, base).map(|series| series.timed().to_vec());
    new.iter_mut().filter(|timed| timed.row.get().is_multiple_of(25)).for_each(|timed| timed.service_ns *= 4);
    // The median changes a little, because a few of the slow rows were below it.
    let measured = paired(&Series::new(base), &Series::new(new), Options { margin: 0.03, ..NO_MARGIN });
    let of = |name: &str| measured.service_time.figures.iter().find(|figure| figure.name == name).unwrap();
    assert_eq!(of("p99").finding, Finding::Slower, "{measured:#?}");
    assert!(of("median").finding != Finding::Slower, "{measured:#?}");
}

#[test]
fn a_significant_change_below_the_margin_is_negligible() {
    let mut random = SplitMix64::new(5);
    let base = Loop { rows: 10_000, noise: 0.02, ..QUIET };
    let [base, new] = pair(&mut random, base, Loop { factor: 1.004, ..base });
    let rows = |margin| paired(&base, &new, Options { margin, ..NO_MARGIN }).row_by_row.unwrap().finding;
    assert_eq!((rows(0.01), rows(0.001)), (Finding::Negligible, Finding::Slower));
}

/// Only lag makes the response time of the new run longer.
#[test]
fn an_open_loop_is_compared_by_response_time_too() {
    let mut random = SplitMix64::new(6);
    let [base, mut new] = pair(&mut random, QUIET, QUIET).map(|series| series.timed().to_vec());
    assert_eq!(paired(&Series::new(base.clone()), &Series::new(new.clone()), NO_MARGIN).response_time, None);
    new.iter_mut().for_each(|timed| timed.lag_ns = 3_000_000);
    let measured = paired(&Series::new(base), &Series::new(new), NO_MARGIN);
    let medians = [Some(&measured.service_time), measured.response_time.as_ref()].map(|table| {
        let figures = &table.unwrap().figures;
        figures[0].finding
    });
    assert_eq!(medians, [Finding::Noise, Finding::Slower]);
    // Three statistics in each table, and row by row.
    assert!((measured.confidence_each - (1.0 - 0.05 / 7.0)).abs() < 1e-12);
}

// -- intervals ---------------------------------------------------------------------------------------------------------

/// Returns the percentage of 95 % intervals that contain the true change of 5 %: median, mean, p95, and row by row if rows are paired.
fn covered(seed: u64, design: impl Fn(&mut SplitMix64) -> Design) -> Vec<f64> {
    const DRAWS: u32 = 2_000;
    let mut random = SplitMix64::new(seed);
    let mut covered = [0; 4];
    for _ in 0..DRAWS {
        let design = design(&mut random);
        let figures = figures::table(&design, Confidence::P95, 0.0).figures.into_iter().take(3);
        let rows = rows::row_by_row(&design, Confidence::P95, 0.0);
        let intervals = figures.map(|figure| figure.change_ci).chain([rows.and_then(|rows| rows.change_ci)]);
        for (covered, interval) in covered.iter_mut().zip(intervals) {
            *covered += u32::from(interval.is_some_and(|[low, high]| low <= 0.05 && 0.05 <= high));
        }
    }
    covered.into_iter().map(|covered| 100.0 * f64::from(covered) / f64::from(DRAWS)).collect()
}

#[test]
fn intervals_of_two_samples_have_the_nominal_coverage() {
    let base = Loop { rows: 500, costs: 0.4, ..QUIET };
    let covered = covered(7, |random| {
        let [base, new] = unpaired(random, base, Loop { factor: 1.05, rows: 300, ..base });
        Design::two_samples(&base, &new, Timed::service_ns)
    });
    assert!(covered[..3].iter().all(|share| (93.0..=97.5).contains(share)), "{covered:?}");
}

#[test]
fn intervals_of_dependent_samples_have_the_nominal_coverage() {
    let base = Loop { rows: 1_200, costs: 0.1, noise: 0.5, rho: 0.7, ..QUIET };
    let covered = covered(8, |random| {
        let [base, new] = unpaired(random, base, Loop { factor: 1.05, ..base });
        Design::two_samples(&base, &new, Timed::service_ns)
    });
    assert!(covered[..3].iter().all(|share| (93.0..=98.0).contains(share)), "{covered:?}");
}

/// Intervals of percentiles of paired rows are conservative: of 300 rows, few cross the 95th percentile.
#[test]
fn intervals_of_pairs_have_the_nominal_coverage() {
    let base = Loop { rows: 300, noise: 0.3, ..QUIET };
    let covered = covered(9, |random| {
        let [base, new] = pair(random, base, Loop { factor: 1.05, ..base });
        Design::paired(&base, &new, Timed::service_ns)
    });
    let [median, mean, p95, rows] = covered[..] else { panic!("{covered:?}") };
    assert!(median >= 93.0 && p95 >= 93.0, "{covered:?}");
    assert!([mean, rows].iter().all(|share| (93.0..=97.5).contains(share)), "{covered:?}");
}

/// Differences in cost between rows cancel out in pairs, so the interval is much narrower.
#[test]
fn pairing_narrows_the_intervals() {
    let mut random = SplitMix64::new(10);
    let [base, new] = pair(&mut random, QUIET, Loop { factor: 1.05, ..QUIET });
    let width = |measured: &Measured| {
        let [low, high] = measured.service_time.figures[0].change_ci.unwrap();
        high - low
    };
    let [of_pairs, of_two] =
        [paired(&base, &new, NO_MARGIN), two_samples(&base, &new, NO_MARGIN)].map(|m| width(&m));
    assert!(of_pairs * 2.0 < of_two, "{of_pairs} {of_two}");
}

// -- edges -------------------------------------------------------------------------------------------------------------

#[test]
fn a_run_does_not_differ_from_itself() {
    let mut random = SplitMix64::new(11);
    let costs = QUIET.costs(&mut random);
    let series = QUIET.run(&mut random, &costs);
    for measured in [paired(&series, &series, NO_MARGIN), two_samples(&series, &series, NO_MARGIN)] {
        assert_eq!(found(&measured), None, "{measured:#?}");
        assert!(
            measured.service_time.figures.iter().all(|figure| figure.difference_ms.unwrap_or(0.0) == 0.0)
        );
    }
    let rows = paired(&series, &series, NO_MARGIN).row_by_row.unwrap();
    assert_eq!((rows.change, rows.change_ci, rows.signed_rank), (0.0, Some([0.0, 0.0]), None));
}

#[test]
fn too_few_rows_are_unsupported() {
    let mut random = SplitMix64::new(12);
    for rows in [0, 1, 19] {
        let few = Loop { rows, ..QUIET };
        let [base, new] = pair(&mut random, few, few);
        for measured in [paired(&base, &new, NO_MARGIN), two_samples(&base, &new, NO_MARGIN)] {
            assert_eq!(found(&measured), Some(Finding::Unsupported), "{rows}");
            assert!(measured.service_time.figures.iter().all(|figure| figure.base_ms.is_none()));
        }
    }
}

#[test]
fn rows_that_one_run_lacks_are_left_out() {
    let mut random = SplitMix64::new(13);
    let [base, new] = pair(&mut random, QUIET, QUIET).map(|series| series.timed().to_vec());
    let without = |timed: &[Timed], lacks: fn(u32) -> bool| {
        Series::new(timed.iter().copied().filter(|timed| !lacks(timed.row.get())).collect())
    };
    let (base, new) = (without(&base, |row| row < 10), without(&new, |row| row % 4 == 3));
    let Rows { method, base, new, only_base, only_new } = paired(&base, &new, NO_MARGIN).rows;
    assert_eq!((method, base, new), (Method::Paired, 292, 292));
    assert_eq!((only_base, only_new), (98, 8));
}

/// All times are equal, as with a clock of microsecond resolution and a query of 1 µs.
#[test]
fn equal_times_can_be_compared() {
    let timed = |service_ns: u64| {
        let timed = |row: u32| Timed {
            row: RowId::new(row),
            worker: row % 2,
            start_ns: u64::from(row),
            lag_ns: 0,
            service_ns,
        };
        Series::new((0..600).map(timed).collect())
    };
    for compared in [paired, two_samples] {
        assert_eq!(found(&compared(&timed(1_000), &timed(1_000), NO_MARGIN)), None);
        assert_eq!(found(&compared(&timed(1_000), &timed(2_000), NO_MARGIN)), Some(Finding::Slower));
        let zero = compared(&timed(0), &timed(0), NO_MARGIN);
        assert!(zero.findings().all(|finding| matches!(finding, Finding::Noise | Finding::Unsupported)));
    }
}
