//! Which position each needed column has, decided once from the header line. Names are compared byte for byte: a column that only
//! looks like the wanted one is suggested and never guessed.

use super::error::{MissingColumn, SEPARATORS, WorkloadError};
use super::records::Records;
use super::time::Zone;
use super::{Checks, Options};

/// Positions of the columns that a run needs.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    pub(super) host: usize,
    /// Of each statement, in the order of `$1`, `$2`, ….
    pub(super) parameters: Vec<Vec<usize>>,
    /// The column that names the statement, and the names.
    pub(super) query: Option<(usize, Vec<String>)>,
    /// The columns of the window, if its times are to be checked.
    pub(super) window: Option<Window>,
    /// Every needed column once.
    pub(super) needed: Vec<usize>,
}

/// The positions of two times, and the zone of those that name none.
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
        let wanted = wanted(options);
        let missing: Vec<MissingColumn> = wanted
            .iter()
            .filter(|name| !names.iter().any(|present| present == *name))
            .map(|&name| MissingColumn {
                name: name.to_owned(),
                nearest: nearest(name, &names, &wanted),
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
            needed: wanted.into_iter().map(position).collect::<Result<_, _>>()?,
            names,
        })
    }
}

/// Every needed name once, the host first.
fn wanted(options: &Options) -> Vec<&str> {
    let mut wanted = vec![options.host_column.as_str()];
    let window = match &options.checks {
        Checks::DemoWindow { start_time, end_time, timezone: _ } => vec![start_time, end_time],
        Checks::None => Vec::new(),
    };
    for name in options.parameters.iter().chain(window) {
        if !wanted.contains(&name.as_str()) {
            wanted.push(name);
        }
    }
    wanted
}

/// The name in the header that most likely means `name`, if one does: the same letters, one the beginning of the other, or
/// at most two letters changed. A column that is needed under its own name must have the same letters.
fn nearest(name: &str, present: &[String], wanted: &[&str]) -> Option<String> {
    let plain = |text: &str| -> Vec<char> {
        let letters = text.chars().filter(|c| c.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let sought = plain(name);
    let likeness = |candidate: &&String| {
        let found = plain(candidate);
        let begins = found.len() >= 3 && (found.starts_with(&sought) || sought.starts_with(&found));
        match distance(&sought, &found) {
            0 => 0,
            _ if begins => 1,
            distance => distance + 1,
        }
    };
    let spare = present
        .iter()
        .filter(|candidate| !wanted.contains(&candidate.as_str()) || likeness(candidate) == 0)
        .filter(|candidate| !candidate.contains(SEPARATORS));
    let best = spare.min_by_key(likeness)?;
    (likeness(&best) <= 3).then(|| best.clone())
}

/// Levenshtein's distance, one row of the table at a time. A header's names are cut so that a hostile one costs nothing.
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
    fn a_likely_column_is_suggested_and_an_unlikely_one_is_not() {
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
