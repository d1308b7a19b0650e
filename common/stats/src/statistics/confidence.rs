//! Confidence levels, and the quantiles that belong to them.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// A confidence level: the share of repeated samples for which a statement is true. Greater than 0 and less than 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a confidence level must be between 0 and 1, and {0} is not")]
pub struct InvalidConfidence(f64);

impl Confidence {
    /// The confidence level of every interval in a report.
    pub const P95: Self = Self(0.95);

    pub fn try_new(share: f64) -> Result<Self, InvalidConfidence> {
        if share > 0.0 && share < 1.0 { Ok(Self(share)) } else { Err(InvalidConfidence(share)) }
    }

    pub const fn get(self) -> f64 {
        self.0
    }

    /// Returns the confidence level that each of `statements` statements needs so that all of them hold at once with this confidence,
    /// however they depend on each other (Bonferroni correction).
    pub fn bonferroni(self, statements: usize) -> Self {
        Self(1.0 - (1.0 - self.0) / statements.max(1) as f64)
    }

    /// Returns the probability of error on one side.
    pub fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// Returns the two-sided quantile of the normal distribution, in standard deviations.
    pub fn normal_quantile(self) -> f64 {
        standard_normal().inverse_cdf(1.0 - self.tail())
    }

    /// Returns the two-sided quantile of Student's t distribution. Infinite if there are no degrees of freedom.
    pub fn student_quantile(self, degrees_of_freedom: f64) -> f64 {
        match StudentsT::new(0.0, 1.0, degrees_of_freedom) {
            Ok(student) => student.inverse_cdf(1.0 - self.tail()),
            Err(_) => f64::INFINITY,
        }
    }
}

/// Returns the two-sided p-value of a test statistic: by Student's t distribution, or by the normal distribution if `degrees_of_freedom` is
/// infinite.
pub(super) fn two_sided(deviate: f64, degrees_of_freedom: f64) -> f64 {
    let beyond = match StudentsT::new(0.0, 1.0, degrees_of_freedom) {
        Ok(student) if degrees_of_freedom.is_finite() => student.sf(deviate.abs()),
        _ => standard_normal().sf(deviate.abs()),
    };
    2.0 * beyond
}

fn standard_normal() -> Normal {
    Normal::new(0.0, 1.0).expect("a deviation of 1 is above 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_published_tables() {
        let check = |got: f64, expected: f64| assert!((got - expected).abs() < 5e-4, "{got}, not {expected}");
        check(Confidence::P95.normal_quantile(), 1.960);
        check(Confidence::P95.student_quantile(1.0), 12.706);
        check(Confidence::P95.student_quantile(9.0), 2.262);
        check(Confidence::P95.student_quantile(120.0), 1.980);
        check(Confidence::P95.bonferroni(5).student_quantile(9.0), 3.250);
        check(two_sided(-1.96, f64::INFINITY), 0.05);
        check(two_sided(2.262, 9.0), 0.05);
        assert_eq!(Confidence::P95.student_quantile(0.0), f64::INFINITY);
    }

    #[test]
    fn a_confidence_level_is_between_0_and_1() {
        for bad in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert!(Confidence::try_new(bad).is_err(), "{bad}");
        }
        assert!((Confidence::P95.bonferroni(5).get() - 0.99).abs() < 1e-12);
        assert_eq!(Confidence::P95.bonferroni(1), Confidence::P95);
    }
}
