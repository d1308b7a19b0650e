//! Compares the parser of times with PostgreSQL: a text that it accepts means the same moment there, and a text that it refuses is refused
//! there, too.
#![cfg(target_os = "linux")]

use muster_coordinator::workload::fuzzing;
use muster_testing::database::Database;

const DATES: [&str; 27] = [
    "2017-01-01",
    "2017/01/02",
    "2017-1-2",
    "2016-02-29",
    "2017-02-29",
    "1900-02-29",
    "2017-13-01",
    "2017-01-32",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "29427-12-30",
    "294277-01-01",
    "2017-01",
    "20170101",
    "17-01-01",
    "01/02/2017",
    "Jan 1 2017",
    "2017",
    "1483228800",
    "now",
    "soon",
    "infinity",
    "-infinity",
    "2017-01-01 BC",
    "",
    "2017-001",
];
const TIMES: [&str; 33] = [
    "",
    " 00:00:00",
    "T23:59:59",
    "t08:59:22.5",
    "T08:59",
    " 8:5:2",
    " 24:00:00",
    " 24:00:01",
    " 23:59:60",
    " 23:59:60.5",
    " 25:00",
    " 00:60",
    " 12:00:61",
    " 00:00:00.1234567890",
    " 23:59:59.9999999",
    " 00:00:00.",
    "T00",
    " 00",
    " 5",
    "T",
    " T00:00",
    " 000000",
    "T0000",
    " 12:30.5",
    "  01:00",
    "T 02:00",
    "_03:00",
    ",04:00",
    " 05:00 PM",
    " 00:00:00:00",
    " 100:00",
    " 0a:00",
    " -",
];
const OFFSETS: [&str; 25] = [
    "",
    "Z",
    "z",
    " UTC",
    " gmt",
    "UTC",
    "+00",
    "-09",
    "+05:30",
    "+0530",
    "+530",
    "+5",
    " +01",
    " + 01",
    "+16",
    "-15:59:59",
    "+05:60",
    "+01:02:03",
    " Europe/Vienna",
    " CET",
    " EST DST",
    " FOO BAR",
    " UTC+1",
    " ",
    "+",
];

#[tokio::test]
async fn times_are_parsed_like_the_server() {
    let Some(database) = Database::empty("times").await else { return };
    let sql = database.session().await;
    let function = "SET timezone = 'UTC';
        CREATE FUNCTION micros(text text) RETURNS text LANGUAGE plpgsql AS $$
        DECLARE moment timestamptz;
        BEGIN
            moment := text::timestamptz;
            IF isfinite(moment) THEN
                RETURN trunc(extract(epoch FROM moment) * 1000000 - 946684800000000);
            END IF;
            RETURN CASE WHEN moment > 'epoch' THEN '9223372036854775807' ELSE '-9223372036854775808' END;
        EXCEPTION WHEN OTHERS THEN
            RETURN '';
        END $$";
    sql.batch_execute(function).await.unwrap();
    let mut texts = Vec::new();
    for date in DATES {
        for time in TIMES {
            texts.extend(OFFSETS.map(|offset| format!("{date}{time}{offset}")));
        }
    }
    let query = "SELECT text, micros(text) FROM unnest($1::text[]) AS texts (text)";
    let mut wrong = Vec::new();
    for row in sql.query(query, &[&texts]).await.unwrap() {
        let (text, server): (String, String) = (row.get(0), row.get(1));
        let server: Option<i64> = (!server.is_empty()).then(|| server.parse().unwrap());
        match (fuzzing::time(&text), server) {
            (Ok(None), _) | (Err(_), None) => {}
            (Ok(Some(ours)), Some(theirs)) if ours == theirs => {}
            (ours, theirs) => wrong.push(format!("'{text}': {ours:?} and {theirs:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        texts.len(),
        wrong[..wrong.len().min(50)].join("\n")
    );
}
