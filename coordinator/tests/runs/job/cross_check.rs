//! Compares Muster's own wire protocol code with tokio-postgres on the same rows: for each result type that the server ships, the digest,
//! the number of rows and bytes, and the SQLSTATE of a failure must be equal.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;

use bytes::BytesMut;
use futures_util::TryStreamExt;
use muster_core::sample::Answer;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use xxhash_rust::xxh3::Xxh3;

use muster_testing::database::Database;
use muster_testing::files::Files;
use muster_testing::processes::{complete, coordinator};
use muster_testing::report::Report;

/// Every type of the catalog that can be a column: base types, ranges and multiranges. The test adds arrays of them.
const TYPES: &str = "SELECT pg_catalog.format_type(t.oid, NULL), t.typsend::oid <> 0, t.typarray <> 0 FROM pg_catalog.pg_type t \
     WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A' ORDER BY 1";

/// For nearly every type, at least one of these is a valid value; most are invalid for other types.
const VALUES: [&str; 30] = [
    "1",
    "-2.5",
    "t",
    "text with 'quotes' and ü",
    "2024-02-29 12:34:56.789+01",
    "12:34:56+01",
    "1 mon 2 days 03:04:05",
    "5f0c5b3e-0000-4000-8000-000000000001",
    "{\"k\": [1, null]}",
    "<a>b</a>",
    "192.168.0.1/24",
    "08:00:2b:01:02:03",
    "08:00:2b:01:02:03:04:05",
    "(1,2)",
    "(1,2),(3,4)",
    "[(1,2),(3,4)]",
    "((1,2),(3,4),(5,6))",
    "<(1,2),3>",
    "{1,2,3}",
    "[1,5)",
    "{[1,5),[7,9)}",
    "[2024-01-01,2024-02-01)",
    "{[2024-01-01,2024-02-01)}",
    "'fat' & 'cat'",
    "$.a[*]",
    "1 2 3",
    "16/B374D848",
    "10:20:10,14,15",
    "pg_class",
    "=r/postgres",
];

/// Types that accept no input, at least in some versions.
const WITHOUT_VALUES: [&str; 7] = [
    "gtsvector",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
];

struct Column {
    type_name: String,
    has_binary: bool,
    has_array: bool,
}

/// The result of a row: the number of rows and bytes, or the SQLSTATE.
type Outcome = Result<(u64, u64), String>;

#[tokio::test]
async fn both_clients_return_the_same_results_for_every_type() {
    let Some(database) = Database::empty("cross_check").await else { return };
    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let columns = columns(&client).await;
    assert!(columns.len() > 70, "the catalog has more types than {}", columns.len());
    let files = Files::new();
    let mut rows = "query,hostname,value\n".to_owned();
    let mut args = vec!["run".to_owned()];
    for (index, column) in columns.iter().enumerate() {
        for value in VALUES.into_iter().chain([""]) {
            writeln!(rows, "q{index},host,\"{}\"", value.replace('"', "\"\"")).unwrap();
        }
        let query = files.write(&format!("q{index}.sql"), statement(column, ":value"));
        args.extend(["--query".to_owned(), format!("q{index}={query}")]);
    }
    args.insert(1, files.write("rows.csv", rows));
    let [runs, samples] = ["runs", "samples.csv"].map(|name| files.path().join(name).display().to_string());
    args.extend(["--local", "--agents", "1", "--output", "json", "--run-dir", &runs].map(str::to_owned));
    args.extend(["--database-url", database.url()].map(str::to_owned));

    for options in [
        &["--protocol", "prepared"][..],
        &["--protocol", "extended"],
        &["--results", "text"],
        &["--protocol", "simple"],
    ] {
        let is_text = options.contains(&"text") || options.contains(&"simple");
        let (expected, digest) = by_tokio_postgres(&client, &columns, is_text).await;
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        args.extend(options);
        let report = Report::of(&complete(coordinator(&args)).await.expect(14));
        let report_args = ["report", report.text("/run_id"), "--run-dir", &runs, "--samples", &samples];
        complete(coordinator(&report_args)).await.expect(0);
        let found = outcomes(&files.read("samples.csv"));
        for (row, expected) in &expected {
            let Column { type_name, .. } = &columns[row / (VALUES.len() + 1)];
            let value = VALUES.get(row % (VALUES.len() + 1));
            assert_eq!(&found[row], expected, "{type_name}, {value:?}, {options:?}");
        }
        assert_eq!(found.len(), expected.len(), "{options:?}");
        assert_eq!(report.text("/result/digest"), format!("{digest:016x}"), "{options:?}");
        for (index, Column { type_name, .. }) in columns.iter().enumerate() {
            let first = index * (VALUES.len() + 1);
            let has_value = (first..first + VALUES.len()).any(|row| expected[&row].is_ok());
            assert!(
                has_value || WITHOUT_VALUES.contains(&&**type_name),
                "{type_name} needs a value in this test"
            );
        }
    }
    drop(client);
    driver.await.unwrap().unwrap();
}

async fn columns(client: &Client) -> Vec<Column> {
    let rows = client.query(TYPES, &[]).await.unwrap();
    let column = |row: &tokio_postgres::Row| Column {
        type_name: row.get(0),
        has_binary: row.get(1),
        has_array: row.get(2),
    };
    rows.iter().map(column).collect()
}

/// Selects a value, an array of it, and NULL, in two rows.
fn statement(Column { type_name, has_array, .. }: &Column, value: &str) -> String {
    let array = if *has_array { "ARRAY[v, NULL]" } else { "1" };
    format!(
        "SELECT v, {array}, NULL::{type_name} FROM (SELECT {value}::{type_name}) AS value (v), generate_series(1, 2)"
    )
}

/// Returns the outcome of each row, and the digest of all rows.
async fn by_tokio_postgres(
    client: &Client,
    columns: &[Column],
    is_text: bool,
) -> (BTreeMap<usize, Outcome>, u64) {
    let (mut outcomes, mut digest) = (BTreeMap::new(), 0u64);
    for column in columns {
        for value in VALUES.into_iter().map(Some).chain([None]) {
            let answer = if is_text || !column.has_binary {
                in_text(client, column, value).await.map(Answer::as_text)
            } else {
                in_binary(client, column, value).await
            };
            let row = outcomes.len();
            if let Ok(answer) = &answer {
                digest = digest.wrapping_add(answer.digest_of(row as u64));
            }
            let sqlstate = |error: tokio_postgres::Error| {
                error.code().expect("the server returned an error").code().to_owned()
            };
            outcomes.insert(row, answer.map(|answer| (answer.rows, answer.bytes)).map_err(sqlstate));
        }
    }
    (outcomes, digest)
}

async fn in_binary(
    client: &Client,
    column: &Column,
    value: Option<&str>,
) -> Result<Answer, tokio_postgres::Error> {
    let rows = client.query_raw(&statement(column, "$1"), [Text(value)]).await?;
    let rows: Vec<tokio_postgres::Row> = rows.try_collect().await?;
    let values =
        |row: &tokio_postgres::Row| (0..row.len()).map(|column| row.get::<_, Raw>(column).0).collect();
    Ok(reduce(rows.iter().map(values)))
}

async fn in_text(
    client: &Client,
    column: &Column,
    value: Option<&str>,
) -> Result<Answer, tokio_postgres::Error> {
    let literal = value.map_or("NULL".to_owned(), |value| format!("'{}'", value.replace('\'', "''")));
    let messages = client.simple_query(&statement(column, &literal)).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let value = |column| row.get(column).map(|text| text.as_bytes().to_vec());
            Some((0..row.len()).map(value).collect())
        }
        _ => None,
    });
    Ok(reduce(rows))
}

/// Rebuilds the protocol messages from the values and digests them.
fn reduce(rows: impl Iterator<Item = Vec<Option<Vec<u8>>>>) -> Answer {
    let (mut hash, mut answer) = (Xxh3::new(), Answer::default());
    for values in rows {
        answer.rows += 1;
        hash.update(&u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
            hash.update(&length.to_be_bytes());
            hash.update(value.as_deref().unwrap_or_default());
            answer.bytes += value.map_or(0, |value| value.len() as u64);
        }
    }
    Answer { digest: hash.digest(), ..answer }
}

/// Reads the outcome of each row.
fn outcomes(samples: &str) -> BTreeMap<usize, Outcome> {
    let mut lines = samples.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at = |name| header.iter().position(|column| *column == name).unwrap();
    let (row, rows, bytes, sqlstate) = (at("row"), at("result_rows"), at("result_bytes"), at("sqlstate"));
    let outcome = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let outcome = match fields[sqlstate] {
            "" => Ok((fields[rows].parse().unwrap(), fields[bytes].parse().unwrap())),
            sqlstate => Err(sqlstate.to_owned()),
        };
        (fields[row].parse().unwrap(), outcome)
    };
    lines.map(outcome).collect()
}

/// The raw bytes of a value of any type.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A parameter of any type, sent as text.
#[derive(Debug)]
struct Text<'a>(Option<&'a str>);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
