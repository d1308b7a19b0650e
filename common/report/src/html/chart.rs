//! A chart: a framed plot with labelled axes, a legend, and the table of its data.

use serde::Serialize;

use super::scale::Scale;
use super::svg::{coordinate, escape, label};

/// A chart for the template.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    /// Unique on the page; letters and hyphens.
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What a reader sees in it, in a sentence or two.
    pub(super) about: String,
    /// Markup.
    pub(super) svg: String,
    pub(super) legend: Vec<Entry>,
    /// Numbered explanations of marks.
    pub(super) marks: Vec<String>,
    pub(super) data: Option<Data>,
}

/// A series in the legend.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) class: &'static str,
    pub(super) label: &'static str,
}

/// The data of a chart, for those who cannot see it and for the script.
#[derive(Debug, Serialize)]
pub(super) struct Data {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The axes of a plot with the labels of their ticks.
pub(super) struct Axis<'a> {
    pub(super) scale: Scale,
    pub(super) ticks: Vec<f64>,
    pub(super) label: &'a dyn Fn(f64) -> String,
}

/// What is drawn: `plot` in the plot's coordinates, `overlay` in those of the page.
pub(super) struct Drawing<'a> {
    pub(super) height_px: f64,
    /// The axis to the right. Charts over time share it, and the script can zoom into it.
    pub(super) x: Axis<'a>,
    pub(super) is_over_time: bool,
    pub(super) y: Option<Axis<'a>>,
    /// The plot's own coordinates, as in a `viewBox`.
    pub(super) plot_size: (f64, f64),
    pub(super) plot: String,
    pub(super) overlay: String,
}

/// Space for the labels below a plot.
const BELOW_PX: f64 = 22.0;

impl Drawing<'_> {
    /// Renders the plot with its axes. `title` is its name for screen readers.
    pub(super) fn render(self, title: &str) -> String {
        let Self { height_px, x, is_over_time, y, plot_size, plot, overlay } = self;
        let [from, to] = x.scale.ends();
        let mut lines = String::new();
        let mut labels = String::new();
        for (axis, tick) in y.iter().flat_map(|axis| axis.ticks.iter().map(move |tick| (axis, *tick))) {
            let y_px = (1.0 - axis.scale.at(tick)) * height_px;
            lines += &format!(
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/>",
                coordinate(y_px)
            );
            let text = escape(&(axis.label)(tick));
            // Above the line, except at the top.
            let text_px = if y_px < 14.0 { y_px + 12.0 } else { y_px - 3.0 };
            labels += &format!("<text class=\"y-tick\" x=\"2\" y=\"{}\">{text}</text>", coordinate(text_px));
        }
        for tick in &x.ticks {
            labels += &label("x-tick", x.scale.at(*tick), height_px + 15.0, &(x.label)(*tick));
        }
        let total_px = coordinate(height_px + BELOW_PX);
        let (height, title) = (coordinate(height_px), escape(title));
        let time =
            if is_over_time { format!(" data-from=\"{from}\" data-to=\"{to}\"") } else { String::new() };
        let [y_from, y_to] = y.as_ref().map_or([0.0, 0.0], |axis| axis.scale.ends());
        let kind = y.as_ref().map_or("none", |axis| if axis.scale.is_log() { "log" } else { "linear" });
        let (width_units, height_units) = (coordinate(plot_size.0), coordinate(plot_size.1));
        format!(
            "<svg class=\"chart\" role=\"img\" aria-label=\"{title}\" width=\"100%\" height=\"{total_px}\" data-height=\"{height}\"\
             {time} data-y=\"{kind}\" data-y-from=\"{y_from}\" data-y-to=\"{y_to}\">{lines}\
             <svg class=\"plot\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {width_units} {height_units}\" \
             preserveAspectRatio=\"none\">{plot}</svg>\
             <line class=\"axis\" x1=\"0\" x2=\"100%\" y1=\"{height}\" y2=\"{height}\"/>{overlay}{labels}</svg>"
        )
    }
}
