//! The port itself: health beside metrics, from before there is anything to be healthy about; and what it does not do.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::scrape::{request, scrape};
use crate::support::processes::{Process, WITHIN, address, agent, complete, coordinator};

/// Asks as Kubernetes does.
async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Code> {
    let asked = async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await;
        answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    };
    timeout(WITHIN, asked).await.expect("an answer in time")
}

#[tokio::test]
async fn a_coordinator_serves_while_it_still_reads_its_rows() {
    let mut command = coordinator(&["run", "--metrics", "127.0.0.1:0", "-"]);
    // It never ends: nothing of the workload is known.
    command.stdin(Stdio::piped());
    let mut coordinator = Process::start(command);
    let metrics = announced(&mut coordinator).await;
    assert_eq!(health(metrics, "").await, Ok(ServingStatus::Serving));
    let page = scrape(metrics).await;
    assert_eq!((page.phase(), page.agents()), (None, (0.0, 0.0, 0.0)));
}

#[tokio::test]
async fn an_agent_without_a_session_is_ready() {
    let mut agent = Process::start(agent(address(), &["--metrics", "127.0.0.1:0"]));
    let metrics = announced(&mut agent).await;
    assert_eq!(health(metrics, "").await, Ok(ServingStatus::Serving));
    assert_eq!(health(metrics, "another").await, Err(Code::NotFound));
    assert_eq!(scrape(metrics).await.value("muster_agent_connected", &[]), 0.0);
}

#[tokio::test]
async fn nothing_else_is_on_the_port() {
    let mut agent = Process::start(agent(address(), &["--metrics", "127.0.0.1:0"]));
    let metrics = announced(&mut agent).await;
    for (asked, status) in [("GET /", "404"), ("GET /metrics/x", "404"), ("POST /metrics", "405")] {
        let head = request(metrics, asked).await.unwrap().head;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{asked}: {head}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = taken.local_addr().unwrap().to_string();
    let sentence = format!(
        "cannot serve metrics on {metrics}; --metrics takes another address, or port 0 for any that is free"
    );
    let words = ["run", "--metrics", &metrics, "no/such.csv"];
    let ended = complete(coordinator(&words)).await.expect(2).says(&sentence).says("in use");
    assert!(!ended.stderr.contains("no/such.csv"), "the port comes before the workload: {}", ended.stderr);
    assert_eq!(ended.stdout, "");
    complete(agent(address(), &["--metrics", &metrics])).await.expect(2).says(&sentence).says("in use");
    complete(agent(address(), &["--metrics", "nowhere"])).await.expect(2).says("--metrics");
}

/// Of a program that was given port 0.
async fn announced(process: &mut Process) -> SocketAddr {
    let said = process.wait_for("/metrics\n").await;
    let (_, rest) = said.split_once("metrics at http://").expect("it says where");
    rest.split_once("/metrics").unwrap().0.parse().expect("an address")
}
