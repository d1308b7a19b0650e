//! The protocol and formats in which statements are sent to PostgreSQL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// PostgreSQL's query protocols, with the names that pgbench uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The statement is parsed once, then bound and executed for each row.
    #[default]
    Prepared,
    /// The statement is parsed, bound and executed for each row, in one round trip.
    Extended,
    /// One SQL text per row, with the values as literals.
    Simple,
}

/// The format of the values in result rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultFormat {
    Binary,
    Text,
}

/// The format in which a statement's results were received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedFormat {
    pub format: ResultFormat,
    /// Result types without a binary output function, because of which the format is text.
    pub without_binary: Vec<String>,
}

/// PostgreSQL's setting `plan_cache_mode`: whether a prepared statement is planned again for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanCacheMode {
    Auto,
    ForceCustomPlan,
    ForceGenericPlan,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not one of {known}")]
pub struct Unknown {
    text: String,
    known: &'static str,
}

impl Protocol {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Extended => "extended",
            Self::Simple => "simple",
        }
    }
}

impl FromStr for Protocol {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let found = [Self::Prepared, Self::Extended, Self::Simple].into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| Unknown { text: text.to_owned(), known: "prepared, extended, simple" })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ResultFormat {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }
}

impl FromStr for ResultFormat {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let found = [Self::Binary, Self::Text].into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| Unknown { text: text.to_owned(), known: "binary, text" })
    }
}

impl fmt::Display for ResultFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PlanCacheMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForceCustomPlan => "force_custom_plan",
            Self::ForceGenericPlan => "force_generic_plan",
        }
    }
}

impl FromStr for PlanCacheMode {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let all = [Self::Auto, Self::ForceCustomPlan, Self::ForceGenericPlan];
        let found = all.into_iter().find(|mode| mode.name() == text);
        let known = "auto, force_custom_plan, force_generic_plan";
        found.ok_or_else(|| Unknown { text: text.to_owned(), known })
    }
}

impl fmt::Display for PlanCacheMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_round_trips_and_others_are_rejected() {
        for protocol in [Protocol::Prepared, Protocol::Extended, Protocol::Simple] {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        for format in [ResultFormat::Binary, ResultFormat::Text] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        for mode in [PlanCacheMode::Auto, PlanCacheMode::ForceCustomPlan, PlanCacheMode::ForceGenericPlan] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        let error = "binary".parse::<Protocol>().unwrap_err();
        assert_eq!(error.to_string(), "'binary' is not one of prepared, extended, simple");
    }
}
