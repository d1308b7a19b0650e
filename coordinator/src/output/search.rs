//! A search for the highest rate: its answer in a sentence, its steps as a table by rate, which is the curve of the response times.

use muster_common::objective::Objective;
use muster_common::result::{Latency, RunResult, Search, SearchStep};

use super::page::Page;
use super::table::{Align, Table};
use super::units::{count, counted, duration_cell, duration_or_none, figure};

/// Of the longest bar.
const BAR_WIDTH: f64 = 12.0;

/// `highest rate that holds p99<50ms: 412 queries/s (confirmed); 8 steps`
pub(super) fn sentence(search: &Search) -> String {
    let steps = counted(search.steps.len() as u64, "step");
    let objective = &search.objective;
    match (search.highest_rate, search.is_confirmed) {
        (Some(rate), true) => {
            format!("highest rate that holds {objective}: {} queries/s (confirmed); {steps}", figure(rate))
        }
        (Some(rate), false) => {
            format!(
                "highest rate so far that holds {objective}: {} queries/s (not confirmed); {steps}",
                figure(rate)
            )
        }
        (None, _) => format!("no rate holds {objective}; {steps}"),
    }
}

/// By rate; those of one rate in the order in which they were run.
fn curve(search: &Search) -> Vec<&SearchStep> {
    let mut steps: Vec<&SearchStep> = search.steps.iter().collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    steps
}

fn holds(step: &SearchStep) -> &'static str {
    match (step.holds, step.is_confirmation) {
        (true, true) => "confirmed",
        (true, false) => "yes",
        (false, true) => "not confirmed",
        (false, false) => "no",
    }
}

/// The figure of the response times that the objective is about.
struct Bounded {
    name: &'static str,
    of: fn(&Latency) -> Option<f64>,
}

impl Bounded {
    fn by(search: &Search) -> Self {
        match search.objective.parse::<Objective>() {
            Ok(objective) => Self { name: objective.figure().name, of: objective.figure().of },
            // Of a later version.
            Err(_) => Self { name: "p99", of: |latency| latency.p99 },
        }
    }

    fn of(&self, step: &SearchStep) -> Option<f64> {
        step.response_time_ms.as_ref().and_then(self.of)
    }
}

/// What the table has of a step beside whether it holds.
fn figures(step: &SearchStep, bounded: &Bounded) -> [Option<f64>; 3] {
    let median = step.response_time_ms.as_ref().map(|response| response.median);
    [median, bounded.of(step), delay(step).and_then(|delay| delay.p99)]
}

/// The load generator's own delay; of results of earlier versions the whole lag.
fn delay(step: &SearchStep) -> Option<&Latency> {
    step.generator_delay_ms.as_ref().or(step.lag_ms.as_ref())
}

pub(super) fn text(page: &mut Page, result: &RunResult) {
    let Some(search) = &result.search else { return };
    page.section("SEARCH   response times by rate; the bars are on a logarithmic scale");
    page.hanging("  ", &sentence(search), usize::MAX);
    if search.steps.is_empty() {
        return;
    }
    let steps = curve(search);
    let bounded = Bounded::by(search);
    let bars = bars(&steps, &bounded);
    let mut table = Table::new([
        ("rate", Align::Right),
        ("achieved", Align::Right),
        ("failed", Align::Right),
        (if bounded.name == "median" { "" } else { "median" }, Align::Right),
        (bounded.name, Align::Right),
        ("delay p99", Align::Right),
        ("", Align::LeftWhole),
        ("holds", Align::LeftWhole),
    ]);
    for (step, bar) in steps.iter().zip(bars) {
        let [median, figure_of, delay] = figures(step, &bounded).map(duration_cell);
        let median = if bounded.name == "median" { String::new() } else { median };
        let (rate, achieved) = (figure(step.rate), figure(step.achieved_rate));
        table.row([
            rate,
            achieved,
            count(step.failed),
            median,
            figure_of,
            delay,
            bar,
            holds(step).to_owned(),
        ]);
    }
    page.table(&table);
    let lowest_missed = steps
        .iter()
        .filter(|step| !step.holds)
        .find_map(|step| step.reason.as_ref().map(|reason| (step, reason)));
    if let Some((step, reason)) = lowest_missed {
        page.hanging(&format!("  at {}: ", figure(step.rate)), reason, usize::MAX);
    }
}

/// On a logarithmic scale: from the shortest time to the longest may be a factor of a thousand.
fn bars(steps: &[&SearchStep], bounded: &Bounded) -> Vec<String> {
    let known = || steps.iter().filter_map(|step| bounded.of(step)).filter(|ms| ms.is_finite() && *ms > 0.0);
    let (least, most) =
        known().fold((f64::INFINITY, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
    let range = (most / least).ln();
    let bar = |step: &&SearchStep| {
        let part = bounded
            .of(step)
            .filter(|ms| *ms > 0.0)
            .map(|ms| if range > 0.0 { (ms / least).ln() / range } else { 0.0 });
        // Between 1 and the width: a bar for every figure.
        let length = part.map_or(0.0, |part| 1.0 + part.clamp(0.0, 1.0) * (BAR_WIDTH - 1.0));
        "#".repeat(length.round() as usize)
    };
    steps.iter().map(bar).collect()
}

/// The lines of a section; none for a run that is no search.
pub(super) fn markdown(result: &RunResult) -> Vec<String> {
    let Some(search) = &result.search else { return Vec::new() };
    let mut lines = vec!["\n### Highest rate".to_owned(), format!("\n{}", plain_sentence(search))];
    let bounded = Bounded::by(search);
    if !search.steps.is_empty() {
        let name = bounded.name;
        lines.push(format!(
            "\n| queries/s | achieved | failed | median | {name} | generator delay p99 | holds |"
        ));
        lines.push(format!("|{}---|", "--:|".repeat(6)));
    }
    for step in curve(search) {
        let [median, figure_of, delay] = figures(step, &bounded).map(duration_or_none);
        lines.push(format!(
            "| {} | {} | {} | {median} | {figure_of} | {delay} | {} |",
            figure(step.rate),
            figure(step.achieved_rate),
            count(step.failed),
            holds(step)
        ));
    }
    lines
}

/// The objective has a `<`, which Markdown may take for markup.
fn plain_sentence(search: &Search) -> String {
    sentence(search).replace('<', "\\<")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, fixtures, render};

    /// The lines from the one that starts with `title` to the next section.
    fn section(format: Format, title: &str, next: &str) -> String {
        let text = render(format, &fixtures::search());
        let from = text.find(title).unwrap();
        let to = from + text[from..].find(next).unwrap();
        text[from..to].trim_end().to_owned()
    }

    #[test]
    fn the_curve_looks_like_this() {
        insta::assert_snapshot!(section(Format::Text, "SEARCH", "LATENCY"), @r"
        SEARCH   response times by rate; the bars are on a logarithmic scale
          highest rate that holds p99<50ms: 410 queries/s (confirmed); 6 steps
          rate  achieved  failed   median      p99  delay p99                holds
           290       290       0  3.27 ms  10.0 ms    98.0 µs  #             yes
           410       410       0  4.81 ms  14.7 ms    98.0 µs  ##            yes
           410       410       0  5.14 ms  15.7 ms    98.0 µs  ##            confirmed
           430       430       0  30.8 ms  94.1 ms    98.0 µs  #####         no
           430       430       0  30.8 ms  94.1 ms    98.0 µs  #####         no
           580       442       0   802 ms  2.45 s     98.0 µs  ############  no
          at 430: p99<50ms is not kept: 94.08 ms
        ");
    }

    #[test]
    fn the_curve_looks_like_this_in_markdown() {
        insta::assert_snapshot!(section(Format::Markdown, "### Highest", "### Latency"), @r"
        ### Highest rate

        highest rate that holds p99\<50ms: 410 queries/s (confirmed); 6 steps

        | queries/s | achieved | failed | median | p99 | generator delay p99 | holds |
        |--:|--:|--:|--:|--:|--:|---|
        | 290 | 290 | 0 | 3.27 ms | 10.0 ms | 98.0 µs | yes |
        | 410 | 410 | 0 | 4.81 ms | 14.7 ms | 98.0 µs | yes |
        | 410 | 410 | 0 | 5.14 ms | 15.7 ms | 98.0 µs | confirmed |
        | 430 | 430 | 0 | 30.8 ms | 94.1 ms | 98.0 µs | no |
        | 430 | 430 | 0 | 30.8 ms | 94.1 ms | 98.0 µs | no |
        | 580 | 442 | 0 | 802 ms | 2.45 s | 98.0 µs | no |
        ");
    }

    #[test]
    fn every_answer_is_a_sentence() {
        let found = fixtures::search().search.unwrap();
        assert_eq!(sentence(&found), "highest rate that holds p99<50ms: 410 queries/s (confirmed); 6 steps");
        assert_eq!(
            sentence(&Search { is_confirmed: false, ..found }),
            "highest rate so far that holds p99<50ms: 410 queries/s (not confirmed); 6 steps"
        );
        let in_vain = render(Format::Text, &fixtures::search_in_vain());
        assert!(in_vain.contains("\n  no rate holds p99<50ms; 3 steps\n"), "{in_vain}");
        assert!(in_vain.contains("\nload                   open loop · uniform arrivals\n"), "{in_vain}");
    }
}
