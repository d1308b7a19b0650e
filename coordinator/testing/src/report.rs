//! A JSON report as the tests read it. Every report that is read here is checked against the schema, and its totals have to add up.

use std::sync::LazyLock;

use serde_json::Value;

use crate::binaries::workspace;
use crate::processes::Ended;

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let text = std::fs::read_to_string(workspace().join("docs/muster.result.v1.schema.json"));
    let schema = serde_json::from_str(&text.expect("the schema is committed")).expect("it is JSON");
    jsonschema::validator_for(&schema).expect("it is a schema")
});

#[derive(Debug)]
pub struct Report(Value);

/// The number of rows: completed, failed, unaccounted.
pub type Accounting = (u64, u64, u64);

impl Report {
    #[track_caller]
    pub fn of(ended: &Ended) -> Self {
        Self::read(&ended.stdout)
    }

    #[track_caller]
    pub fn read(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in '{text}'"));
        let errors: Vec<String> = SCHEMA.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?} in {text}");
        let report = Self(value);
        let (completed, failed, unaccounted) = report.accounting();
        assert_eq!(completed + failed + unaccounted, report.number("/queries/total"), "the totals add up");
        let ranges = report.list("/queries/unaccounted_rows").iter();
        let listed = ranges.map(|range| range[1].as_u64().unwrap() - range[0].as_u64().unwrap() + 1);
        assert_eq!(listed.sum::<u64>(), unaccounted, "every row that is not counted is listed");
        let workers = report.list("/workers").iter();
        let settled = workers.map(|one| one["completed"].as_u64().unwrap() + one["failed"].as_u64().unwrap());
        assert_eq!(settled.sum::<u64>(), completed + failed, "the workers' rows add up");
        report
    }

    #[track_caller]
    pub fn at(&self, pointer: &str) -> &Value {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {}", self.0))
    }

    #[track_caller]
    pub fn number(&self, pointer: &str) -> u64 {
        self.at(pointer).as_u64().unwrap_or_else(|| panic!("{pointer} is not a count"))
    }

    #[track_caller]
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).as_str().unwrap_or_else(|| panic!("{pointer} is not a string"))
    }

    #[track_caller]
    pub fn list(&self, pointer: &str) -> &Vec<Value> {
        self.at(pointer).as_array().unwrap_or_else(|| panic!("{pointer} is not a list"))
    }

    pub fn accounting(&self) -> Accounting {
        let [completed, failed, unaccounted] =
            ["completed", "failed", "unaccounted"].map(|name| self.number(&format!("/queries/{name}")));
        (completed, failed, unaccounted)
    }

    /// Expects that no agent was lost and the run was neither resumed nor ended early. Causes like a slow machine or network are allowed,
    /// because tests run concurrently on any machine.
    #[track_caller]
    pub fn expect_undisturbed(&self) {
        let happened = ["ended_early", "resumed", "agent_lost"];
        let causes = self.list("/verdict/causes");
        assert!(
            !causes.iter().any(|cause| happened.contains(&cause.as_str().unwrap())),
            "{causes:?} {}",
            self.events()
        );
    }

    /// All events of the run, one per line.
    pub fn events(&self) -> String {
        let events = self.list("/events").iter();
        events.map(|event| event["what"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    }
}
