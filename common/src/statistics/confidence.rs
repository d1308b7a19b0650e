//! How sure a statement is to be.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The share of all samples, could they be drawn again and again, of which a statement made so is true: above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a confidence lies between 0 and 1, and {0} does not")]
pub struct InvalidConfidence(f64);

impl Confidence {
    /// What every interval of a report has.
    pub const P95: Self = Self(0.95);

    pub fn try_new(share: f64) -> Result<Self, InvalidConfidence> {
        if share > 0.0 && share < 1.0 { Ok(Self(share)) } else { Err(InvalidConfidence(share)) }
    }

    pub const fn get(self) -> f64 {
        self.0
    }

    /// What each of so many statements needs for all of them to hold at once with this confidence, however they depend on each other
    /// (Bonferroni).
    pub fn of_each(self, statements: usize) -> Self {
        Self(1.0 - (1.0 - self.0) / statements.max(1) as f64)
    }

    /// The probability of erring on one side.
    pub fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// Standard deviations of the normal distribution on either side.
    pub fn normal_quantile(self) -> f64 {
        standard_normal().inverse_cdf(1.0 - self.tail())
    }

    /// The same for a deviation that was estimated with so many degrees of freedom (Student). Infinite where there are none.
    pub fn student_quantile(self, degrees_of_freedom: f64) -> f64 {
        match StudentsT::new(0.0, 1.0, degrees_of_freedom) {
            Ok(student) => student.inverse_cdf(1.0 - self.tail()),
            Err(_) => f64::INFINITY,
        }
    }
}

/// How probable it is that a deviate lies at least so far from 0, on either side: one whose deviation was estimated with so many degrees
/// of freedom (Student), or, when that is infinite, a normal one.
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
    fn quantiles_are_those_of_the_tables() {
        let check = |got: f64, expected: f64| assert!((got - expected).abs() < 5e-4, "{got}, not {expected}");
        check(Confidence::P95.normal_quantile(), 1.960);
        check(Confidence::P95.student_quantile(1.0), 12.706);
        check(Confidence::P95.student_quantile(9.0), 2.262);
        check(Confidence::P95.student_quantile(120.0), 1.980);
        check(Confidence::P95.of_each(5).student_quantile(9.0), 3.250);
        check(two_sided(-1.96, f64::INFINITY), 0.05);
        check(two_sided(2.262, 9.0), 0.05);
        assert_eq!(Confidence::P95.student_quantile(0.0), f64::INFINITY);
    }

    #[test]
    fn a_confidence_lies_between_the_ends() {
        for bad in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert!(Confidence::try_new(bad).is_err(), "{bad}");
        }
        assert!((Confidence::P95.of_each(5).get() - 0.99).abs() < 1e-12);
        assert_eq!(Confidence::P95.of_each(1), Confidence::P95);
    }
}
