//! The report of a comparison of two runs, and its part in the report of a run on two databases.

use crate::result::comparison::{self, Comparison, Figure, Finding, Method, RankTest, RowByRow, Rows, Side};

use super::model::{Block, Field, Note, NoteKind, Report, Section, SectionKind, Span, Title};
use super::table::{Cell, Table, TableOf, Unit};
use crate::units::{count, counted, figure, percent};

pub fn report(comparison: &Comparison) -> Report {
    let title =
        Title { status: headline(comparison.finding), subject: String::new(), summary: summary(comparison) };
    let sides = vec![
        Field::new("base", side(&comparison.base)),
        Field::new("new", side(&comparison.new)),
        Field::new("rows", rows(comparison)),
    ];
    let mut sections = vec![Section::overview("Runs", sides)];
    sections.extend(findings(comparison));
    sections.push(Section::overview("Totals", totals(comparison)));
    sections.extend(warnings(comparison));
    Report { title: Some(title), notes: Vec::new(), sections }
}

/// The sections that a run on two databases has.
pub(super) fn versus(comparison: &Comparison) -> Vec<Section> {
    let finding = NoteKind::Finding(headline(comparison.finding));
    let note = Block::Notes(vec![Note::new(finding, summary(comparison))]);
    let about = "second database (new) against first (base), row by row in one run";
    let mut sections = vec![Section::new("Versus", vec![note]).about(about)];
    sections.extend(findings(comparison));
    sections.extend(warnings(comparison));
    sections
}

fn findings(comparison: &Comparison) -> Vec<Section> {
    let figures = |(name, table): (_, &comparison::Table)| {
        Section::new(name, vec![Block::Table(figures(&table.figures))]).of(queries(comparison))
    };
    let mut sections: Vec<Section> =
        tables(comparison, ["Service time", "Response time"]).map(figures).collect();
    sections.extend(comparison.row_by_row.as_ref().map(row_by_row));
    sections.extend(comparison.rank_test.as_ref().map(rank_test));
    let note = Note::sentence(confidence_note(comparison));
    let confidence = Section::new("Confidence", vec![Block::Notes(vec![note])]);
    sections.push(Section { kind: SectionKind::Overview, ..confidence });
    sections
}

fn warnings(comparison: &Comparison) -> Option<Section> {
    let warnings: Vec<Note> = comparison.warnings.iter().map(Note::problem).collect();
    (!warnings.is_empty()).then(|| Section::new("Warnings", vec![Block::Notes(warnings)]))
}

fn side(side: &Side) -> Vec<Span> {
    vec![
        Span::Name(side.run_id.clone()),
        side.verdict.name().into(),
        counted(side.agents, "agent").into(),
        counted(side.workers, "worker").into(),
        Span::Code(side.command.clone()),
    ]
}

fn figures(figures: &[Figure]) -> Table {
    TableOf::new(figures)
        .labels("", |figure| Cell::Words(figure.name.clone()))
        .times("base", |figure| figure.base_ms)
        .times("new", |figure| figure.new_ms)
        .numbers("change", Unit::Change, |figure| figure.change)
        .labels("interval", interval)
        .labels("", |figure| finding_word(figure.finding).into())
        .table()
}

/// The interval of a figure, or what is missing for one.
fn interval(figure: &Figure) -> Cell {
    match (figure.base_ms, figure.change_ci) {
        (_, Some(ends)) => Cell::Interval(ends, Unit::Change),
        (None, None) => Cell::Words(format!("(needs {} each)", counted(figure.count_min, "query"))),
        (Some(_), None) => "(needs more queries)".into(),
    }
}

fn row_by_row(rows: &RowByRow) -> Section {
    let lines = [
        ("geometric mean", rows.change, rows.change_ci, finding_word(rows.finding)),
        ("median", rows.median_change, None, ""),
    ];
    let interval = |ends| Cell::Interval(ends, Unit::Change);
    let table = TableOf::new(&lines)
        .labels("", |line| line.0.into())
        .numbers("change", Unit::Change, |line| Some(line.1))
        .labels("interval", |line| line.2.map_or("".into(), interval))
        .labels("", |line| line.3.into());
    let test = rows.signed_rank.as_ref();
    let test =
        test.map(|test| Note::new(NoteKind::Labelled("signed-rank test".to_owned()), p_value(test.p_value)));
    let table = Block::Table(table.table());
    let notes = Block::Notes(test.into_iter().collect());
    Section::new("Row by row", vec![table, notes]).about("new ÷ base of each row")
}

fn rank_test(test: &RankTest) -> Section {
    let share = format!("{:.1} %", test.new_longer * 100.0);
    let lines = [("pairs in which new takes longer", share), ("Mann-Whitney test", p_value(test.p_value))];
    let table =
        TableOf::new(&lines).labels("", |line| line.0.into()).labels("", |line| Cell::Words(line.1.clone()));
    Section::new("All queries", vec![Block::Table(table.table())]).about("of new against all queries of base")
}

fn totals(comparison: &Comparison) -> Vec<Field> {
    let (throughput, failed) = (&comparison.throughput, &comparison.failed);
    let throughput = [
        format!("{} and {} queries/s", figure(throughput.base_qps), figure(throughput.new_qps)),
        percent(throughput.change),
        "one value per run, so no interval".to_owned(),
    ];
    let failed = format!("{} and {}", count(failed.base), counted(failed.new, "query"));
    vec![Field::new("throughput", throughput), Field::new("failed", [failed])]
}

/// The tables of service time, and of response time if queries had due times, with these names.
fn tables<'a>(
    comparison: &'a Comparison,
    [service, response]: [&'static str; 2],
) -> impl Iterator<Item = (&'static str, &'a comparison::Table)> {
    let response = comparison.response_time.as_ref().map(|table| (response, table));
    std::iter::once((service, &comparison.service_time)).chain(response)
}

/// The overall finding in a few words.
fn headline(finding: Finding) -> &'static str {
    match finding {
        Finding::Slower => "SLOWER",
        Finding::Faster => "FASTER",
        Finding::Mixed => "SLOWER AND FASTER",
        Finding::Negligible => "NEGLIGIBLE",
        Finding::Noise => "NO DIFFERENCE",
        Finding::Unsupported => "TOO FEW QUERIES",
    }
}

/// The overall finding in a sentence.
fn summary(comparison: &Comparison) -> String {
    let margin = percent_of(comparison.margin);
    match comparison.finding {
        Finding::Slower => format!("new takes longer: {}", figures_with(comparison, Finding::Slower)),
        Finding::Faster => format!("new takes less time: {}", figures_with(comparison, Finding::Faster)),
        Finding::Mixed => format!(
            "new takes longer: {}; and less time: {}",
            figures_with(comparison, Finding::Slower),
            figures_with(comparison, Finding::Faster)
        ),
        Finding::Negligible => {
            format!("there is a significant difference, but it is below the margin of {margin}")
        }
        Finding::Noise => "no significant difference in any figure".to_owned(),
        Finding::Unsupported => "too few queries to distinguish a difference from noise".to_owned(),
    }
}

/// The figures with this finding, each with its change.
fn figures_with(comparison: &Comparison, finding: Finding) -> String {
    let rows = comparison.row_by_row.iter().filter(|rows| rows.finding == finding);
    let mut parts: Vec<String> =
        rows.map(|rows| format!("row by row {}", percent(Some(rows.change)))).collect();
    for (of, table) in tables(comparison, ["", "response "]) {
        let figures = table.figures.iter().filter(|figure| figure.finding == finding);
        parts.extend(figures.map(|figure| format!("{of}{} {}", figure.name, percent(figure.change))));
    }
    parts.join(", ")
}

/// The finding beside an interval.
fn finding_word(finding: Finding) -> &'static str {
    match finding {
        Finding::Slower => "slower",
        Finding::Faster => "faster",
        Finding::Mixed => "slower and faster",
        Finding::Negligible => "negligible",
        Finding::Noise => "within noise",
        Finding::Unsupported => "",
    }
}

/// The numbers of compared and excluded rows.
fn rows(comparison: &Comparison) -> Vec<String> {
    let Rows { method, base, new, only_base, only_new } = comparison.rows;
    let mut parts = match method {
        Method::Paired => vec![format!("{} paired by row id", count(base))],
        Method::TwoSample => vec![format!("{} and {}, not paired", count(base), count(new))],
        Method::Summaries => vec![format!("{} and {}, compared by their summaries", count(base), count(new))],
    };
    for (only, other) in [(only_base, "new"), (only_new, "base")] {
        if only > 0 {
            parts.push(format!("{} excluded, not measured in {other}", count(only)));
        }
    }
    match (&comparison.row_by_row, comparison.service_time.worth) {
        (Some(rows), _) => parts.push(format!("effective sample size {}", rounded(rows.worth))),
        (None, Some([base, new])) => {
            parts.push(format!("effective sample sizes {} and {}", rounded(base), rounded(new)));
        }
        (None, None) => {}
    }
    parts
}

/// The number of queries that a table covers.
fn queries(comparison: &Comparison) -> String {
    let Rows { base, new, .. } = comparison.rows;
    match base == new {
        true => counted(base, "query"),
        false => format!("{} and {}", count(base), counted(new, "query")),
    }
}

/// The confidence of the intervals.
fn confidence_note(comparison: &Comparison) -> String {
    let (all, each) = (percent_of(comparison.confidence), percent_of(comparison.confidence_each));
    format!("all intervals hold simultaneously with {all} confidence, each with {each}")
}

fn percent_of(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn p_value(p: f64) -> String {
    if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") }
}

fn rounded(number: f64) -> String {
    // The number is not negative and not larger than a number of rows, so the cast is lossless.
    count(number.round() as u64)
}
