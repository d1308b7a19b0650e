//! Formats an evaluated threshold for the text report and for Markdown.

use muster_common::result::Threshold;

use super::units::{NONE, duration, figure};

/// The value with its unit, or a dash.
pub(super) fn value(threshold: &Threshold) -> String {
    match (threshold.value, threshold.unit.as_str()) {
        (None, _) => NONE.to_owned(),
        (Some(ms), "ms") => duration(ms),
        (Some(value), "") => figure(value),
        (Some(value), unit) => format!("{} {unit}", figure(value)),
    }
}
