//! Two servers in one run, and two servers in two runs.

use std::time::Duration;

use tokio::time::sleep;

use crate::identity::server::{Job, Server, causes, reasons};
use muster_testing::processes::{Process, address, agent, complete, coordinator, run};
use muster_testing::proxy::Proxy;

#[tokio::test]
async fn agents_on_two_servers_are_reported_with_both_servers() {
    let (Some(one), Some(other)) = (Server::start().await, Server::start().await) else { return };
    let job = Job::new("SELECT :hostname", 40);
    let listen = address();
    let mut running = Process::start(run(listen, 2, &job.args(&[])));
    let agents = [&one, &other].map(|server| {
        let mut agent = agent(listen, &["--once"]);
        agent.env("DATABASE_URL", server.url());
        Process::start(agent)
    });
    let ended =
        running.end().await.expect(0).expect_stderr("connections of the run lead to different servers");
    for mut agent in agents {
        agent.end().await.expect(0);
    }
    let report = job.report(&ended).await;
    assert_eq!(causes(&report), ["servers_differ"], "{}", reasons(&report));
    let (text, markdown) = (job.again(&report, "text").await, job.again(&report, "markdown").await);
    for server in [&one, &other] {
        let address = server.address();
        let identifier = server.text("SELECT system_identifier::text FROM pg_control_system()").await;
        for named in [&reasons(&report), &report.events(), &text] {
            assert!(named.contains(&identifier), "{identifier} is not in {named}");
        }
        assert!(reasons(&report).contains(&address), "{}", reasons(&report));
        assert!(markdown.contains(&identifier), "{markdown}");
    }
}

#[tokio::test]
async fn a_failover_to_another_host_of_the_url_is_reported_as_two_servers() {
    let (Some(one), Some(other)) = (Server::start().await, Server::start().await) else { return };
    let both = format!("{},{}", one.socket(), other.socket());
    let url = one.url().replace(one.socket(), &both).replace("5432", "5432,5432");
    let job = Job::new("SELECT pg_sleep(0.01), :hostname", 200);
    let mut running = Process::start(coordinator(&job.local(&url, &[])));
    running.wait_for("armed").await;
    sleep(Duration::from_millis(500)).await;
    one.stop();
    let report = job.report(&running.end().await.expect(14)).await;
    assert_eq!(causes(&report), ["servers_differ", "reconnected"], "{}", reasons(&report));
    for server in [&one, &other] {
        assert!(reasons(&report).contains(&server.address()), "{}", reasons(&report));
    }
}

/// The network fails for a moment, and the worker reconnects to the second server while the first one still executes its query.
#[tokio::test]
async fn after_a_failover_the_query_on_the_first_server_is_ended() {
    let (Some(one), Some(other)) = (Server::start().await, Server::start().await) else { return };
    let proxy = Proxy::before_database(&one.socket().replace("%2F", "/")).await;
    let (host, port) = (proxy.address().ip().to_string(), proxy.address().port().to_string());
    let url = one.url().replace(one.socket(), &format!("{host},{}", other.socket()));
    let url = url.replace("5432", &format!("{port},5432")) + "&sslmode=disable";
    let job = Job::new("SELECT pg_sleep(CASE WHEN :n::int = 0 THEN 60 ELSE 0.01 END), :hostname", 20);
    let mut running = Process::start(coordinator(&job.local(&url, &[])));
    let queries = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name LIKE 'muster:%' AND wait_event = 'PgSleep'";
    while one.text(queries).await != "1" {
        sleep(Duration::from_millis(50)).await;
    }
    proxy.cut_and_refuse_once();
    let report = job.report(&running.end().await.expect(14)).await;
    assert_eq!(one.text(queries).await, "0", "the query on the first server was not ended");
    assert_eq!(causes(&report), ["servers_differ", "reconnected"], "{}", reasons(&report));
    assert_eq!(report.accounting(), (19, 1, 0));
}

#[tokio::test]
async fn a_run_resumed_on_another_server_reports_it() {
    let (Some(one), Some(other)) = (Server::start().await, Server::start().await) else { return };
    let job = Job::new("SELECT pg_sleep(0.02), :hostname", 200);
    let mut running = Process::start(coordinator(&job.local(one.url(), &[])));
    running.wait_for("armed").await;
    sleep(Duration::from_millis(500)).await;
    running.signal("KILL");
    running.end().await;
    let id = std::fs::read_dir(job.runs()).unwrap().next().unwrap().unwrap().file_name();
    let args = ["run", "--resume", id.to_str().unwrap(), "--output", "json"];
    let more = ["--run-dir", job.runs(), "--database-url", other.url()];
    let ended = complete(coordinator(&[&args[..], &more].concat())).await.expect(0);
    let report = job.report(&ended.expect_stderr("lead to different servers")).await;
    assert_eq!(causes(&report), ["resumed", "servers_differ"], "{}", reasons(&report));
}

#[tokio::test]
async fn two_runs_are_compared_with_their_servers() {
    let (Some(one), Some(other)) = (Server::start().await, Server::start().await) else { return };
    let job = Job::new("SELECT :hostname", 40);
    let mut files = Vec::new();
    for (name, server) in [("one.json", &one), ("other.json", &other), ("again.json", &one)] {
        if name == "again.json" {
            server.stop();
            server.start_again();
        }
        let ended = complete(coordinator(&job.local(server.url(), &[]))).await.expect(0);
        assert!(causes(&job.report(&ended).await).is_empty(), "{}", ended.stdout);
        files.push(job.file(name, &ended.stdout));
    }
    let compare = async |new: &str| {
        complete(coordinator(&["compare", "--run-dir", job.runs(), &files[0], new])).await.stdout
    };
    let differ = compare(&files[1]).await;
    assert!(differ.contains("the servers differ"), "{differ}");
    let restarted = compare(&files[2]).await;
    assert!(restarted.contains("the server was restarted between the runs"), "{restarted}");
    let same = compare(&files[0]).await;
    assert!(!same.contains("server"), "{same}");
}

#[tokio::test]
async fn a_second_database_that_equals_the_first_is_noted() {
    let Some(server) = Server::start().await else { return };
    server.execute("CREATE DATABASE another").await;
    let another = server.url().replace("@/postgres?", "@/another?");
    let job = Job::new("SELECT :hostname", 40);
    for (versus, is_noted) in [(server.url(), true), (another.as_str(), false)] {
        let ended = complete(coordinator(&job.local(server.url(), &["--versus", versus]))).await.expect(0);
        let report = job.report(&ended).await;
        assert!(causes(&report).is_empty(), "{}", reasons(&report));
        let notes = report.at("/notes").to_string();
        assert_eq!(notes.contains("(--versus) are the same one: postgres on"), is_noted, "{notes}");
    }
}
