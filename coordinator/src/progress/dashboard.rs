//! The dashboard of `--tui`: a few lines at the bottom of the terminal, which are drawn again in place. Messages and the report scroll above
//! them and stay. The lines themselves are computed from plain values.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use muster_report::result::{Interval, IntervalLatency, RunResult};
use muster_report::units::{NONE, count, duration, duration_or_none, figure};

/// Number of lines, which a terminal of [`ROWS_MIN`] lines has space for.
const LINES: usize = 8;
/// The least number of terminal lines.
pub(super) const ROWS_MIN: u16 = 24;
/// Intervals of a sparkline.
const SPARKS: usize = 40;

/// The lines on the terminal.
pub(super) struct Dashboard {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Dashboard {
    pub(super) fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr())
    }

    pub(super) fn on(target: ProgressDrawTarget) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let style = ProgressStyle::with_template("{wide_msg}").expect("the template is a constant");
        let line = |_| all.add(ProgressBar::new_spinner().with_style(style.clone()));
        let lines = (0..LINES).map(line).collect();
        Self { all, lines }
    }

    pub(super) fn show(&self, result: &RunResult, stage: &str) {
        for (line, text) in self.lines.iter().zip(lines(result, stage)) {
            line.set_message(text);
        }
    }

    /// Shows one line while nothing is known about rows.
    pub(super) fn show_stage(&self, stage: String) {
        self.lines[0].set_message(stage);
    }

    /// Prints above the lines.
    pub(super) fn print(&self, print: impl FnOnce()) {
        self.all.suspend(print);
    }

    /// Removes the lines.
    pub(super) fn finish(&self) {
        self.lines.iter().for_each(ProgressBar::finish_and_clear);
        let _ = self.all.clear();
    }
}

/// What is shown of a run in progress.
fn lines(result: &RunResult, stage: &str) -> [String; LINES] {
    let series = &result.series;
    let is_open = series.iter().any(|it| it.response_time_ms.is_some());
    let latency = |it: &Interval| if is_open { it.response_time_ms } else { it.service_time_ms };
    let of = |of: fn(&IntervalLatency) -> Option<f64>| move |it: &Interval| latency(it).as_ref().and_then(of);
    let last =
        |value: &dyn Fn(&Interval) -> Option<f64>| duration_or_none(series.iter().rev().find_map(value));
    let percentile = |name: &str, value: &dyn Fn(&Interval) -> Option<f64>| {
        line(name, &last(value), &sparkline(series, value, true))
    };
    // The last interval may have just begun.
    let rates = &series[..series.len().saturating_sub(1)];
    let rate = rates.last().map_or_else(|| NONE.to_owned(), |it| format!("{}/s", figure(it.rate_qps)));
    let kind = if is_open { "response time" } else { "service time" };
    let queries = &result.queries;
    let lost = result.agents.iter().filter(|agent| agent.lost.is_some()).count() as u64;
    let lost = if lost > 0 { format!("{} lost", count(lost)) } else { String::new() };
    let running = series.last().map_or(result.agents.len() as u64, |it| it.agents);
    [
        format!("{stage} · {} · {}", duration(result.wall_time_ms), result.verdict.status.name()),
        line("rate", &rate, &sparkline(rates, &|it| Some(it.rate_qps), false)),
        format!("{kind}, by interval"),
        percentile("  p50", &of(|it| Some(it.p50))),
        percentile("  p95", &of(|it| it.p95)),
        percentile("  max", &of(|it| Some(it.max))),
        line("failed", &count(queries.failed), ""),
        line("agents", &count(running), &lost),
    ]
}

fn line(name: &str, value: &str, sparks: &str) -> String {
    format!("{name:<8}{value:>12}  {sparks}").trim_end().to_owned()
}

/// The values of the last intervals as bars of eight heights. Latencies are on a logarithmic scale; `None` is a space.
fn sparkline(series: &[Interval], value: &dyn Fn(&Interval) -> Option<f64>, is_log: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let scaled = |it: &Interval| value(it).map(|value| if is_log { value.max(1e-6).ln() } else { value });
    let values: Vec<Option<f64>> =
        series.iter().skip(series.len().saturating_sub(SPARKS)).map(scaled).collect();
    let known = || values.iter().flatten().copied();
    let low = if is_log { known().fold(f64::INFINITY, f64::min) } else { 0.0 };
    let high = known().fold(f64::NEG_INFINITY, f64::max);
    let bar = |value: f64| {
        let part = if high > low { (value - low) / (high - low) } else { 0.0 };
        // Between 0 and 7.
        BARS[(part * 7.0).round() as usize]
    };
    values.iter().map(|value| value.map_or(' ', bar)).collect()
}

#[cfg(test)]
mod tests {
    use muster_report::fixtures::{self, Plotted, with_plots};

    use super::*;

    #[test]
    fn the_dashboard_shows_rates_percentiles_failures_and_agents() {
        let stalled = Plotted { stalled: (12, 22), agent_lost_in: Some(29), ..Plotted::QUIET };
        let text = lines(&with_plots(fixtures::agent_lost(), stalled), "4,680 of 20,000 rows").join("\n");
        insta::assert_snapshot!(text, @r"
        4,680 of 20,000 rows · 312 ms · DEGRADED
        rate         1,200/s  ████████████▁▁▁▁▁▁▁▁▁▁█████████████████
        service time, by interval
          p50        3.02 ms  ▇▄▇▁▇▃▇▄▆▆▂▆          ▄▇▃▃█▄▆▆▆▂▄▅▇▆▄▅▄▆
          p95        5.88 ms  ▅▂▄▂▅▆▆▆▇▁▅▆          ▆█▆▃▅▄▃▅▄▂▆▄▄▃▅▁▄▅
          max        8.68 ms  ▁▁▁▁▁▁▁▁▂▁▁▁          █▁▁▁▁▁▁▁▁▁▁▂▁▁▁▁▁▁
        failed             0
        agents             1  1 lost
        ");
    }

    #[test]
    fn a_run_without_intervals_has_no_sparklines() {
        let lines = lines(&fixtures::all_failed(), "about to start");
        assert!(lines.iter().all(|line| !line.contains('▁')), "{lines:#?}");
        assert_eq!(lines[6], "failed           200");
    }

    #[test]
    fn the_lines_are_removed_at_the_end() {
        let dashboard = Dashboard::on(ProgressDrawTarget::hidden());
        dashboard.show(&fixtures::good(), "running");
        assert!(dashboard.lines[0].message().starts_with("running"));
        dashboard.finish();
        assert!(dashboard.lines.iter().all(ProgressBar::is_finished));
    }
}
