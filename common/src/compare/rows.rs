//! All rows at once: each row of a pair against the other, or the ranks of two samples.

use super::design::Design;
use super::result::{RankTest, RowByRow, SignedRankTest};
use super::{figures, finding};
use crate::statistics::Confidence;
use crate::statistics::mann_whitney::{MannWhitney, placement};
use crate::statistics::signed_rank::SignedRank;

/// Values of a sample among which those of the other are placed.
const THINNED_MAX: usize = 1 << 14;

/// What the rows' own ratios say, new ÷ base of each; `None` unless rows are paired and enough.
pub(super) fn row_by_row(design: &Design, each: Confidence, margin: f64) -> Option<RowByRow> {
    let logarithm = |ns: u64| (ns.max(1) as f64).ln();
    let mut ratios = design.of_pairs(|base, new| logarithm(new) - logarithm(base))?;
    let mean = design.mean_of_pairs(&ratios)?;
    let reach = each.student_quantile(mean.degrees_of_freedom) * mean.error_variance().sqrt();
    let change = mean.mean.exp_m1();
    let change_ci = figures::about(mean.mean, reach).map(|ends| ends.map(f64::exp_m1));
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
        worth: mean.worth(),
    })
}

/// Which sample has rather the longer times; `None` for paired rows, of which more can be said.
pub(super) fn rank_test(design: &Design) -> Option<RankTest> {
    if design.pairs.is_some() {
        return None;
    }
    let [base, new] = [&design.base, &design.new];
    let test = MannWhitney::of(&base.sorted_ns, &new.sorted_ns)?;
    // The statistic is the mean of either sample's placements in the other, so its variance is the sum of theirs (Sen 1967).
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

/// Every so many of a large sample in ascending order: to look up millions of values among millions takes a minute, and how they hang
/// together is seen as well among some thousands.
fn thinned(sorted_ns: &[u64]) -> Vec<u64> {
    let step = sorted_ns.len().div_ceil(THINNED_MAX).max(1);
    sorted_ns.iter().copied().skip(step / 2).step_by(step).collect()
}
