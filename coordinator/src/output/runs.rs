//! The table of stored runs that `coordinator runs` prints. It reads no files.

use std::path::Path;

use jiff::Timestamp;
use muster_report::result::Ending;

use muster_report::report::model::{Block, Note, NoteKind, Report, Section, Span};
use muster_report::report::table::{Cell, ColumnKind, TableOf};
use muster_report::units::NONE;

use crate::run_dir::{Listed, State, Summary};

/// The table of the runs in `parent`. Ids are never shortened, because users type them.
pub(crate) fn report(parent: &Path, runs: &[Listed], now: Timestamp) -> Report {
    let of = |run: &Listed, cell: &dyn Fn(&Summary) -> Cell| run.summary.as_ref().map_or("".into(), cell);
    let state = |summary: &Summary| state_name(summary.state).into();
    let queries = |summary: &Summary| summary.queries.map_or(NONE.into(), Cell::Count);
    let table = TableOf::new(runs)
        .labels("run", |run| Cell::Name(run.id.clone()))
        .column("started", ColumnKind::Number, |run| of(run, &|summary| ago(summary.started, now)))
        .labels("state", |run| run.summary.as_ref().map_or("broken".into(), state))
        .column("queries", ColumnKind::Number, |run| of(run, &queries))
        .column("done", ColumnKind::Number, |run| of(run, &done))
        .column("file", ColumnKind::Name, |run| of(run, &|summary| file_name(&summary.file)));
    let table = Block::Table(table.table());
    let about = Span::Path(parent.display().to_string());
    let mut sections = vec![Section::new("Runs", vec![table]).about(about)];
    let broken = runs.iter().filter_map(|run| Some((&run.id, run.summary.as_ref().err()?)));
    let notes: Vec<Note> =
        broken.map(|(id, why)| Note::new(NoteKind::Labelled(id.clone()), why.to_string())).collect();
    if !notes.is_empty() {
        sections.push(Section::new("Broken", vec![Block::Notes(notes)]));
    }
    Report { sections, ..Report::default() }
}

fn done(summary: &Summary) -> Cell {
    if summary.queries == Some(summary.settled) { "all".into() } else { Cell::Count(summary.settled) }
}

/// The directory is in the manifest.
fn file_name(file: &str) -> Cell {
    let name = Path::new(file).file_name();
    Cell::Name(name.map_or(file.to_owned(), |name| name.to_string_lossy().into_owned()))
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Ended(Ending::Completed) => "finished",
        State::Ended(Ending::Interrupted) => "interrupted",
        State::Ended(Ending::AgentsLost) => "agents lost",
        State::Ended(Ending::WorkloadUnreadable) => "workload unreadable",
        State::Ended(Ending::CannotWrite) => "write error",
        State::Ended(Ending::Unfinished) | State::Unfinished => "unfinished",
    }
}

/// `now`, `5 min ago`, `3 h ago`, `12 d ago`. A start in the future, after the clock was set back, is shown as `now`.
fn ago(started: Timestamp, now: Timestamp) -> Cell {
    let minutes = now.duration_since(started).as_mins();
    Cell::Words(match minutes {
        ..1 => "now".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..2_880 => format!("{} h ago", minutes / 60),
        _ => format!("{} d ago", minutes / 1_440),
    })
}

#[cfg(test)]
mod tests {
    use muster_report::text::{
        self,
        page::{WIDTH, columns},
    };

    use super::*;
    use crate::run_dir::RunDirError;

    fn now() -> Timestamp {
        "2026-11-24T10:00:00Z".parse().unwrap()
    }

    fn listed(id: &str, started: &str, state: State, queries: u64, settled: u64) -> Listed {
        let file = "data/query_params.csv".to_owned();
        let (started, queries) = (started.parse().unwrap(), Some(queries));
        let summary = Summary { started, file, state, queries, settled };
        Listed { id: id.to_owned(), path: id.into(), summary: Ok(summary) }
    }

    fn broken(id: &str) -> Listed {
        let path = format!("/home/u/.local/state/muster/runs/{id}").into();
        let why = RunDirError::Schema { path, found: "muster.run/v2".to_owned() };
        Listed { id: id.to_owned(), path: id.into(), summary: Err(why) }
    }

    #[test]
    fn text_of_a_list_of_runs() {
        let runs = [
            listed("20261124-095959-0a1b", "2026-11-24T09:59:59Z", State::Running, 10_000_000, 9_999_999),
            listed("20261124-091500-ffff", "2026-11-24T09:15:00Z", State::Unfinished, 200, 0),
            broken("20261124-081500-ffff"),
            listed("20261123-213153-1193", "2026-11-23T21:31:53Z", State::Ended(Ending::Completed), 200, 200),
            listed("20261120-213153-1193", "2026-11-20T21:31:53Z", State::Ended(Ending::Interrupted), 200, 7),
            listed("20251120-213153-1193", "2025-11-20T21:31:53Z", State::Ended(Ending::AgentsLost), 200, 7),
        ];
        let text = text::render(&report(Path::new("/home/u/.local/state/muster/runs"), &runs, now()));
        insta::assert_snapshot!(text, @r"
        RUNS   /home/u/.local/state/muster/runs
          run                      started  state           queries       done  file
          20261124-095959-0a1b         now  running      10,000,000  9,999,999  quer…csv
          20261124-091500-ffff  45 min ago  unfinished          200          0  quer…csv
          20261124-081500-ffff              broken
          20261123-213153-1193    12 h ago  finished            200        all  quer…csv
          20261120-213153-1193     3 d ago  interrupted         200          7  quer…csv
          20251120-213153-1193   368 d ago  agents lost         200          7  quer…csv

        BROKEN
          20261124-081500-ffff  '/home/u/.local/state/muster/runs/20261124-081500-ffff'
                                has the schema 'muster.run/v2' and this program reads
                                'muster.run/v1'; use the version that created the run
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_page_and_ids_stay_whole() {
        let id = "x".repeat(24);
        let rows = u32::MAX.into();
        let mut wide = listed(&id, "2020-01-01T00:00:00Z", State::Ended(Ending::Interrupted), rows, rows - 1);
        if let Ok(summary) = &mut wide.summary {
            summary.file = format!("{}\u{1b}[2J", "f".repeat(300));
        }
        let text = text::render(&report(Path::new(&"d".repeat(300)), &[wide, broken(&id)], now()));
        for line in text.lines() {
            assert!(columns(line) <= WIDTH, "{line}");
        }
        assert_eq!(
            text.matches(&id).count(),
            3,
            "both are in the table, and the broken one also below it\n{text}"
        );
    }

    #[test]
    fn an_age_is_shown_in_a_fitting_unit() {
        let check = |started: &str, expected: &str| {
            assert_eq!(ago(started.parse().unwrap(), now()), expected.into(), "{started}");
        };
        check("2026-11-24T11:00:00Z", "now");
        check("2026-11-24T09:59:01Z", "now");
        check("2026-11-24T09:59:00Z", "1 min ago");
        check("2026-11-24T09:00:00Z", "1 h ago");
        check("2026-11-22T10:00:01Z", "47 h ago");
        check("2026-11-22T10:00:00Z", "2 d ago");
    }
}
