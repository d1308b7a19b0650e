//! Several statements in one run: which of them a record is run with. A column of the file names it, or chance decides by weight, the
//! same way in every pass and whoever runs the row.

use muster_common::ids::RowId;
use muster_common::random::SplitMix64;
use serde::{Deserialize, Serialize};

use super::error::Fault;

/// The column that names the statement, unless `--query-column` names another.
pub const QUERY_COLUMN: &str = "query";

/// At least two statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// Where the file has this column, it decides.
    pub column: String,
    pub statements: Vec<MixStatement>,
    /// Of the choice by weight.
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixStatement {
    pub name: String,
    /// The columns that its placeholders name, in the order of `$1`, `$2`, ….
    pub parameters: Vec<String>,
    /// Above 0.
    pub weight: u32,
}

/// How each record's statement is known.
#[derive(Debug)]
pub(super) enum Choice {
    /// There is one.
    Single,
    /// By record. A byte each: there are at most `limits::STATEMENTS_MAX`.
    Named(Vec<u8>),
    Weighted {
        /// Up to each statement, itself included.
        cumulative: Vec<u64>,
        seed: u64,
    },
}

impl Choice {
    pub(super) fn weighted(mix: &Mix) -> Self {
        let mut sum = 0;
        let cumulative = mix.statements.iter().map(|statement| {
            sum += u64::from(statement.weight);
            sum
        });
        Self::Weighted { cumulative: cumulative.collect(), seed: mix.seed }
    }

    /// Position among the statements.
    pub(super) fn of(&self, record: RowId) -> u16 {
        match self {
            Self::Single => 0,
            Self::Named(statements) => statements.get(record.index()).copied().unwrap_or(0).into(),
            Self::Weighted { cumulative, seed } => {
                let all = cumulative.last().copied().unwrap_or(0);
                let drawn = SplitMix64::of_stream(*seed, record.get().into()).below(all);
                let position = cumulative.partition_point(|sum| *sum <= drawn);
                u16::try_from(position).expect("there are at most STATEMENTS_MAX statements")
            }
        }
    }
}

/// The statement that a record names.
pub(super) fn named(value: &[u8], column: &str, names: &[String]) -> Result<u8, Fault> {
    let found = names.iter().position(|name| name.as_bytes() == value);
    found.and_then(|position| u8::try_from(position).ok()).ok_or_else(|| Fault::UnknownQuery {
        column: column.to_owned(),
        value: String::from_utf8_lossy(value).into_owned(),
        known: names.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_keeps_to_the_weights_and_repeats_with_the_seed() {
        let statement =
            |name: &str, weight| MixStatement { name: name.to_owned(), parameters: vec![], weight };
        let statements = vec![statement("read", 7), statement("scan", 2), statement("rare", 1)];
        let counts = |seed| {
            let mix = Mix { column: QUERY_COLUMN.to_owned(), statements: statements.clone(), seed };
            let choice = Choice::weighted(&mix);
            let mut counts = [0u32; 3];
            (0..10_000).for_each(|row| counts[usize::from(choice.of(RowId::new(row)))] += 1);
            counts
        };
        let [read, scan, rare] = counts(1);
        assert!((6_800..7_200).contains(&read) && (1_850..2_150).contains(&scan), "{read} {scan} {rare}");
        assert!((900..1_100).contains(&rare), "{rare}");
        assert_eq!(counts(1), counts(1));
        assert_ne!(counts(1), counts(2));
    }
}
