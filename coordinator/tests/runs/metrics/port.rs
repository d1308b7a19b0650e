//! The port of `--metrics`: health checks beside metrics from the start of the program, and nothing else.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::metrics::scrape::{request, scrape};
use muster_testing::processes::{Process, TIMEOUT, address, agent, complete, coordinator};

/// Sends a gRPC health check, as Kubernetes does.
async fn health(address: SocketAddr, service: &str) -> Result<ServingStatus, Code> {
    let check = async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel).check(request).await;
        answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    };
    timeout(TIMEOUT, check).await.expect("the program answers in time")
}

#[tokio::test]
async fn a_coordinator_serves_metrics_while_it_reads_its_rows() {
    let mut command = coordinator(&["run", "--metrics", "127.0.0.1:0", "-"]);
    // Stdin stays open, so the coordinator never gets its workload.
    command.stdin(Stdio::piped());
    let mut coordinator = Process::start(command);
    let metrics = printed_address(&mut coordinator).await;
    assert_eq!(health(metrics, "").await, Ok(ServingStatus::Serving));
    let page = scrape(metrics).await;
    assert_eq!((page.phase(), page.agents()), (None, (0.0, 0.0, 0.0)));
}

#[tokio::test]
async fn an_agent_without_a_session_is_ready() {
    let mut agent = Process::start(agent(address(), &["--metrics", "127.0.0.1:0"]));
    let metrics = printed_address(&mut agent).await;
    assert_eq!(health(metrics, "").await, Ok(ServingStatus::Serving));
    assert_eq!(health(metrics, "another").await, Err(Code::NotFound));
    assert_eq!(scrape(metrics).await.value("muster_agent_connected", &[]), 0.0);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let mut agent = Process::start(agent(address(), &["--metrics", "127.0.0.1:0"]));
    let metrics = printed_address(&mut agent).await;
    for (line, status) in [("GET /", "404"), ("GET /metrics/x", "404"), ("POST /metrics", "405")] {
        let head = request(metrics, line).await.unwrap().head;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_reported_before_anything_else() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let metrics = taken.local_addr().unwrap().to_string();
    let message = format!(
        "cannot serve metrics on {metrics}; choose another address for --metrics, or port 0 for any free port"
    );
    let args = ["run", "--metrics", &metrics, "no/such.csv"];
    let ended = complete(coordinator(&args)).await.expect(2).expect_stderr(&message).expect_stderr("in use");
    assert!(
        !ended.stderr.contains("no/such.csv"),
        "the port is opened before the workload is read: {}",
        ended.stderr
    );
    assert_eq!(ended.stdout, "");
    complete(agent(address(), &["--metrics", &metrics]))
        .await
        .expect(2)
        .expect_stderr(&message)
        .expect_stderr("in use");
    complete(agent(address(), &["--metrics", "nowhere"])).await.expect(2).expect_stderr("--metrics");
}

/// Returns the address that a program with port 0 prints.
async fn printed_address(process: &mut Process) -> SocketAddr {
    let stderr = process.wait_for("/metrics\n").await;
    let (_, rest) = stderr.split_once("metrics at http://").expect("the program prints the address");
    rest.split_once("/metrics").unwrap().0.parse().expect("an address")
}
