//! The Wilcoxon signed-rank test (1945): do paired differences lie symmetrically about 0?

use super::confidence::two_sided;

/// The result of the test for one list of differences.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedRank {
    /// Number of differences other than 0. Zeros carry no information and are left out, as in Wilcoxon's paper.
    pub count: usize,
    /// Sum of the ranks of the positive differences, ranked by absolute value; equal values share the mean of their ranks.
    pub positive: f64,
    /// Deviation from the expected sum in standard deviations, by the normal approximation with continuity correction. Positive if the
    /// differences tend to be positive.
    pub deviate: f64,
    /// Signed rank of each difference, in the given order; 0 for a difference of 0.
    pub scores: Vec<f64>,
}

impl SignedRank {
    /// Returns `None` if there is no difference other than 0.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let mut order: Vec<usize> = (0..differences.len()).filter(|i| differences[*i] != 0.0).collect();
        if order.is_empty() {
            return None;
        }
        order.sort_unstable_by(|a, b| differences[*a].abs().total_cmp(&differences[*b].abs()));
        let n = order.len() as f64;
        let (mut scores, mut positive) = (vec![0.0; differences.len()], 0.0);
        let (mut ranked, mut ties) = (0, 0.0);
        for equal in order.chunk_by(|a, b| differences[*a].abs() == differences[*b].abs()) {
            let size = equal.len() as f64;
            let rank = ranked as f64 + (size + 1.0) / 2.0;
            for i in equal {
                scores[*i] = rank.copysign(differences[*i]);
                if differences[*i] > 0.0 {
                    positive += rank;
                }
            }
            ranked += equal.len();
            ties += size * size * size - size;
        }
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
        let deviate = continuity_corrected(positive - n * (n + 1.0) / 4.0) / variance.sqrt();
        Some(Self { count: order.len(), positive, deviate, scores })
    }

    /// Returns the two-sided p-value for independent differences.
    pub fn p_value(&self) -> f64 {
        two_sided(self.deviate, f64::INFINITY)
    }

    /// Returns the p-value for dependent differences. `inflation` is the factor by which dependence increases the variance of their mean,
    /// estimated with `degrees_of_freedom`.
    pub fn p_value_of_dependent(&self, inflation: f64, degrees_of_freedom: f64) -> f64 {
        two_sided(self.deviate / inflation.max(1.0).sqrt(), degrees_of_freedom)
    }
}

/// Continuity correction: moves half a unit towards 0, because rank sums are integers and the normal distribution is continuous.
pub(super) fn continuity_corrected(deviation: f64) -> f64 {
    (deviation.abs() - 0.5).max(0.0).copysign(deviation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[track_caller]
    fn check(differences: &[f64], positive: f64, p_value: f64) -> SignedRank {
        let test = SignedRank::of(differences).unwrap();
        assert_eq!(test.positive, positive);
        assert!((test.p_value() - p_value).abs() < 5e-5, "{}, expected {p_value}", test.p_value());
        test
    }

    /// Hollander and Wolfe 1973, p. 29: depression before and after a tranquilizer. V = 40; the exact p is 0.0391, and R's
    /// `wilcox.test(x, y, paired = TRUE, exact = FALSE)` gives 0.0440 by the approximation.
    #[test]
    fn the_example_of_hollander_and_wolfe() {
        let before = [1_830, 500, 1_620, 2_480, 1_680, 1_880, 1_550, 3_060, 1_300];
        let after = [878, 647, 598, 2_050, 1_060, 1_290, 1_060, 3_140, 1_290];
        let differences: Vec<f64> = before.iter().zip(after).map(|(x, y)| f64::from(x - y)).collect();
        check(&differences, 40.0, 0.0440);
    }

    /// Darwin's maize data, as in the documentation of scipy: W = 24 of 120, exact p 0.0413.
    #[test]
    fn darwins_maize() {
        let differences =
            [6.0, 8.0, 14.0, 16.0, 23.0, 24.0, 28.0, 29.0, 41.0, -48.0, 49.0, 56.0, 60.0, -67.0, 75.0];
        let test = check(&differences, 96.0, 0.0438);
        assert!(test.deviate > 0.0);
    }

    /// Computed by hand: the absolute values 1, 1, 2, 2, 2, 3 have the ranks 1.5, 1.5, 4, 4, 4, 6.
    #[test]
    fn zeros_are_left_out_and_ties_share_their_mean_rank() {
        let test = SignedRank::of(&[0.0, 1.0, -1.0, 2.0, 0.0, 2.0, -2.0, 3.0]).unwrap();
        assert_eq!((test.count, test.positive), (6, 15.5));
        assert_eq!(test.scores, [0.0, 1.5, -1.5, 4.0, 0.0, 4.0, -4.0, 6.0]);
        // 6 × 7 × 13 ÷ 24 − (2³ − 2 + 3³ − 3) ÷ 48.
        let variance: f64 = 22.75 - 30.0 / 48.0;
        assert!((test.deviate - (15.5 - 10.5 - 0.5) / variance.sqrt()).abs() < 1e-12);
        assert_eq!(SignedRank::of(&[0.0, 0.0]), None);
        assert_eq!(SignedRank::of(&[]), None);
    }

    #[test]
    fn dependence_increases_the_p_value() {
        let test = SignedRank::of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -0.5, 7.0]).unwrap();
        let dependent = |inflation| test.p_value_of_dependent(inflation, f64::INFINITY);
        assert!(dependent(4.0) > test.p_value());
        assert_eq!(dependent(0.25), test.p_value(), "it never decreases the p-value");
        assert!(test.p_value_of_dependent(4.0, 10.0) > dependent(4.0));
    }

    #[test]
    fn differences_about_0_are_significant_as_often_as_the_level_says() {
        let mut random = SplitMix64::new(5);
        let found = (0..2_000).filter(|_| {
            let differences: Vec<f64> = (0..50).map(|_| random.normal()).collect();
            SignedRank::of(&differences).unwrap().p_value() < 0.05
        });
        let found = found.count();
        assert!((60..=140).contains(&found), "{found} of 2,000");
    }
}
