//! `coordinator compare` with the built program on real runs: equal runs, a slower statement, results without measurements.
#![cfg(target_os = "linux")]

use serde_json::Value;

use muster_testing::binaries::workspace;
use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::processes::{Ended, complete, coordinator};

/// In percent. Large, because a busy machine makes sleeps longer, which must not count as a difference.
const MARGIN: &str = "300";

struct Runs {
    database: Database,
    files: Files,
    rows: [String; 3],
}

impl Runs {
    /// `None` without a PostgreSQL.
    async fn new(name: &str) -> Option<Self> {
        let database = Database::empty(name).await?;
        let files = Files::new();
        let rows = files.sleeps(200, 0.005);
        Some(Self { database, files, rows })
    }

    fn dir(&self) -> String {
        self.files.path().join("runs").to_str().unwrap().to_owned()
    }

    /// Runs the rows and returns the run's id.
    async fn run(&self, more: &[&str]) -> String {
        let dir = self.dir();
        let head = ["run", "--local", "--agents", "4", "--output", "json", "--run-dir", &dir];
        let own = ["--database-url", self.database.url()];
        let ended = complete(coordinator(&[&head, &args(&self.rows)[..], &own, more].concat())).await;
        let result: Value = serde_json::from_str(&ended.expect(0).stdout).unwrap();
        result["run_id"].as_str().unwrap().to_owned()
    }

    /// The same rows with a statement that sleeps eight times as long.
    async fn run_slower(&self) -> String {
        let statement = "SELECT pg_sleep(:seconds::float8 * 8), :hostname::text";
        let query = self.files.write("slower.sql", statement);
        let dir = self.dir();
        let head = ["run", "--local", "--agents", "4", "--output", "json", "--run-dir", &dir];
        let own = [&self.rows[0], "--query", &query, "--database-url", self.database.url()];
        let ended = complete(coordinator(&[&head, &own[..]].concat())).await;
        let result: Value = serde_json::from_str(&ended.expect(0).stdout).unwrap();
        result["run_id"].as_str().unwrap().to_owned()
    }

    async fn compare(&self, base: &str, new: &str, more: &[&str]) -> Ended {
        let dir = self.dir();
        complete(coordinator(&[&["compare", base, new, "--run-dir", &dir], more].concat())).await
    }

    /// Compares with JSON output and a margin; a regression exits with 10. Checks the output against the schema.
    async fn compare_as_json(&self, base: &str, new: &str, margin: &str, code: i32) -> Value {
        let args = ["--output", "json", "--margin", margin, "--fail-on-regression"];
        let ended = self.compare(base, new, &args).await.expect(code);
        let comparison: Value = serde_json::from_str(&ended.stdout).unwrap();
        let errors: Vec<String> = schema().iter_errors(&comparison).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        comparison
    }
}

fn schema() -> jsonschema::Validator {
    let text = std::fs::read_to_string(workspace().join("docs/muster.compare.v1.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn warnings(comparison: &Value) -> Vec<&str> {
    comparison["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_run_is_compared_with_an_equal_one_and_with_a_slower_statement() {
    let Some(runs) = Runs::new("compared").await else { return };
    let (base, same, slower) = (runs.run(&[]).await, runs.run(&[]).await, runs.run_slower().await);

    let unchanged = runs.compare_as_json(&base, &same, MARGIN, 0).await;
    assert!(["noise", "negligible"].contains(&unchanged["finding"].as_str().unwrap()), "{unchanged:#}");
    assert_eq!(unchanged["rows"]["method"], "paired");
    assert_eq!(
        (&unchanged["rows"]["base"], &unchanged["base"]["run_id"]),
        (&200.into(), &base.as_str().into())
    );
    // Whether a run is VALID depends on this machine, and is reported as a warning.
    let of_the_runs = warnings(&unchanged)
        .into_iter()
        .filter(|warning| !warning.contains(" is DEGRADED: the scheduling delay of "));
    assert_eq!(of_the_runs.collect::<Vec<_>>(), Vec::<&str>::new());

    let found = runs.compare_as_json(&base, &slower, "100", 10).await;
    assert_eq!(found["finding"], "slower");
    let median = &found["service_time"]["figures"][0];
    assert!((1.0..=8.0).contains(&median["change"].as_f64().unwrap()), "{median}");
    assert!(found["row_by_row"]["signed_rank"]["p_value"].as_f64().unwrap() < 0.05, "{found:#}");
    assert!(warnings(&found).iter().any(|warning| warning.starts_with("the statements differ")));
    // A faster run is not a regression.
    assert_eq!(runs.compare_as_json(&slower, &base, "50", 0).await["finding"], "faster");

    // Without --fail-on-regression, a difference is not a failure.
    let text = runs.compare(&base, &slower, &[]).await.expect(0).stdout;
    assert!(text.starts_with("SLOWER   new takes longer: row by row +"), "{text}");
}

#[tokio::test]
async fn results_and_different_row_counts_limit_the_comparison() {
    let Some(runs) = Runs::new("compared_less").await else { return };
    let (base, fewer) = (runs.run(&[]).await, runs.run(&["--limit", "150"]).await);

    let two = runs.compare_as_json(&base, &fewer, MARGIN, 0).await;
    assert_eq!(two["rows"]["method"], "two_sample");
    assert_eq!((&two["rows"]["base"], &two["rows"]["new"]), (&200.into(), &150.into()));
    assert!(two["row_by_row"].is_null() && two["rank_test"].is_object(), "{two:#}");
    assert!(warnings(&two).contains(&"the runs have 200 and 150 rows of the same file"));

    let json = format!("{}/{fewer}/report.json", runs.dir());
    let summaries = runs.compare_as_json(&base, &json, MARGIN, 0).await;
    assert_eq!(summaries["rows"]["method"], "summaries");
    assert!(warnings(&summaries).iter().any(|warning| warning.starts_with("only results were compared")));

    let markdown = runs.files.path().join("compared.md");
    let output = format!("csv,markdown={}", markdown.display());
    let csv = runs.compare(&base, &json, &["--output", &output]).await.expect(0).stdout;
    assert!(csv.starts_with("of,figure,base_ms,new_ms,"), "{csv}");
    assert!(std::fs::read_to_string(markdown).unwrap().starts_with("## Muster: "));
}

#[tokio::test]
async fn arguments_that_are_not_runs_are_refused_with_a_hint() {
    let files = Files::new();
    let refused = async |run: &str| {
        let dir = files.path().to_str().unwrap();
        complete(coordinator(&["compare", run, run, "--run-dir", dir])).await.expect(2)
    };
    refused("20990101").await.expect_stderr("there is no run '20990101'");
    let csv = files.write("rows.csv", "a,b\n1,2\n");
    refused(&csv).await.expect_stderr("not a JSON result; write a result with: coordinator report");
    let other = files.write("other.json", "{\"schema\": \"muster.compare/v1\"}");
    refused(&other).await.expect_stderr("the schema is 'muster.compare/v1', expected 'muster.result/v1'");
    complete(coordinator(&["compare", "one", "other", "--margin", "-3"])).await.expect(2);
}
