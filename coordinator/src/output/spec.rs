//! Parses `--output`: the formats of the report and the target of each. No file is opened here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use muster_report::Format;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub target: Target,
}

/// A list such as `text,json=out.json`: each format at most once, at most one on stdout, and no two in the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    outputs: Vec<Output>,
    /// The file of `hlog`, which is not a report: it is written from the journal.
    hlog: Option<PathBuf>,
}

/// The name of the format that is not a report.
pub(super) const HLOG: &str = "hlog";

impl OutputSpec {
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The file for the interval log.
    pub fn hlog(&self) -> Option<&Path> {
        self.hlog.as_deref()
    }

    /// The files of reports that will be written.
    pub fn files(&self) -> impl Iterator<Item = (Format, &Path)> {
        self.outputs.iter().filter_map(|output| match &output.target {
            Target::Stdout => None,
            Target::File(path) => Some((output.format, path.as_path())),
        })
    }
}

/// Text to stdout.
impl Default for OutputSpec {
    fn default() -> Self {
        Self { outputs: vec![Output { format: Format::Text, target: Target::Stdout }], hlog: None }
    }
}

impl FromStr for OutputSpec {
    type Err = OutputSpecError;

    fn from_str(list: &str) -> Result<Self, OutputSpecError> {
        let (logs, reports): (Vec<&str>, Vec<&str>) =
            list.split(',').partition(|item| item.split('=').next().is_some_and(|name| name.trim() == HLOG));
        let hlog = match &logs[..] {
            [] => None,
            [log] => Some(log.split_once('=').map(|(_, path)| path).filter(|path| !["", "-"].contains(path))),
            _ => return Err(OutputSpecError::HlogTwice),
        };
        let hlog =
            hlog.map(|path| path.map(PathBuf::from).ok_or(OutputSpecError::HlogNeedsPath)).transpose()?;
        if reports.is_empty() {
            // The report itself still goes to stdout.
            return Ok(Self { hlog, ..Self::default() });
        }
        let outputs: Vec<Output> = reports.into_iter().map(parse_output).collect::<Result<_, _>>()?;
        let mut formats = HashSet::new();
        let mut targets: HashSet<Target> = hlog.iter().cloned().map(Target::File).collect();
        for output in &outputs {
            if !formats.insert(output.format) {
                return Err(OutputSpecError::FormatTwice(output.format));
            }
            if !targets.insert(output.target.clone()) {
                return Err(match &output.target {
                    Target::Stdout => OutputSpecError::StdoutTwice(output.format),
                    Target::File(path) => OutputSpecError::PathTwice(path.clone()),
                });
            }
        }
        Ok(Self { outputs, hlog })
    }
}

/// Parses `json`, `json=PATH` or `json=-`.
fn parse_output(item: &str) -> Result<Output, OutputSpecError> {
    let (name, path) = match item.split_once('=') {
        Some((name, path)) => (name.trim(), Some(path)),
        None => (item.trim(), None),
    };
    if name.is_empty() {
        return Err(OutputSpecError::Empty);
    }
    let format = Format::ALL
        .into_iter()
        .find(|format| format.name() == name)
        .ok_or_else(|| OutputSpecError::Unknown(name.to_owned()))?;
    let target = match path {
        None | Some("-") => Target::Stdout,
        Some("") => return Err(OutputSpecError::NoPath(format)),
        Some(path) => Target::File(PathBuf::from(path)),
    };
    Ok(Output { format, target })
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputSpecError {
    #[error("--output: unknown format '{0}'; valid formats are {valid}", valid = valid())]
    Unknown(String),
    #[error("--output: a format is missing before or after a comma; valid formats are {}", valid())]
    Empty,
    #[error("--output: '{0}=' has no path; write {0}=result.{ext}, or {0} alone for stdout", ext = .0.extension())]
    NoPath(Format),
    #[error("--output: '{0}' is given twice; give each format once")]
    FormatTwice(Format),
    #[error("--output: only one format can go to stdout; give '{0}' a path, as in {0}=result.{ext}", ext = .0.extension())]
    StdoutTwice(Format),
    #[error("--output: 'hlog' needs a file; write hlog=result.hlog")]
    HlogNeedsPath,
    #[error("--output: 'hlog' is given twice; give each format once")]
    HlogTwice,
    #[error("--output: two formats would be written to '{}'; give each its own path", .0.display())]
    PathTwice(PathBuf),
}

fn valid() -> String {
    format!("{}, {HLOG}", Format::ALL.map(Format::name).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expected: &[(Format, Option<&str>)]) {
        let spec: OutputSpec = list.parse().unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|(format, path)| Output {
                format: *format,
                target: path.map_or(Target::Stdout, |path| Target::File(path.into())),
            })
            .collect();
        assert_eq!(spec.outputs(), expected, "{list}");
    }

    #[test]
    fn an_interval_log_is_not_a_report() {
        let check = |list: &str, reports: usize| {
            let spec: OutputSpec = list.parse().unwrap();
            assert_eq!((spec.hlog(), spec.outputs().len()), (Some(Path::new("out.hlog")), reports), "{list}");
        };
        check("hlog=out.hlog", 1);
        check("json,hlog=out.hlog,text=out.txt", 2);
        check_refused("hlog", "--output: 'hlog' needs a file; write hlog=result.hlog");
        check_refused("text,hlog=-", "--output: 'hlog' needs a file; write hlog=result.hlog");
        check_refused("hlog=a,hlog=b", "--output: 'hlog' is given twice; give each format once");
        check_refused(
            "json=a,hlog=a",
            "--output: two formats would be written to 'a'; give each its own path",
        );
    }

    #[track_caller]
    fn check_refused(list: &str, expected: &str) {
        let error = list.parse::<OutputSpec>().unwrap_err();
        assert_eq!(error.to_string(), expected, "{list}");
    }

    #[test]
    fn a_list_contains_formats_and_paths() {
        check("text", &[(Format::Text, None)]);
        check(
            "text,json=out.json,csv=samples.csv",
            &[(Format::Text, None), (Format::Json, Some("out.json")), (Format::Csv, Some("samples.csv"))],
        );
        check("markdown=-", &[(Format::Markdown, None)]);
        check("json=a=b.json, text", &[(Format::Json, Some("a=b.json")), (Format::Text, None)]);
    }

    #[test]
    fn the_default_is_text_on_stdout() {
        assert_eq!(OutputSpec::default(), "text".parse().unwrap());
    }

    #[test]
    fn an_invalid_list_is_refused_with_a_hint() {
        check_refused(
            "yaml",
            "--output: unknown format 'yaml'; valid formats are text, json, csv, markdown, html, hlog",
        );
        check_refused(
            "JSON",
            "--output: unknown format 'JSON'; valid formats are text, json, csv, markdown, html, hlog",
        );
        check_refused("json=a,json=b", "--output: 'json' is given twice; give each format once");
        check_refused(
            "text,json",
            "--output: only one format can go to stdout; give 'json' a path, as in json=result.json",
        );
        check_refused(
            "markdown=",
            "--output: 'markdown=' has no path; write markdown=result.md, or markdown alone for stdout",
        );
        check_refused(
            "json=out,csv=out",
            "--output: two formats would be written to 'out'; give each its own path",
        );
        for list in ["", "text,", ",text", "=x"] {
            assert_eq!(list.parse::<OutputSpec>(), Err(OutputSpecError::Empty), "{list}");
        }
    }
}
