//! The query that runs when none is named: the highest and the lowest usage of a host for every minute of a range, ends included.

use std::fmt;

/// How a time is brought to the beginning of its minute. All three give the same minutes in a session that runs in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketFunction {
    /// TimescaleDB's own.
    TimeBucket,
    /// PostgreSQL 14 and later.
    DateBin,
    /// Any PostgreSQL.
    DateTrunc,
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

/// The one that a server has. `server_version_num` is the setting of that name: 150004 is PostgreSQL 15.4.
pub fn for_server(server_version_num: u32, timescaledb: bool) -> BucketFunction {
    if timescaledb {
        BucketFunction::TimeBucket
    } else if server_version_num >= 140_000 {
        BucketFunction::DateBin
    } else {
        BucketFunction::DateTrunc
    }
}

/// The default query with placeholders, for [`Template::parse`](super::Template::parse). All forms have the same columns in the same order.
pub fn default_sql(function: BucketFunction) -> &'static str {
    // Whole texts rather than a pattern: what stands here is what anyone can paste into psql.
    match function {
        BucketFunction::TimeBucket => {
            "SELECT time_bucket('1 minute', ts) AS minute, max(usage), min(usage) FROM cpu_usage \
             WHERE host = :hostname AND ts BETWEEN :start_time AND :end_time GROUP BY minute ORDER BY minute"
        }
        BucketFunction::DateBin => {
            "SELECT date_bin('1 minute', ts, TIMESTAMPTZ '2000-01-01') AS minute, max(usage), min(usage) FROM cpu_usage \
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
    use super::super::Template;
    use super::*;

    const ALL: [BucketFunction; 3] =
        [BucketFunction::TimeBucket, BucketFunction::DateBin, BucketFunction::DateTrunc];

    #[test]
    fn every_form_takes_the_same_columns_and_calls_the_function_it_names() {
        for function in ALL {
            let template = Template::parse(default_sql(function)).unwrap();
            assert_eq!(template.columns(), ["hostname", "start_time", "end_time"]);
            assert!(template.sql().starts_with(&format!("SELECT {function}('")), "{}", template.sql());
            assert!(template.sql().contains("WHERE host = $1 AND ts BETWEEN $2 AND $3 GROUP BY"));
        }
    }

    #[test]
    fn the_function_is_the_best_that_the_server_has() {
        assert_eq!(for_server(150_004, true), BucketFunction::TimeBucket);
        assert_eq!(for_server(130_012, true), BucketFunction::TimeBucket);
        assert_eq!(for_server(140_000, false), BucketFunction::DateBin);
        assert_eq!(for_server(139_999, false), BucketFunction::DateTrunc);
    }
}
