//! Runs that wait for agents: too few, too many, for the wrong slot, and connections that are not agents.

use std::net::SocketAddr;

use muster_core::limits;
use muster_proto::control::{FromAgent, FromCoordinator, Hello};
use muster_proto::v1::muster_client::MusterClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::hello::hello;
use muster_testing::processes::{Process, TIMEOUT, address, agent, complete, run};
use muster_testing::report::Report;

#[tokio::test]
async fn a_join_timeout_ends_the_run_and_prints_how_to_start_an_agent() {
    let Some(database) = Database::empty("too_few").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    let address = address();
    let own = ["--database-url", database.url(), "--join-timeout", "2s"];
    let mut coordinator = Process::start(run(address, 3, &[&args(&sleeps)[..], &own].concat()));
    let mut agent = Process::start(agent(address, &[]));
    let ended = coordinator.end().await.expect(15);
    assert_eq!(ended.stdout, "");
    ended.expect_stderr(&format!(
        "1 of 3 agents joined within 2s; start each with: agent --coordinator {address}"
    ));
    agent.wait_for("run ended: the run did not start").await;
}

#[tokio::test]
async fn a_surplus_agent_waits_and_joins_the_next_run() {
    let Some(database) = Database::empty("too_many").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(20, 0.05);
    let address = address();
    let args = [&args(&sleeps)[..], &["--database-url", database.url()]].concat();
    let mut coordinator = Process::start(run(address, 1, &args));
    let mut first = Process::start(agent(address, &["--once"]));
    coordinator.wait_for("slot-0 joined").await;
    let mut second = Process::start(agent(address, &["--once"]));
    second.wait_for("on standby in run").await;
    assert_eq!(Report::of(&coordinator.end().await.expect(0)).accounting(), (20, 0, 0));
    first.end().await.expect(0);
    assert_eq!(Report::of(&complete(run(address, 1, &args)).await.expect(0)).accounting(), (20, 0, 0));
    second.end().await.expect(0);
}

#[tokio::test]
async fn an_unknown_slot_is_refused_permanently_and_a_taken_one_temporarily() {
    let Some(database) = Database::empty("slots").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    let address = address();
    let own = ["--database-url", database.url()];
    let mut coordinator = Process::start(run(address, 2, &[&args(&sleeps)[..], &own].concat()));
    complete(agent(address, &["--slot", "2"])).await.expect(2).expect_stderr("refused this agent");
    let mut first = Process::start(agent(address, &["--slot", "1"]));
    coordinator.wait_for("slot-1 joined").await;
    let mut second = Process::start(agent(address, &["--slot", "1"]));
    second.wait_for("cannot join this run").await;
    first.signal("TERM");
    first.end().await.expect(0);
    second.wait_for("joined run").await;
    assert!(coordinator.is_running());
}

/// Sends bytes that are not gRPC and waits until the coordinator closes the connection, with or without an answer.
async fn send(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The coordinator may close the connection before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let closed = timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "the connection stays open after {bytes:?}");
}

/// Sends Hello, disconnects and returns the answer.
async fn greet(address: SocketAddr, protocol_version: u32) -> FromCoordinator {
    let mut client = MusterClient::connect(format!("http://{address}")).await.unwrap();
    let hello = FromAgent::Hello(Hello { protocol_version, has_database: false, ..hello() });
    let stream = client.control(tokio_stream::once(hello.into())).await.unwrap();
    let first = timeout(TIMEOUT, stream.into_inner().message()).await.unwrap().unwrap();
    first.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn connections_that_are_not_agents_do_not_affect_the_run() {
    let Some(database) = Database::empty("not_agents").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(20, 0.001);
    let address = address();
    let args = [&args(&sleeps)[..], &["--database-url", database.url()]].concat();
    let mut coordinator = Process::start(run(address, 2, &args));
    let first = Process::start(agent(address, &["--once"]));
    coordinator.wait_for("slot-0 joined").await;

    send(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    send(address, &[0xff; 100_000]).await;
    send(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff").await;
    let silent = TcpStream::connect(address).await.unwrap();
    let FromCoordinator::Reject { reason, retry: false } = greet(address, 99).await else {
        panic!("it was accepted, or asked to retry");
    };
    assert!(reason.contains("the agent (9.9.9) uses 99"), "{reason}");
    // With the right version but without a session, it joins for a moment, and its end frees the slot again.
    let welcome = greet(address, limits::PROTOCOL_VERSION).await;
    assert!(matches!(welcome, FromCoordinator::Welcome(_)), "{welcome:?}");
    coordinator.wait_for("slot-1 lost").await;

    let second = Process::start(agent(address, &["--once"]));
    let report = Report::of(&coordinator.end().await.expect(0));
    assert_eq!(report.accounting(), (20, 0, 0));
    drop(silent);
    for mut agent in [first, second] {
        agent.end().await.expect(0);
    }
}
