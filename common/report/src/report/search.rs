//! The search for the highest rate: its result in a sentence and its steps as a table by rate, which shows the response time curve.

use muster_core::objective::Objective;
use muster_stats::latency::figure::{self, Figure};

use crate::result::{Latency, RunResult, Search, SearchStep};

use super::model::{Block, Note, NoteKind, Section};
use super::table::{Cell, Table, TableOf, Unit};
use crate::units::{counted, figure as number};

/// Steps of the longest bar.
const BAR_STEPS: f64 = 12.0;

pub(super) fn section(result: &RunResult) -> Option<Section> {
    let search = result.search.as_ref()?;
    let about = "response times by rate; the bars are on a logarithmic scale";
    let mut blocks = vec![Block::Notes(vec![Note::sentence(summary(search))])];
    let steps = by_rate(search);
    if !steps.is_empty() {
        blocks.push(Block::Table(table(search, &steps)));
    }
    let missed = steps.iter().filter(|step| !step.holds);
    let lowest_missed = missed.filter_map(|step| Some((step.rate, step.reason.as_ref()?))).next();
    blocks.extend(lowest_missed.map(|(rate, reason)| {
        let about = NoteKind::About(format!("at {}", number(rate)));
        Block::Notes(vec![Note::new(about, reason)])
    }));
    Some(Section::new("Search", blocks).about(about))
}

/// `highest rate that meets p99<50ms: 412 queries/s (confirmed); 8 steps`
fn summary(search: &Search) -> String {
    let steps = counted(search.steps.len() as u64, "step");
    let objective = &search.objective;
    match (search.highest_rate, search.is_confirmed) {
        (Some(rate), true) => {
            format!("highest rate that meets {objective}: {} queries/s (confirmed); {steps}", number(rate))
        }
        (Some(rate), false) => format!(
            "highest rate so far that meets {objective}: {} queries/s (not confirmed); {steps}",
            number(rate)
        ),
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

fn table(search: &Search, steps: &[&SearchStep]) -> Table {
    // An objective that cannot be parsed has the syntax of a later version.
    let limited = search.objective.parse().map_or(&figure::P99, |objective: Objective| objective.figure());
    let bars = Bars::of(steps, limited);
    TableOf::new(steps.iter().copied())
        .numbers("rate", Unit::Plain, |step| Some(step.rate))
        .numbers("achieved", Unit::Plain, |step| Some(step.achieved_rate))
        .counts("failed", |step| step.failed)
        .when(*limited != figure::MEDIAN, |table| table.figures([&figure::MEDIAN], response_time))
        .figures([limited], response_time)
        // Results of earlier versions contain only the whole lag.
        .times("delay p99", |step| {
            step.generator_delay_ms.as_ref().or(step.lag_ms.as_ref()).and_then(figure::P99.of)
        })
        .labels("", |step| Cell::Bar(bars.length(step)))
        .labels("met", |step| outcome(step).into())
        .table()
}

fn response_time(step: &SearchStep) -> Option<&Latency> {
    step.response_time_ms.as_ref()
}

/// Bars on a logarithmic scale, because the longest time may be a thousand times the shortest.
struct Bars {
    limited: &'static Figure,
    least_ms: f64,
    /// Logarithm of the ratio of the longest to the shortest time.
    range: f64,
}

impl Bars {
    fn of(steps: &[&SearchStep], limited: &'static Figure) -> Self {
        let times = steps.iter().filter_map(|step| response_time(step).and_then(limited.of));
        let known = times.filter(|ms| ms.is_finite() && *ms > 0.0);
        let (least_ms, most_ms) =
            known.fold((f64::INFINITY, 0.0_f64), |(least, most), ms| (least.min(ms), most.max(ms)));
        Self { limited, least_ms, range: (most_ms / least_ms).ln() }
    }

    /// Every figure has a bar of at least one step.
    fn length(&self, step: &SearchStep) -> usize {
        let ms = response_time(step).and_then(self.limited.of).filter(|ms| *ms > 0.0);
        let part = |ms: f64| if self.range > 0.0 { (ms / self.least_ms).ln() / self.range } else { 0.0 };
        ms.map_or(0, |ms| (1.0 + part(ms).clamp(0.0, 1.0) * (BAR_STEPS - 1.0)).round() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Format, fixtures, render};

    fn section(format: Format, title: &str, next: &str) -> String {
        fixtures::part(&render(format, &fixtures::search()), title, next)
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
        insta::assert_snapshot!(section(Format::Markdown, "### Search", "### Latency"), @r"
        ### Search · response times by rate; the bars are on a logarithmic scale

        highest rate that meets p99\<50ms: 410 queries/s (confirmed); 6 steps

        | rate | achieved | failed | median | p99 | delay p99 |  | met |
        |--:|--:|--:|--:|--:|--:|---|---|
        | 290 | 290 | 0 | 3.27 ms | 10.0 ms | 98.0 µs | # | yes |
        | 410 | 410 | 0 | 4.81 ms | 14.7 ms | 98.0 µs | ## | yes |
        | 410 | 410 | 0 | 5.14 ms | 15.7 ms | 98.0 µs | ## | confirmed |
        | 430 | 430 | 0 | 30.8 ms | 94.1 ms | 98.0 µs | ##### | no |
        | 430 | 430 | 0 | 30.8 ms | 94.1 ms | 98.0 µs | ##### | no |
        | 580 | 442 | 0 | 802 ms | 2.45 s | 98.0 µs | ############ | no |

        - at 430: p99\<50ms is not met: 94.08 ms
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
