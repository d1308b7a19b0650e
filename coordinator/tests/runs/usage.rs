//! Invalid arguments and input files: each ends with exit code 2 and a message before anything else is started. stdout contains only what
//! was requested.
#![cfg(target_os = "linux")]

use muster_testing::binaries::workspace;
use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{Ended, complete, complete_with, coordinator};
use muster_testing::report::Report;

const HEADER: &str = "hostname,start_time,end_time";
const GOOD: &str = "h,2017-01-01 00:00:00,2017-01-01 01:00:00";

/// Runs `rows.csv` with an embedded server, which must not be searched for before the error.
async fn run_refused(content: impl AsRef<[u8]>, more: &[&str]) -> Ended {
    let (files, tmp) = (Files::new(), Files::new());
    let rows = files.write("rows.csv", content);
    let mut command = coordinator(&[&["run", "--local", &rows], more].concat());
    command.env("TMPDIR", tmp.path());
    let ended = complete(command).await.expect(2);
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains("PostgreSQL"), "the server was started: {}", ended.stderr);
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0);
    ended
}

// -- thresholds --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_invalid_threshold_is_reported_before_anything_starts() {
    let rows = format!("{HEADER}\n{GOOD}\n");
    let ended = run_refused(&rows, &["--threshold", "p95<50ms,p97<1s"]).await;
    ended.expect_stderr(
        "'p97<1s' is not a valid threshold: unknown metric 'p97'; write METRIC OPERATOR VALUE, such as p95<50ms",
    );
    let ended = run_refused(&rows, &["--threshold", "p95<50ms", "--threshold", "host:db-*:p95<1s"]).await;
    ended.expect_stderr("--threshold 'host:db-*:p95<1s' matches no host of the workload");
}

// -- bad rows ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_bad_row_is_named_by_file_and_line() {
    for (row, fault) in [
        ("h,2017-01-01 00:00:00", "field count is 2 where the header has 3"),
        (",2017-01-01 00:00:00,2017-01-01 01:00:00", "hostname is empty"),
        ("h,soon,2017-01-01 01:00:00", "start_time 'soon' is not a time"),
        ("h,2017-01-01 01:00:00,2017-01-01 00:00:00", "end_time '2017-01-01 00:00:00' is before start_time"),
    ] {
        let ended = run_refused(format!("{HEADER}\n{GOOD}\n\n{row}\n"), &[]).await;
        ended
            .expect_stderr(&format!("rows.csv:4: {fault}"))
            .expect_stderr("1 bad row (use --on-bad-row skip to run the others)");
    }
}

#[tokio::test]
async fn ten_bad_rows_are_listed_and_all_are_counted() {
    let ended = run_refused(format!("{HEADER}\n{}", ",,\n".repeat(25)), &[]).await;
    let ended =
        ended.expect_stderr("has 25 bad rows").expect_stderr("rows.csv:11: ").expect_stderr("and 15 more");
    assert!(!ended.stderr.contains("rows.csv:12: "), "{}", ended.stderr);
}

#[tokio::test]
async fn a_file_that_is_not_a_workload_is_reported() {
    run_refused("", &[]).await.expect_stderr("is empty; it needs a header line");
    run_refused(format!("{HEADER}\n"), &[]).await.expect_stderr("has a header and no rows");
    run_refused(format!("{GOOD}\n"), &[]).await.expect_stderr("has no column 'hostname'");
    run_refused("host,start_time,end_time\nh,1,2\n", &[]).await.expect_stderr("--host-column");
    run_refused(format!("{HEADER}\n,,\n"), &["--on-bad-row", "skip"])
        .await
        .expect_stderr("no valid row to run");
    complete(coordinator(&["run", "no/such.csv"]))
        .await
        .expect(2)
        .expect_stderr("cannot open workload file 'no/such.csv'");
}

#[tokio::test]
async fn a_quote_that_is_never_closed_is_named_by_its_line() {
    let rows = format!("{HEADER}\n{GOOD}\n\"{GOOD}\n{GOOD}\n");
    run_refused(&rows, &[])
        .await
        .expect_stderr("rows.csv:3: the quote that opens in this line is never closed");
    let files = Files::new();
    let rows = files.write("rows.csv", &rows);
    let plan = complete(coordinator(&["plan", "--json", "--on-bad-row", "skip", &rows])).await.expect(0);
    assert!(plan.stdout.contains("\"rows\": 2"), "{}", plan.stdout);
    plan.expect_stderr("skipped: ").expect_stderr("rows.csv:3: the quote");
}

#[tokio::test]
async fn a_query_that_exceeds_the_message_size_is_refused_before_anything_starts() {
    let files = Files::new();
    let long = files.write("long.sql", format!("SELECT 1 -- {}", "x".repeat(9 << 20)));
    run_refused(format!("{HEADER}\n{GOOD}\n"), &["--query", &long])
        .await
        .expect_stderr("long.sql' has 9437196 bytes, but all queries of a run are limited to 7340032");
}

#[tokio::test]
async fn the_path_of_a_query_may_contain_an_equals_sign() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\nh\n");
    std::fs::create_dir(files.path().join("day=1")).unwrap();
    let query = files.write("day=1/q.sql", "SELECT :hostname");
    let mut relative = coordinator(&["plan", &rows, "--query", "day=1/q.sql"]);
    relative.current_dir(files.path());
    complete(relative).await.expect(0);
    complete(coordinator(&["plan", &rows, "--query", &query])).await.expect(0);
}

#[tokio::test]
async fn an_unusable_query_is_reported_before_anything_starts() {
    let files = Files::new();
    let missing = files.write("missing.sql", "SELECT :nowhere");
    run_refused(format!("{HEADER}\n{GOOD}\n"), &["--query", &missing])
        .await
        .expect_stderr("has no column 'nowhere'");
    run_refused(format!("{HEADER}\n{GOOD}\n"), &["--query", "no/such.sql"])
        .await
        .expect_stderr("cannot read the query from 'no/such.sql'");
}

// -- the command line --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn times_of_zero_or_more_than_a_year_are_refused() {
    for option in ["--timeout", "--duration", "--think-time", "--warmup", "--join-timeout", "--step-time"] {
        for time in ["0s", "9000h", "9223372036854775807s"] {
            complete(coordinator(&["run", option, time])).await.expect(2).expect_stderr(option);
        }
    }
    for args in
        [["--slot-grace", "9000h"], ["--rate", "0"], ["--rate", "1e-9"], ["--repeat", "0"], ["--limit", "0"]]
    {
        complete(coordinator(&[&["run"], &args[..]].concat())).await.expect(2).expect_stderr(args[0]);
    }
}

#[tokio::test]
async fn addresses_to_listen_on_must_be_ip_addresses() {
    for option in ["--listen", "--metrics"] {
        complete(coordinator(&["run", option, "localhost:50051"]))
            .await
            .expect(2)
            .expect_stderr("127.0.0.1:50051");
    }
}

#[tokio::test]
async fn passwords_are_not_printed_for_any_form_of_url() {
    let files = Files::new();
    let rows = files.write("rows.csv", format!("{HEADER}\n{GOOD}\n"));
    for url in [
        "\"postgresql://me:hunter2@127.0.0.1:1/db?sslmode=prefer\"",
        "jdbc:postgresql://me:hunter2@127.0.0.1:1/db?ssl=false",
        "me:hunter2@127.0.0.1:1/db?sslmode=prefer",
        "postgresql:/me:hunter2@127.0.0.1:1/db?sslmode=prefer",
        "host=127.0.0.1;port=1;password=hunter2",
        "postgresql://me:hunter2:127.0.0.1:1/db",
    ] {
        let mut run = coordinator(&["run", "--local", "--no-run-dir", &rows]);
        run.env("DATABASE_URL", url);
        let mut agent = muster_testing::processes::agent("127.0.0.1:1", &["--once"]);
        agent.env("DATABASE_URL", url);
        for command in [
            run,
            agent,
            coordinator(&["run", "--local", "--no-run-dir", "--versus", url, &rows]),
            coordinator(&["migrate", "--database-url", url]),
        ] {
            let ended = complete(command).await.expect(2);
            assert!(!(ended.stdout + &ended.stderr).contains("hunter2"), "{url}");
        }
    }
    for args in [["run", "postgresql://me:hunter2@h/db"], ["plan", "postgresql://me:hunter2@h/db"]] {
        let ended = complete(coordinator(&args)).await.expect(2).expect_stderr("--database-url");
        assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn invalid_arguments_exit_with_2() {
    for args in [
        &["run", "--frobnicate"][..],
        &["run", "--agents", "0"],
        &["run", "--limit", "0"],
        &["run", "--timeout", "soon"],
        &["run", "--output", "xml"],
        &["run", "--output", "text,json"],
        &["run", "--listen", "nowhere"],
        &["plan", "--placement", "random"],
        &["migrate", "--generate", "--data", "x.csv"],
        &["generate", "query-params", "-", "--hosts", "2", "--hosts-used", "3"],
        &["sing"],
        &[],
    ] {
        let ended = complete(coordinator(args)).await.expect(2);
        assert_eq!(ended.stdout, "", "{args:?}");
        assert!(!ended.stderr.is_empty(), "{args:?}");
    }
    complete(coordinator(&["run", "--database-url", "mysql://x"])).await.expect(2);
    complete(coordinator(&["run", "--listen", "0.0.0.0:0"])).await.expect(2).expect_stderr("--insecure");
}

#[tokio::test]
async fn help_version_and_completions_go_to_stdout() {
    for (args, expected) in [
        (&["--help"][..], "Usage: coordinator"),
        (&["run", "--help"], "Exit codes"),
        (&["--version"], "coordinator 0."),
        (&["completions", "bash"], "complete -F _coordinator"),
        (&["completions", "zsh"], "#compdef coordinator"),
    ] {
        let ended = complete(coordinator(args)).await.expect(0);
        assert!(ended.stdout.contains(expected), "{args:?}: {}", ended.stdout);
        assert_eq!(ended.stderr, "", "{args:?}");
    }
}

// -- without a database ------------------------------------------------------------------------------------------------

async fn plan(args: &[&str], input: &[u8]) -> serde_json::Value {
    let ended = complete_with(coordinator(&[&["plan", "--json"], args].concat()), input).await.expect(0);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[tokio::test]
async fn a_plan_places_every_row_and_needs_no_database() {
    let planned = plan(&["--agents", "4", "--workers", "2"], b"").await;
    let workers = planned["workers"].as_array().unwrap();
    assert_eq!(
        (workers.len(), planned["rows"].as_u64(), planned["hosts"].as_u64()),
        (8, Some(200), Some(10))
    );
    let sum = |field: &str| workers.iter().map(|worker| worker[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("rows"), sum("hosts")), (200, 10));
    let idle = workers.iter().filter(|worker| worker["hosts"] == 0).count();
    assert_eq!(planned["idle"], idle);

    let text = complete(coordinator(&["plan", "--agents", "4", "--workers", "2"])).await.expect(0);
    assert!(text.stdout.contains("200 rows") && text.stdout.contains("slot-3/1"), "{}", text.stdout);
    assert_eq!(text.stderr, "");
}

#[tokio::test]
async fn standard_input_with_a_bom_crlf_blank_lines_and_other_columns_is_accepted() {
    let input = "\u{feff}note,end_time,hostname,start_time\r\n\"a, b\",2017-01-01 01:00:00,\"h\",2017-01-01 00:00:00\r\n\r\n\
                 ,2017-01-01 01:00:00,i,2017-01-01 00:00:00\r\n";
    let planned = plan(&["-"], input.as_bytes()).await;
    assert_eq!((planned["rows"].as_u64(), planned["hosts"].as_u64()), (Some(2), Some(2)));
    assert_eq!(planned["file"], "-");
    complete_with(coordinator(&["plan", "-"]), b"").await.expect(2).expect_stderr("'-' is empty");
    let bad = format!("{HEADER}\n{GOOD}\n,,\n");
    complete_with(coordinator(&["plan", "-"]), bad.as_bytes())
        .await
        .expect(2)
        .expect_stderr("-:3: hostname is empty");
}

#[tokio::test]
async fn generated_files_equal_the_committed_ones_and_are_deterministic() {
    let files = Files::new();
    let generate =
        async |args: &[&str]| complete(coordinator(&[&["generate"], args].concat())).await.expect(0);
    let committed = std::fs::read_to_string(workspace().join("data/query_params.csv")).unwrap();
    assert!(generate(&["query-params", "-"]).await.stdout == committed, "data/query_params.csv");
    assert!(
        generate(&["query-params", "-", "--seed", "2"]).await.stdout != committed,
        "the seed has no effect"
    );

    let small = ["cpu-usage", "-", "--hosts", "3", "--span", "1h"];
    let first = generate(&small).await;
    assert_eq!(first.stdout.lines().count(), 1 + 3 * 360);
    let path = files.path().join("cpu.csv");
    let to_file = generate(&["cpu-usage", path.to_str().unwrap(), "--hosts", "3", "--span", "1h"]).await;
    assert_eq!(to_file.stdout, "");
    to_file.expect_stderr("1080 rows written");
    assert!(files.read("cpu.csv") == first.stdout, "a file and stdout differ");
}

#[tokio::test]
async fn stored_runs_are_listed_and_an_empty_directory_is_reported() {
    let files = Files::new();
    let runs = files.path().join("kept");
    let list = [&["runs", "--run-dir"][..], &[runs.to_str().unwrap()]].concat();
    let none = complete(coordinator(&list)).await.expect(0).expect_stderr("there are no runs in '");
    assert_eq!(none.stdout, "");

    std::fs::create_dir_all(runs.join("20261123-213153-1193")).unwrap();
    files.write("kept/20261123-213153-1193/manifest.json", "{}");
    let listed = complete(coordinator(&list)).await.expect(0);
    assert_eq!(listed.stderr, "");
    assert!(listed.stdout.contains("20261123-213153-1193") && listed.stdout.contains("broken"), "{listed:?}");

    let mut homeless = coordinator(&["runs"]);
    homeless.env_remove("HOME").env_remove("XDG_STATE_HOME");
    complete(homeless).await.expect(2).expect_stderr("choose a directory with --run-dir");
}

#[tokio::test]
async fn help_lists_only_the_options_of_the_command() {
    let help = async |command: &str| complete(coordinator(&[command, "--help"])).await.expect(0).stdout;
    for (command, args) in [
        ("migrate", &["--postgres-bin", "embedded"][..]),
        ("plan", &["--seed", "--local", "--database-url"]),
        ("report", &["--quiet", "--database-url"]),
    ] {
        let help = help(command).await;
        args.iter().for_each(|word| assert!(!help.contains(word), "{command}: {word} in {help}"));
    }
    let run = help("run").await;
    for word in ["--postgres-bin", "embedded", "--seed", "--workers"] {
        assert!(run.contains(word), "{run}");
    }
    for refused in [&["migrate", "--postgres-bin", "/usr"][..], &["plan", "--seed", "1"]] {
        complete(coordinator(refused)).await.expect(2).expect_stderr("unexpected argument");
    }
}

// -- with a database ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn stdout_contains_only_the_report_and_quiet_leaves_stderr_empty() {
    let Some(database) = Database::empty("quiet").await else { return };
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname,n\na,1\n,2\nb,3\na,4\n");
    let query = files.write("n.sql", "SELECT :hostname::text, :n::int");
    let base = ["run", "--local", &rows, "--query", &query, "--on-bad-row", "skip", "--limit", "2"];
    let base = [&base[..], &["--database-url", database.url()]].concat();
    let run = async |more: &[&str]| {
        let mut command = coordinator(&[&base, more].concat());
        command.env_remove("MUSTER_LOG");
        complete(command).await.expect(0)
    };
    let json = run(&["--output", "json"]).await.expect_stderr("rows.csv:3: hostname is empty");
    let report = Report::of(&json);
    assert_eq!(report.accounting(), (2, 0, 0));
    let reports = format!("text,json={}/reports.json", files.path().display());
    let text = run(&["--output", &reports]).await;
    assert!(text.stdout.contains("2 queries") || text.stdout.contains("2 of 2"), "{}", text.stdout);
    assert_eq!(Report::read(&files.read("reports.json")).number("/workload/rows"), 2);

    let quiet = run(&["--quiet", "--output", "json"]).await;
    assert_eq!(Report::of(&quiet).text("/result/digest"), report.text("/result/digest"));
    assert_eq!(quiet.stderr, "", "progress or notices on stderr");
    let mut logging = coordinator(&[&base[..], &["-q"]].concat());
    logging.env("MUSTER_LOG", "info");
    assert_eq!(complete(logging).await.expect(0).stderr, "", "the log contains more than errors");
    let missing = ["run", "-q", "--local", "missing.csv"];
    complete(coordinator(&missing)).await.expect(2).expect_stderr("missing.csv");
}
