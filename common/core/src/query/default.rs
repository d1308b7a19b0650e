//! The query that runs by default: maximum and minimum usage of a host for every minute of a time range, both ends included.

use std::fmt;

/// The function that truncates a time to its minute. All three return the same minutes in a session with time zone UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketFunction {
    /// From TimescaleDB.
    TimeBucket,
    /// In PostgreSQL 14 and later.
    DateBin,
    /// In all versions of PostgreSQL.
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

/// Returns the best function of a server. `server_version_num` is the setting of that name: 150004 is PostgreSQL 15.4.
pub fn for_server(server_version_num: u32, timescaledb: bool) -> BucketFunction {
    if timescaledb {
        BucketFunction::TimeBucket
    } else if server_version_num >= 140_000 {
        BucketFunction::DateBin
    } else {
        BucketFunction::DateTrunc
    }
}

/// Returns the default query with placeholders, for [`Template::parse`](super::Template::parse). All forms have the same columns in order.
pub fn default_sql(function: BucketFunction) -> &'static str {
    // Complete statements rather than a format string, so that they can be copied into psql.
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
    fn every_form_has_the_same_columns_and_calls_its_function() {
        for function in ALL {
            let template = Template::parse(default_sql(function)).unwrap();
            assert_eq!(template.columns(), ["hostname", "start_time", "end_time"]);
            assert!(template.sql().starts_with(&format!("SELECT {function}('")), "{}", template.sql());
            assert!(template.sql().contains("WHERE host = $1 AND ts BETWEEN $2 AND $3 GROUP BY"));
        }
    }

    #[test]
    fn the_best_function_of_the_server_is_used() {
        assert_eq!(for_server(150_004, true), BucketFunction::TimeBucket);
        assert_eq!(for_server(130_012, true), BucketFunction::TimeBucket);
        assert_eq!(for_server(140_000, false), BucketFunction::DateBin);
        assert_eq!(for_server(139_999, false), BucketFunction::DateTrunc);
    }
}
