//! Finds the positions of the needed columns in the header line. Names are compared byte for byte: a similar name is suggested in the error
//! message, but never used.

use super::error::{MissingColumn, SEPARATORS, WorkloadError};
use super::records::Records;
use super::time::Zone;
use super::{Checks, Options};

/// Positions of the columns that a run needs.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    pub(super) host: usize,
    /// The positions of each statement's parameters, in the order of `$1`, `$2`, ….
    pub(super) parameters: Vec<Vec<usize>>,
    /// The position of the query column, and the names of the queries.
    pub(super) query: Option<(usize, Vec<String>)>,
    /// The columns of the time window, if its times are checked.
    pub(super) window: Option<Window>,
    /// Every needed column, without duplicates.
    pub(super) needed: Vec<usize>,
}

/// The positions of the two times, and the time zone of values without an offset.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) zone: Zone,
}

impl Columns {
    pub(super) fn find(file: &str, header: &Records, options: &Options) -> Result<Self, WorkloadError> {
        let names: Vec<String> = (0..header.len())
            .map(|position| String::from_utf8_lossy(header.field(position)).into_owned())
            .collect();
        let needed = needed(options);
        let missing: Vec<MissingColumn> = needed
            .iter()
            .filter(|name| !names.iter().any(|present| present == *name))
            .map(|&name| MissingColumn {
                name: name.to_owned(),
                nearest: nearest(name, &names, &needed),
                is_host: name == options.host_column,
            })
            .collect();
        if !missing.is_empty() {
            return Err(WorkloadError::MissingColumns { file: file.to_owned(), missing, present: names });
        }
        let position = |name: &str| {
            let mut matches = (0..names.len()).filter(|&position| names[position] == name);
            match (matches.next(), matches.next()) {
                (Some(position), None) => Ok(position),
                _ => Err(WorkloadError::DuplicateColumn { file: file.to_owned(), column: name.to_owned() }),
            }
        };
        let positions =
            |names: &[String]| names.iter().map(|name| position(name)).collect::<Result<Vec<_>, _>>();
        let (parameters, query) = match &options.mix {
            None => (vec![positions(&options.parameters)?], None),
            Some(mix) => {
                let statements = mix.statements.iter().map(|statement| positions(&statement.parameters));
                let query = match names.contains(&mix.column) {
                    true => Some((
                        position(&mix.column)?,
                        mix.statements.iter().map(|statement| statement.name.clone()).collect(),
                    )),
                    false => None,
                };
                (statements.collect::<Result<_, _>>()?, query)
            }
        };
        Ok(Self {
            host: position(&options.host_column)?,
            parameters,
            query,
            window: match &options.checks {
                Checks::DemoWindow { start_time, end_time, timezone } => Some(Window {
                    start: position(start_time)?,
                    end: position(end_time)?,
                    zone: Zone::named(timezone.as_deref()),
                }),
                Checks::None => None,
            },
            needed: needed.into_iter().map(position).collect::<Result<_, _>>()?,
            names,
        })
    }
}

/// Every needed name, without duplicates; the host is first.
fn needed(options: &Options) -> Vec<&str> {
    let mut needed = vec![options.host_column.as_str()];
    let window = match &options.checks {
        Checks::DemoWindow { start_time, end_time, timezone: _ } => vec![start_time, end_time],
        Checks::None => Vec::new(),
    };
    for name in options.parameters.iter().chain(window) {
        if !needed.contains(&name.as_str()) {
            needed.push(name);
        }
    }
    needed
}

/// The name in the header that is most similar to `name`: it has the same letters, or one name is a prefix of the other, or at most two
/// letters differ. A column that is itself needed is suggested only if it has the same letters.
fn nearest(name: &str, present: &[String], needed: &[&str]) -> Option<String> {
    let letters = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let target = letters(name);
    let difference = |candidate: &&String| {
        let found = letters(candidate);
        let is_prefix = found.len() >= 3 && (found.starts_with(&target) || target.starts_with(&found));
        match distance(&target, &found) {
            0 => 0,
            _ if is_prefix => 1,
            distance => distance + 1,
        }
    };
    let candidates = present
        .iter()
        .filter(|candidate| !needed.contains(&candidate.as_str()) || difference(candidate) == 0)
        .filter(|candidate| !candidate.contains(SEPARATORS));
    let best = candidates.min_by_key(difference)?;
    (difference(&best) <= 3).then(|| best.clone())
}

/// The Levenshtein distance, computed one table row at a time. Names are truncated, so that a very long name does not take long.
fn distance(a: &[char], b: &[char]) -> usize {
    const CHARS_MAX: usize = 64;
    let b = &b[..b.len().min(CHARS_MAX)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().take(CHARS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_column_is_suggested_and_a_different_one_is_not() {
        let check = |name: &str, present: &[&str], expected: Option<&str>| {
            let present: Vec<String> = present.iter().map(ToString::to_string).collect();
            assert_eq!(nearest(name, &present, &["end_time"]).as_deref(), expected, "{name}");
        };
        check("hostname", &["Hostname", "end_time"], Some("Hostname"));
        check("hostname", &["end_time", " hostname"], Some(" hostname"));
        check("hostname", &["end_time", "host"], Some("host"));
        check("start_time", &["end_time", "strat_time"], Some("strat_time"));
        check("start_time", &["end_time", "usage"], None);
        check("end_time2", &["end_time"], None);
        check("End_Time", &["end_time"], Some("end_time"));
    }

    #[test]
    fn distances_count_changed_letters() {
        let check = |a: &str, b: &str, expected| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        };
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("start", "start", 0);
    }
}
