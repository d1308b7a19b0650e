//! Selects the statement of each row in a run with several statements. The row's query column names it, or it is drawn by weight. The draw
//! depends only on the seed and the row id, so it is the same in every pass and for every worker.

use muster_core::ids::RowId;
use muster_stats::random::SplitMix64;
use serde::{Deserialize, Serialize};

use super::error::Fault;

/// The default of `--query-column`.
pub const QUERY_COLUMN: &str = "query";

/// A mix of at least two statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// The query column. If the file has no such column, statements are drawn by weight.
    pub column: String,
    pub statements: Vec<MixStatement>,
    /// The random seed of the draw by weight.
    pub seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixStatement {
    pub name: String,
    /// The columns that the statement's placeholders name, in the order of `$1`, `$2`, ….
    pub parameters: Vec<String>,
    /// The relative weight, above 0.
    pub weight: u32,
}

/// How the statement of each row is selected.
#[derive(Debug)]
pub(super) enum Choice {
    /// There is only one statement.
    Single,
    /// The statement of each row, in one byte: there are at most `limits::STATEMENTS_MAX` statements.
    Named(Vec<u8>),
    Weighted {
        /// The sum of the weights up to and including each statement.
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

    /// The position of the row's statement in the mix.
    pub(super) fn of(&self, row: RowId) -> u16 {
        match self {
            Self::Single => 0,
            Self::Named(statements) => statements.get(row.index()).copied().unwrap_or(0).into(),
            Self::Weighted { cumulative, seed } => {
                let all = cumulative.last().copied().unwrap_or(0);
                let drawn = SplitMix64::of_stream(*seed, row.get().into()).below(all);
                let position = cumulative.partition_point(|sum| *sum <= drawn);
                u16::try_from(position).expect("there are at most STATEMENTS_MAX statements")
            }
        }
    }
}

/// The position of the statement that the value names.
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
    fn statements_are_drawn_by_weight_and_the_draw_repeats_with_the_seed() {
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
