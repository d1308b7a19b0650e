//! SVG elements. A plot has the coordinates 0 to [`SIZE`] in both directions and is stretched to its place on the page, while text keeps its
//! size: it is placed at percentages of the width.

use std::fmt::Write;

/// Width and height of a plot in its own coordinates.
pub(super) const SIZE: f64 = 1_000.0;

/// A coordinate with at most one decimal.
pub(super) fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Escapes text for an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// A line through points of a plot. `None` interrupts it; a point without neighbours is a dot.
pub(super) fn polyline(class: &str, points: impl IntoIterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut is_first = true;
    for point in points {
        let Some((x, y)) = point else {
            is_first = true;
            continue;
        };
        let command = if is_first { 'M' } else { 'L' };
        let (x, y) = (coordinate(x), coordinate(y));
        // With round caps, a line of no length is a dot.
        let dot = if is_first { format!("L{x} {y}") } else { String::new() };
        let _ = write!(path, "{command}{x} {y}{dot}");
        is_first = false;
    }
    format!("<path class=\"line {class}\" d=\"{path}\"/>")
}

/// A closed area between two lines of points.
pub(super) fn band(class: &str, upper: &[(f64, f64)], lower: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in upper.iter().chain(lower.iter().rev()).enumerate() {
        let _ = write!(path, "{}{} {}", if at == 0 { 'M' } else { 'L' }, coordinate(*x), coordinate(*y));
    }
    format!("<path class=\"{class}\" d=\"{path}Z\"/>")
}

/// A rectangle from one corner to the opposite one.
pub(super) fn rectangle(class: &str, (x, y): (f64, f64), (to_x, to_y): (f64, f64)) -> String {
    let [x, y, width, height] = [x, y, to_x - x, to_y - y].map(coordinate);
    format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>")
}

/// A vertical line through the whole plot.
pub(super) fn vertical(class: &str, x: f64) -> String {
    format!("<path class=\"line {class}\" d=\"M{0} 0V1000\"/>", coordinate(x))
}

/// Text at a fraction of the width and at a height in pixels.
pub(super) fn label(class: &str, fraction: f64, y_px: f64, text: &str) -> String {
    // At both ends it stays within the picture.
    let anchor = match fraction {
        ..0.04 => "start",
        0.96.. => "end",
        _ => "middle",
    };
    let (x, y) = (coordinate(fraction * 100.0), coordinate(y_px));
    format!("<text class=\"{class}\" x=\"{x}%\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>", escape(text))
}
