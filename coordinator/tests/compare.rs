//! `coordinator compare` of real runs, by the built program: a run and its like, a slower statement, results without measurements.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may, and so may its helpers")]

mod support {
    pub(crate) mod agent;
    pub(crate) mod database;
    mod deadline;
    pub(crate) mod files;
    pub(crate) mod processes;
}

use serde_json::Value;

use support::database::Database;
use support::files::{Files, words};
use support::processes::{Ended, complete, coordinator, workspace};

/// In percent: a busy machine makes sleeps longer, and here that is to be no difference.
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
        let ended = complete(coordinator(&[&head, &words(&self.rows)[..], &own, more].concat())).await;
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

    /// As JSON, with a margin, and 10 for a regression.
    async fn judge(&self, base: &str, new: &str, margin: &str, code: i32) -> Value {
        let words = ["--output", "json", "--margin", margin, "--fail-on-regression"];
        let ended = self.compare(base, new, &words).await.expect(code);
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
async fn a_run_is_compared_with_its_like_and_with_a_slower_statement() {
    let Some(runs) = Runs::new("compared").await else { return };
    let (base, like, slower) = (runs.run(&[]).await, runs.run(&[]).await, runs.run_slower().await);

    let alike = runs.judge(&base, &like, MARGIN, 0).await;
    assert!(["noise", "negligible"].contains(&alike["finding"].as_str().unwrap()), "{alike:#}");
    assert_eq!(alike["rows"]["method"], "paired");
    assert_eq!((&alike["rows"]["base"], &alike["base"]["run_id"]), (&200.into(), &base.as_str().into()));
    // Whether a run is VALID is the machine's doing, and said.
    let of_the_runs =
        warnings(&alike).into_iter().filter(|warning| !warning.contains(" is DEGRADED: threads of "));
    assert_eq!(of_the_runs.collect::<Vec<_>>(), Vec::<&str>::new());

    let found = runs.judge(&base, &slower, "100", 10).await;
    assert_eq!(found["finding"], "slower");
    let median = &found["service_time"]["figures"][0];
    assert!((1.0..=8.0).contains(&median["change"].as_f64().unwrap()), "{median}");
    assert!(found["row_by_row"]["signed_rank"]["p_value"].as_f64().unwrap() < 0.05, "{found:#}");
    assert!(warnings(&found).iter().any(|warning| warning.starts_with("the statements differ")));
    // Faster is no regression.
    assert_eq!(runs.judge(&slower, &base, "50", 0).await["finding"], "faster");

    // A difference alone is no failure.
    let text = runs.compare(&base, &slower, &[]).await.expect(0).stdout;
    assert!(text.starts_with("SLOWER   new takes longer: row by row +"), "{text}");
}

#[tokio::test]
async fn of_results_and_of_other_rows_is_said_what_they_allow() {
    let Some(runs) = Runs::new("compared_less").await else { return };
    let (base, fewer) = (runs.run(&[]).await, runs.run(&["--limit", "150"]).await);

    let two = runs.judge(&base, &fewer, MARGIN, 0).await;
    assert_eq!(two["rows"]["method"], "two_sample");
    assert_eq!((&two["rows"]["base"], &two["rows"]["new"]), (&200.into(), &150.into()));
    assert!(two["row_by_row"].is_null() && two["rank_test"].is_object(), "{two:#}");
    assert!(warnings(&two).contains(&"the runs have 200 and 150 rows of the same file"));

    let json = format!("{}/{fewer}/report.json", runs.dir());
    let summaries = runs.judge(&base, &json, MARGIN, 0).await;
    assert_eq!(summaries["rows"]["method"], "summaries");
    assert!(warnings(&summaries).iter().any(|warning| warning.starts_with("only results were compared")));

    let markdown = runs.files.path().join("compared.md");
    let output = format!("csv,markdown={}", markdown.display());
    let csv = runs.compare(&base, &json, &["--output", &output]).await.expect(0).stdout;
    assert!(csv.starts_with("of,figure,base_ms,new_ms,"), "{csv}");
    assert!(std::fs::read_to_string(markdown).unwrap().starts_with("## Muster: "));
}

#[tokio::test]
async fn what_is_no_run_is_refused_with_the_way_out() {
    let files = Files::new();
    let refused = async |run: &str| {
        let dir = files.path().to_str().unwrap();
        complete(coordinator(&["compare", run, run, "--run-dir", dir])).await.expect(2)
    };
    refused("20990101").await.says("there is no run '20990101'");
    let csv = files.write("rows.csv", "a,b\n1,2\n");
    refused(&csv).await.says("it is no JSON result; a result is written by: coordinator report");
    let other = files.write("other.json", "{\"schema\": \"muster.compare/v1\"}");
    refused(&other).await.says("its schema is 'muster.compare/v1', not 'muster.result/v1'");
    complete(coordinator(&["compare", "one", "other", "--margin", "-3"])).await.expect(2);
}
