//! The search for the highest rate: its result in a sentence and its steps as a table by rate, which shows the response time curve.

use muster_common::objective::Objective;
use muster_common::result::{Latency, RunResult, Search, SearchStep};

use super::page::Page;
use super::table::{Align, Table};
use super::units::{count, counted, duration_cell, duration_or_none, figure};

/// Length of the longest bar in characters.
const BAR_WIDTH: f64 = 12.0;

/// `highest rate that meets p99<50ms: 412 queries/s (confirmed); 8 steps`
pub(super) fn summary(search: &Search) -> String {
    let steps = counted(search.steps.len() as u64, "step");
    let objective = &search.objective;
    match (search.highest_rate, search.is_confirmed) {
        (Some(rate), true) => {
            format!("highest rate that meets {objective}: {} queries/s (confirmed); {steps}", figure(rate))
        }
        (Some(rate), false) => {
            format!(
                "highest rate so far that meets {objective}: {} queries/s (not confirmed); {steps}",
                figure(rate)
            )
        }
        (None, _) => format!("no rate meets {objective}; {steps}"),
    }
}

/// The steps in ascending order of their rate; steps of the same rate in the order in which they ran.
fn by_rate(search: &Search) -> Vec<&SearchStep> {
    let mut steps: Vec<&SearchStep> = search.steps.iter().collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    steps
}

fn outcome(step: &SearchStep) -> &'static str {
    match (step.holds, step.is_confirmation) {
        (true, true) => "confirmed",
        (true, false) => "yes",
        (false, true) => "not confirmed",
        (false, false) => "no",
    }
}

/// The response time figure that the objective limits.
struct LimitedFigure {
    name: &'static str,
    of: fn(&Latency) -> Option<f64>,
}

impl LimitedFigure {
    fn of_search(search: &Search) -> Self {
        match search.objective.parse::<Objective>() {
            Ok(objective) => Self { name: objective.figure().name, of: objective.figure().of },
            // The objective has the syntax of a later version.
            Err(_) => Self { name: "p99", of: |latency| latency.p99 },
        }
    }

    fn of(&self, step: &SearchStep) -> Option<f64> {
        step.response_time_ms.as_ref().and_then(self.of)
    }
}

/// The median, the limited figure and the p99 of the generator delay of a step.
fn figures(step: &SearchStep, limited: &LimitedFigure) -> [Option<f64>; 3] {
    let median = step.response_time_ms.as_ref().map(|response| response.median);
    [median, limited.of(step), delay(step).and_then(|delay| delay.p99)]
}

/// The generator delay; in results of earlier versions, the whole lag.
fn delay(step: &SearchStep) -> Option<&Latency> {
    step.generator_delay_ms.as_ref().or(step.lag_ms.as_ref())
}

pub(super) fn text(page: &mut Page, result: &RunResult) {
    let Some(search) = &result.search else { return };
    page.section("SEARCH   response times by rate; the bars are on a logarithmic scale");
    page.hanging("  ", &summary(search), usize::MAX);
    if search.steps.is_empty() {
        return;
    }
    let steps = by_rate(search);
    let limited = LimitedFigure::of_search(search);
    let bars = bars(&steps, &limited);
    let mut table = Table::new([
        ("rate", Align::Right),
        ("achieved", Align::Right),
        ("failed", Align::Right),
        (if limited.name == "median" { "" } else { "median" }, Align::Right),
        (limited.name, Align::Right),
        ("delay p99", Align::Right),
        ("", Align::LeftWhole),
        ("met", Align::LeftWhole),
    ]);
    for (step, bar) in steps.iter().zip(bars) {
        let [median, figure_of, delay] = figures(step, &limited).map(duration_cell);
        let median = if limited.name == "median" { String::new() } else { median };
        let (rate, achieved) = (figure(step.rate), figure(step.achieved_rate));
        table.row([
            rate,
            achieved,
            count(step.failed),
            median,
            figure_of,
            delay,
            bar,
            outcome(step).to_owned(),
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

/// Bars on a logarithmic scale, because the longest time may be a thousand times the shortest.
fn bars(steps: &[&SearchStep], limited: &LimitedFigure) -> Vec<String> {
    let known = || steps.iter().filter_map(|step| limited.of(step)).filter(|ms| ms.is_finite() && *ms > 0.0);
    let (least, most) =
        known().fold((f64::INFINITY, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
    let range = (most / least).ln();
    let bar = |step: &&SearchStep| {
        let part = limited
            .of(step)
            .filter(|ms| *ms > 0.0)
            .map(|ms| if range > 0.0 { (ms / least).ln() / range } else { 0.0 });
        // Every figure has a bar of at least one character.
        let length = part.map_or(0.0, |part| 1.0 + part.clamp(0.0, 1.0) * (BAR_WIDTH - 1.0));
        "#".repeat(length.round() as usize)
    };
    steps.iter().map(bar).collect()
}

/// The lines of the Markdown section; empty if the run is not a search.
pub(super) fn markdown(result: &RunResult) -> Vec<String> {
    let Some(search) = &result.search else { return Vec::new() };
    let mut lines = vec!["\n### Highest rate".to_owned(), format!("\n{}", escaped_summary(search))];
    let limited = LimitedFigure::of_search(search);
    if !search.steps.is_empty() {
        let name = limited.name;
        lines.push(format!(
            "\n| queries/s | achieved | failed | median | {name} | generator delay p99 | met |"
        ));
        lines.push(format!("|{}---|", "--:|".repeat(6)));
    }
    for step in by_rate(search) {
        let [median, figure_of, delay] = figures(step, &limited).map(duration_or_none);
        lines.push(format!(
            "| {} | {} | {} | {median} | {figure_of} | {delay} | {} |",
            figure(step.rate),
            figure(step.achieved_rate),
            count(step.failed),
            outcome(step)
        ));
    }
    lines
}

/// The objective contains a `<`, which Markdown may interpret as markup.
fn escaped_summary(search: &Search) -> String {
    summary(search).replace('<', "\\<")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{Format, fixtures, render};

    /// Returns the text from `title` up to `next`.
    fn section(format: Format, title: &str, next: &str) -> String {
        let text = render(format, &fixtures::search());
        let from = text.find(title).unwrap();
        let to = from + text[from..].find(next).unwrap();
        text[from..to].trim_end().to_owned()
    }

    #[test]
    fn the_steps_in_text() {
        insta::assert_snapshot!(section(Format::Text, "SEARCH", "LATENCY"), @r"
        SEARCH   response times by rate; the bars are on a logarithmic scale
          highest rate that meets p99<50ms: 410 queries/s (confirmed); 6 steps
          rate  achieved  failed   median      p99  delay p99                met
           290       290       0  3.27 ms  10.0 ms    98.0 µs  #             yes
           410       410       0  4.81 ms  14.7 ms    98.0 µs  ##            yes
           410       410       0  5.14 ms  15.7 ms    98.0 µs  ##            confirmed
           430       430       0  30.8 ms  94.1 ms    98.0 µs  #####         no
           430       430       0  30.8 ms  94.1 ms    98.0 µs  #####         no
           580       442       0   802 ms  2.45 s     98.0 µs  ############  no
          at 430: p99<50ms is not met: 94.08 ms
        ");
    }

    #[test]
    fn the_steps_in_markdown() {
        insta::assert_snapshot!(section(Format::Markdown, "### Highest", "### Latency"), @r"
        ### Highest rate

        highest rate that meets p99\<50ms: 410 queries/s (confirmed); 6 steps

        | queries/s | achieved | failed | median | p99 | generator delay p99 | met |
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
    fn every_result_has_a_summary() {
        let found = fixtures::search().search.unwrap();
        assert_eq!(summary(&found), "highest rate that meets p99<50ms: 410 queries/s (confirmed); 6 steps");
        assert_eq!(
            summary(&Search { is_confirmed: false, ..found }),
            "highest rate so far that meets p99<50ms: 410 queries/s (not confirmed); 6 steps"
        );
        let without_rate = render(Format::Text, &fixtures::search_without_rate());
        assert!(without_rate.contains("\n  no rate meets p99<50ms; 3 steps\n"), "{without_rate}");
        assert!(
            without_rate.contains("\nload                   open loop · uniform arrivals\n"),
            "{without_rate}"
        );
    }
}
