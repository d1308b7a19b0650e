//! Comparisons over all rows: the ratio of each pair of rows, or a rank test of two samples.

use muster_stats::statistics::Confidence;
use muster_stats::statistics::mann_whitney::{MannWhitney, placement};
use muster_stats::statistics::signed_rank::SignedRank;

use super::conclusion::finding;
use super::design::Design;
use super::figures;
use crate::result::Bins;
use crate::result::comparison::{RankTest, RowByRow, SignedRankTest};

/// Maximum number of values to which a sample is thinned for computing placements.
const THINNED_MAX: usize = 1 << 14;

/// Compares each row with itself by the ratio new ÷ base; `None` unless rows are paired and there are enough of them.
pub(super) fn row_by_row(design: &Design, each: Confidence, margin: f64) -> Option<RowByRow> {
    let logarithm = |ns: u64| (ns.max(1) as f64).ln();
    let mut ratios = design.of_pairs(|base, new| logarithm(new) - logarithm(base))?;
    let mean = design.mean_of_pairs(&ratios)?;
    let margin_of_error = each.student_quantile(mean.degrees_of_freedom) * mean.error_variance().sqrt();
    let change = mean.mean.exp_m1();
    let change_ci = figures::around(mean.mean, margin_of_error).map(|ends| ends.map(f64::exp_m1));
    let signed_rank = SignedRank::of(&ratios).and_then(|test| {
        let scores = design.mean_of_pairs(&test.scores)?;
        let p_value = test.p_value_of_dependent(scores.inflation(), scores.degrees_of_freedom);
        Some(SignedRankTest { deviate: test.deviate, p_value })
    });
    ratios.sort_unstable_by(f64::total_cmp);
    Some(RowByRow {
        change,
        change_ci,
        median_change: ratios[(ratios.len() - 1) / 2].exp_m1(),
        finding: finding(Some(change), change_ci, margin),
        signed_rank,
        worth: mean.effective_sample_size(),
        changes: histogram(&ratios),
    })
}

/// A histogram of logarithms of ratios, as changes. The bins are equally wide as ratios, and reach from the first to the last percent of
/// the sorted values.
fn histogram(sorted: &[f64]) -> Bins {
    const BINS: usize = 40;
    let rank = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let (low, high) = (rank(0.01), rank(0.99));
    let width = (high - low).max(f64::EPSILON) / BINS as f64;
    let mut counts = [0_u64; BINS];
    for value in sorted {
        // A float-to-integer cast saturates.
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
    }
    let end = |at: usize| (low + at as f64 * width).exp_m1();
    let bins = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    Bins(bins.map(|(at, count)| (end(at), end(at + 1), *count)).collect())
}

/// Tests which sample tends to have longer times; `None` for paired rows, for which the signed-rank test is more powerful.
pub(super) fn rank_test(design: &Design) -> Option<RankTest> {
    if design.pairs.is_some() {
        return None;
    }
    let [base, new] = [&design.base, &design.new];
    let test = MannWhitney::of(&base.sorted_ns, &new.sorted_ns)?;
    // The statistic is the mean of the placements of either sample in the other, so its variance is the sum of theirs (Sen 1967).
    let [among_base, among_new] = [base, new].map(|sample| thinned(&sample.sorted_ns));
    let of_base = base.mean(|ns| placement(&among_new, ns))?;
    let of_new = new.mean(|ns| placement(&among_base, ns))?;
    let errors = [of_base.error_variance(), of_new.error_variance()];
    let if_independent = of_base.variance / base.len() as f64 + of_new.variance / new.len() as f64;
    let inflation = if if_independent > 0.0 { (errors[0] + errors[1]) / if_independent } else { 1.0 };
    let degrees_of_freedom = figures::welch(errors, [of_base.degrees_of_freedom, of_new.degrees_of_freedom]);
    let p_value = test.p_value_of_dependent(inflation, degrees_of_freedom);
    Some(RankTest { new_longer: test.share(), deviate: test.deviate, p_value })
}

/// Returns every n-th value of a large ascending sample: searching millions of values among millions takes a minute, and some thousands
/// show the dependence equally well.
fn thinned(sorted_ns: &[u64]) -> Vec<u64> {
    let step = sorted_ns.len().div_ceil(THINNED_MAX).max(1);
    sorted_ns.iter().copied().skip(step / 2).step_by(step).collect()
}
