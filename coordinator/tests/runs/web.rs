//! The live page of a whole run, and the files that show a run in a browser.

use std::net::SocketAddr;
use std::time::Duration;

use muster_testing::fake_postgres::{FakePostgres, QUERY};
use muster_testing::files::Files;
use muster_testing::processes::{Process, TIMEOUT, address, complete, coordinator};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Two seconds of queries for two workers.
fn rows() -> String {
    let rows = (0..400).map(|row| format!("h{},10ms\n", row % 20));
    std::iter::once("hostname,script\n".to_owned()).chain(rows).collect()
}

async fn send(address: SocketAddr, path: &str, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Returns the head and the body of an answer.
async fn get(address: SocketAddr, path: &str, host: &str) -> (String, String) {
    let mut text = String::new();
    let mut stream = send(address, path, host).await;
    timeout(TIMEOUT, stream.read_to_string(&mut text)).await.expect("the page answers").unwrap();
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has headers");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_page_follows_the_run_and_gets_its_files() {
    let (fake, files, web) = (FakePostgres::start(), Files::new(), address());
    let (rows, query) = (files.write("rows.csv", rows()), files.write("q.sql", QUERY));
    let head = ["run", "--local", "--agents", "2", "--output", "json", "--no-run-dir"];
    let mine = ["--database-url", &fake.url(), "--query", &query, "--web", &web.to_string(), &rows];
    let mut run = Process::start(coordinator(&[&head[..], &mine].concat()));
    run.wait_for(&format!("live page at http://{web}/")).await;
    let local = web.to_string();
    let (status, page) = get(web, "/", &local).await;
    assert!(status.starts_with("HTTP/1.1 200 ") && page.contains("new EventSource"), "{status}");
    let (status, _) = get(web, "/body", "other.example").await;
    assert!(status.starts_with("HTTP/1.1 403 "), "a page of another site: {status}");
    let (status, _) = get(web, "/result.json", &local).await;
    assert!(status.starts_with("HTTP/1.1 404 "), "{status}");
    let mut events = BufReader::new(send(web, "/events", &local).await).lines();
    let in_progress = async {
        loop {
            let (_, body) = get(web, "/body", &local).await;
            if body.contains(">RUNNING<") && body.contains("id=\"heat-map\"") {
                return body;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let body = timeout(TIMEOUT, in_progress).await.expect("rows run");
    for part in ["of 400 rows", "id=\"throughput\"", "id=\"percentiles\""] {
        assert!(body.contains(part), "{part}: {body}");
    }
    let mut news = 0;
    let finished = async {
        while let Some(line) = events.next_line().await.unwrap() {
            match line.as_str() {
                "event: news" => news += 1,
                "event: finished" => return,
                _ => {}
            }
        }
        panic!("the events ended before the run");
    };
    timeout(TIMEOUT, finished).await.expect("the run ends");
    assert!(news >= 2, "{news}");
    let (_, json) = get(web, "/result.json", &local).await;
    let (_, html) = get(web, "/result.html", &local).await;
    let (_, body) = get(web, "/body", &local).await;
    drop(events);
    let ended = run.end().await.expect(0);
    assert_eq!(json, ended.stdout);
    assert!(html.starts_with("<!DOCTYPE html>") && body.contains("data-file=\"result.json\""));
}

#[tokio::test]
async fn every_report_of_a_stored_run_is_the_same_as_that_of_the_run() {
    let (fake, files) = (FakePostgres::start(), Files::new());
    let (rows, query) = (files.write("rows.csv", rows()), files.write("q.sql", QUERY));
    let path = |name: &str| files.path().join(name).display().to_string();
    let outputs = |name: &str| {
        ["json", "html", "hlog"].map(|kind| format!("{kind}={}", path(&format!("{name}.{kind}")))).join(",")
    };
    let (stored, of_run, of_report) = (path("runs"), outputs("run"), outputs("report"));
    let head = ["run", "--local", "--agents", "2", "--rate", "400", "--database-url", &fake.url()];
    let more = ["--query", &query, "--run-dir", &stored, "--output", &of_run, "--allow-void", &rows];
    complete(coordinator(&[&head[..], &more].concat())).await.expect(0);
    let run = std::fs::read_dir(&stored).unwrap().next().unwrap().unwrap().path().display().to_string();
    complete(coordinator(&["report", &run, "--output", &of_report])).await.expect(0);
    for kind in ["json", "html", "hlog"] {
        let [of_run, of_report] = ["run", "report"].map(|name| files.read(&format!("{name}.{kind}")));
        assert!(of_run == of_report, "{kind}");
    }
    let html = format!("html={}", path("json.html"));
    complete(coordinator(&["report", &path("run.json"), "--output", &html])).await.expect(0);
    assert!(files.read("json.html") == files.read("run.html"));
    let refused = complete(coordinator(&["report", &path("run.json"), "--samples", &path("s.csv")])).await;
    refused.expect(2).expect_stderr("--samples needs the journal of the run");
    let json: serde_json::Value = serde_json::from_str(&files.read("run.json")).unwrap();
    let completed: u64 =
        json["series"].as_array().unwrap().iter().map(|it| it["completed"].as_u64().unwrap()).sum();
    assert_eq!(completed, 400);
    for of in ["service_time", "response_time", "lag", "queueing", "generator_delay"] {
        let bins = json["distributions"][of].as_array().unwrap();
        assert_eq!(bins.iter().map(|bin| bin[2].as_u64().unwrap()).sum::<u64>(), 400, "{of}");
    }
}

#[tokio::test]
async fn other_machines_see_the_page_only_with_tls_and_a_token() {
    let files = Files::new();
    let rows = files.write("rows.csv", rows());
    let own = ["run", "--local", "--agents", "1", "--web", "0.0.0.0:0", &rows];
    let refused = complete(coordinator(&own)).await.expect(2);
    refused.expect_stderr("--web 0.0.0.0:0 shows the run to other machines, which requires TLS");
}
