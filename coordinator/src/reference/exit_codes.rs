//! `docs/reference/exit-codes.md`

use muster_process::exit::Description;

use super::page::{check, escape, table};
use crate::exit::Exit;

const INTRODUCTION: &str = "\
All commands of the coordinator use the same codes: 11 to 15 are those of `coordinator run`, and 10 is also returned by `report` for
thresholds that are given to it, and by `compare --fail-on-regression`.";

const ORDER: &str = "\
If several conditions apply to a run, an early end comes first (2, 13, 74, 130), then 12, 11, 10 and 14, in this order. With a threshold on
`failed`, 14 is not used. A run that is DEGRADED exits with 0, because its figures may still be of use: read the reasons, or the field
`verdict` of the [JSON result](json.md).";

fn codes(codes: impl IntoIterator<Item = Description>) -> String {
    let row = |Description { code, meaning, remedy }| [code.to_string(), escape(meaning), remedy.to_owned()];
    let rows: Vec<_> = codes.into_iter().map(row).collect();
    table(["code", "meaning", "what to do"], &rows)
}

#[test]
fn the_page_of_exit_codes_matches_the_programs() {
    let coordinator = codes(Exit::ALL.map(Exit::description));
    let agent = codes(muster_agent::exit::Exit::ALL.map(muster_agent::exit::Exit::description));
    check(
        "exit-codes.md",
        "Exit codes",
        &format!("{INTRODUCTION}\n\n## coordinator\n\n{coordinator}\n{ORDER}\n\n## agent\n\n{agent}"),
    );
}
