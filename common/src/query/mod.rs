//! The statement that every row runs: SQL with `:column` placeholders named after CSV columns. Pure text work; the server checks the rest.

mod scan;
mod template;

use std::fmt;

pub use template::{Template, TemplateError};

/// What the default query groups by. All three give the same minutes; which one exists depends on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketFunction {
    /// TimescaleDB.
    TimeBucket,
    /// PostgreSQL 14 and later.
    DateBin,
    /// PostgreSQL 13.
    DateTrunc,
}

impl BucketFunction {
    /// `version_num` as PostgreSQL's `server_version_num`: 150018 is 15.18.
    pub const fn for_server(version_num: u32, has_timescaledb: bool) -> Self {
        if has_timescaledb {
            Self::TimeBucket
        } else if version_num >= 140_000 {
            Self::DateBin
        } else {
            Self::DateTrunc
        }
    }
}

impl fmt::Display for BucketFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeBucket => "time_bucket",
            Self::DateBin => "date_bin",
            Self::DateTrunc => "date_trunc",
        })
    }
}

/// Highest and lowest usage of a host for every minute of the range, ends included. All forms name the same columns in the same order.
pub const fn default_sql(bucket: BucketFunction) -> &'static str {
    match bucket {
        BucketFunction::TimeBucket => {
            "SELECT time_bucket('1 minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage \
             WHERE host = :hostname AND ts BETWEEN :start_time AND :end_time GROUP BY minute ORDER BY minute"
        }
        BucketFunction::DateBin => {
            "SELECT date_bin('1 minute', ts, TIMESTAMPTZ '2000-01-01 00:00:00+00') AS minute, max(usage), min(usage) \
             FROM cpu_usage \
             WHERE host = :hostname AND ts BETWEEN :start_time AND :end_time GROUP BY minute ORDER BY minute"
        }
        BucketFunction::DateTrunc => {
            "SELECT date_trunc('minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage \
             WHERE host = :hostname AND ts BETWEEN :start_time AND :end_time GROUP BY minute ORDER BY minute"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_the_default_query_has_the_same_parameters() {
        for bucket in [BucketFunction::TimeBucket, BucketFunction::DateBin, BucketFunction::DateTrunc] {
            let template = Template::parse(default_sql(bucket)).unwrap();
            assert_eq!(template.columns(), ["hostname", "start_time", "end_time"]);
            assert!(template.sql().contains(&bucket.to_string()));
        }
    }

    #[test]
    fn the_bucket_function_is_one_that_the_server_has() {
        assert_eq!(BucketFunction::for_server(130_010, false), BucketFunction::DateTrunc);
        assert_eq!(BucketFunction::for_server(140_000, false), BucketFunction::DateBin);
        assert_eq!(BucketFunction::for_server(130_010, true), BucketFunction::TimeBucket);
    }
}
