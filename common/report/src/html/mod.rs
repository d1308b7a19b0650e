//! One HTML file for a result: readable without JavaScript and without a network, printable, light and dark. Charts are SVG made here, text
//! comes from the report model, and the template escapes everything that is not markup made here.

mod chart;
mod charts;
mod page;
mod scale;
mod sections;
mod svg;
#[cfg(test)]
mod tests;

use crate::report;
use crate::result::RunResult;
use crate::result::comparison::Comparison;

pub(crate) fn run(result: &RunResult) -> String {
    let report = report::run::report(result);
    page::render(&report, charts::headline(result), charts::of_run(result))
}

pub(crate) fn comparison(comparison: &Comparison) -> String {
    page::render(&report::comparison::report(comparison), Vec::new(), charts::of_comparison(comparison))
}
