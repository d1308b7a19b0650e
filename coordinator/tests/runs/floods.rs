//! Floods of streams, frames, bytes and connections at every port of both programs. Memory stays bounded, a legitimate client is served
//! during the flood, and afterwards the process is idle.
//!
//! Not in `security`, because tests begin in the order of their names, and these take longest.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::time::Duration;

use muster_core::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::security::http2::{self, Blocks, CONTROL, PAGE, WATCH};
use crate::security::site::{directory, token};
use crate::security::victim::Victim;
use muster_testing::exclusive;
use muster_testing::files::Files;
use muster_testing::processes::{Process, address, agent, run};

/// How long each flood lasts.
const FLOOD: Duration = Duration::from_millis(1_500);
/// More connections than the program admits.
const SILENT: usize = 700;
const CONNECTIONS: usize = 16;
/// A legitimate client retries for at most this long. Other tests may use the processors at the same time.
const SERVED_WITHIN: Duration = Duration::from_secs(90);

/// The behaviour of one connection of an attacker.
#[derive(Clone, Copy)]
struct Attack {
    name: &'static str,
    blocks: fn() -> Blocks,
    begins: Begins,
    reads: bool,
    connections: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Begins {
    Http2,
    /// As an agent that has joined.
    Joined,
    Http1,
    /// In clear, on every port.
    Tcp,
}

const fn attack(name: &'static str, blocks: fn() -> Blocks) -> Attack {
    Attack { name, blocks, begins: Begins::Http2, reads: true, connections: CONNECTIONS }
}

fn nothing() -> Blocks {
    Box::new(Vec::new)
}

fn a_byte() -> Blocks {
    let mut rest = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter();
    Box::new(move || rest.next().map(|byte| vec![*byte]).unwrap_or_default())
}

const CONNECTION_FLOODS: [Attack; 3] = [
    Attack { begins: Begins::Tcp, connections: SILENT, ..attack("silent connections", nothing) },
    Attack { begins: Begins::Tcp, connections: SILENT, ..attack("a byte at a time", a_byte) },
    Attack { connections: SILENT, ..attack("connections with settings and no more", nothing) },
];

const FRAME_FLOODS: [Attack; 3] = [
    attack("pings", http2::pings),
    attack("settings", http2::settings),
    attack("window updates", http2::window_updates),
];

const GRPC_FLOODS: [Attack; 7] = [
    attack("calls", || http2::calls(CONTROL)),
    Attack { reads: false, ..attack("whole calls, unread", || http2::whole_calls(CONTROL)) },
    attack("resets", || http2::resets(CONTROL)),
    attack("large messages", || http2::large_messages(CONTROL)),
    Attack {
        connections: 300,
        ..attack("large messages on many connections", || http2::large_messages(CONTROL))
    },
    attack("endless headers", || http2::endless_headers(CONTROL)),
    attack("compressed headers", || http2::compressed_headers(CONTROL)),
];

/// Without TLS every client can join, and an admitted connection has no limit of bytes, so only the HTTP/2 settings apply. Messages of an
/// agent may be large (docs/internals/security.md), so large messages are not included.
const JOINED_FLOODS: [Attack; 6] = [
    joined("calls", || http2::calls(CONTROL)),
    Attack { reads: false, ..joined("whole calls, unread", || http2::whole_calls(CONTROL)) },
    joined("resets", || http2::resets(CONTROL)),
    joined("endless headers", || http2::endless_headers(CONTROL)),
    joined("compressed headers", || http2::compressed_headers(CONTROL)),
    joined("pings", http2::pings),
];

const fn joined(name: &'static str, blocks: fn() -> Blocks) -> Attack {
    Attack { begins: Begins::Joined, connections: 1, ..attack(name, blocks) }
}

const METRICS_FLOODS: [Attack; 10] = [
    attack("watches", || http2::calls(WATCH)),
    attack("whole watches", || http2::whole_calls(WATCH)),
    Attack { reads: false, connections: 64, ..attack("pages, unread", || http2::whole_calls(PAGE)) },
    attack("pages", || http2::whole_calls(PAGE)),
    attack("resets", || http2::resets(PAGE)),
    Attack { connections: 64, ..attack("large messages", || http2::large_messages(WATCH)) },
    attack("endless headers", || http2::endless_headers(PAGE)),
    Attack { connections: 64, ..attack("compressed headers", || http2::compressed_headers(PAGE)) },
    Attack { begins: Begins::Http1, ..attack("HTTP/1 without end", http2::endless_request) },
    Attack { begins: Begins::Http1, reads: false, ..attack("HTTP/1 unread", http2::requests) },
];

/// Opens one connection after the other until the flood is over.
async fn attacker(attack: Attack, address: SocketAddr, is_encrypted: bool) {
    loop {
        let opened = match attack.begins {
            Begins::Http2 => http2::begin(address, is_encrypted).await,
            Begins::Joined => http2::join(address).await,
            Begins::Http1 => http2::connect(address, is_encrypted).await,
            Begins::Tcp => http2::connect(address, false).await,
        };
        let Ok(stream) = opened else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (mut from, mut to) = tokio::io::split(stream);
        let mut blocks = (attack.blocks)();
        let write = async {
            loop {
                let block = blocks();
                if block.len() < 2 {
                    sleep(Duration::from_millis(100)).await;
                }
                if to.write_all(&block).await.is_err() {
                    return;
                }
            }
        };
        let read = async {
            if !attack.reads {
                std::future::pending::<()>().await;
            }
            let mut answers = vec![0; 64 << 10];
            while let Ok(1..) = from.read(&mut answers).await {}
        };
        tokio::select! {
            () = write => {}
            () = read => {}
        }
    }
}

/// Floods the port, checks that `honest` is served, and checks the victim's memory and CPU.
async fn flood<F: Future<Output = bool>>(
    attack: Attack,
    address: SocketAddr,
    is_encrypted: bool,
    victim: &Victim,
    honest: impl Fn() -> F,
) {
    let mut attackers = JoinSet::new();
    for _ in 0..attack.connections {
        attackers.spawn(attacker(attack, address, is_encrypted));
    }
    sleep(FLOOD).await;
    let (began, name) = (Instant::now(), attack.name);
    while !timeout(Duration::from_secs(10), honest()).await.unwrap_or(false) {
        assert!(began.elapsed() < SERVED_WITHIN, "{name}: a legitimate client is not served");
        sleep(Duration::from_millis(200)).await;
    }
    println!("{name}: a legitimate client was served after {:?}", began.elapsed());
    victim.expect_bounded_memory(name);
    attackers.shutdown().await;
    victim.expect_idle(name).await;
    victim.expect_bounded_memory(name);
}

/// Returns true if an HTTP/2 server answers.
async fn answers(address: SocketAddr, is_encrypted: bool) -> bool {
    let exchange = async {
        let mut stream = http2::begin(address, is_encrypted).await?;
        let mut head = [0; 9];
        stream.read_exact(&mut head).await
    };
    exchange.await.is_ok()
}

/// Returns true if the metrics page and the gRPC health check are served.
async fn has_page(address: SocketAddr) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let page = exchange.await.is_ok_and(|text| text.starts_with("HTTP/1.1 200 ") && text.contains("# EOF"));
    page && is_healthy(address).await
}

async fn is_healthy(address: SocketAddr) -> bool {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let Ok(channel) = endpoint.connect().await else { return false };
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel).check(request).await.is_ok()
}

/// Floods a coordinator that waits for two agents: one joins while silent connections use all places, the other afterwards.
async fn the_port_of_agents(name: &str, encrypted: Option<&Files>) {
    let _turn = exclusive::flood().await;
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\nb\n");
    let query = files.write("q.sql", "SELECT :hostname::text");
    let (listen, mut args) = (address(), vec![rows, "--query".to_owned(), query, "--no-run-dir".to_owned()]);
    let mut join = vec!["--once".to_owned(), "--null-database".to_owned()];
    if let Some(identity) = encrypted {
        let secret = token(identity, &[]).await;
        args.extend(["--identity".to_owned(), directory(identity)]);
        join.extend(["--join-file".to_owned(), identity.secret("join", secret)]);
    }
    args.push("--allow-void".to_owned());
    args.extend(["--join-timeout".to_owned(), "600s".to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let join: Vec<&str> = join.iter().map(String::as_str).collect();
    let mut coordinator = Process::start(run(listen, 2, &args));
    coordinator.wait_for("waiting for").await;
    let victim = Victim::of(&coordinator);
    let is_encrypted = encrypted.is_some();
    for attack in CONNECTION_FLOODS.iter().chain(&FRAME_FLOODS).chain(&GRPC_FLOODS) {
        flood(*attack, listen, is_encrypted, &victim, || answers(listen, is_encrypted)).await;
    }
    for attack in JOINED_FLOODS.iter().filter(|_| !is_encrypted) {
        println!("as an agent that has joined:");
        flood(*attack, listen, false, &victim, || answers(listen, false)).await;
    }
    // Attackers use all places while the first agent joins.
    let mut attackers = JoinSet::new();
    for _ in 0..SILENT {
        attackers.spawn(attacker(CONNECTION_FLOODS[0], listen, is_encrypted));
    }
    sleep(FLOOD).await;
    let mut first = Process::start(agent(listen, &join));
    let began = Instant::now();
    first.wait_for("joined run").await;
    println!("{name}: an agent joined after {:?}", began.elapsed());
    attackers.shutdown().await;
    let mut second = Process::start(agent(listen, &join));
    coordinator.end().await.expect(0);
    first.end().await.expect(0);
    second.end().await.expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_the_agent_port_use_bounded_resources_in_clear() {
    the_port_of_agents("in clear", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_the_agent_port_use_bounded_resources_in_tls() {
    let identity = Files::new();
    the_port_of_agents("in TLS", Some(&identity)).await;
}

/// The limits are below the libraries' own, 16 KiB of headers and 1,024 streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_refused_streams_of_a_connection_are_limited() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("q.sql", "SELECT :hostname::text");
    let args = [&*rows, "--query", &query, "--no-run-dir", "--metrics", "127.0.0.1:0"];
    let agents = address();
    let mut coordinator = Process::start(run(agents, 1, &args));
    let metrics = metrics_of(&mut coordinator).await;
    coordinator.wait_for("waiting for").await;
    for (kilobytes, expected) in [(6, true), (10, false)] {
        assert_eq!(
            http2::is_served(metrics, kilobytes).await.unwrap(),
            expected,
            "{kilobytes} KB of headers"
        );
    }
    // Four calls are served and each of the others is refused; after 16 refusals the connection ends.
    for (calls, expected) in [(4 + 10, false), (4 + 30, true)] {
        assert_eq!(http2::goes_away(agents, calls).await.unwrap(), expected, "{calls} calls");
    }
}

/// The session ends because it sends no heartbeats. Its connection would stay open, because it answers pings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_closed_after_its_session() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("q.sql", "SELECT :hostname::text");
    let agents = address();
    let mut coordinator = Process::start(run(agents, 1, &[&*rows, "--query", &query, "--no-run-dir"]));
    coordinator.wait_for("waiting for").await;
    let mut connection = http2::join(agents).await.unwrap();
    coordinator.wait_for("slot-0 lost").await;
    let closed = timeout(3 * limits::ADMISSION_TIMEOUT, http2::wait_until_closed(&mut connection)).await;
    assert!(closed.is_ok(), "the connection is still open");
}

async fn metrics_of(process: &mut Process) -> SocketAddr {
    let stderr = process.wait_for("/metrics\n").await;
    let (_, rest) = stderr.split_once("metrics at http://").expect("the program prints the address");
    rest.split_once("/metrics").unwrap().0.parse().expect("an address")
}

async fn the_port_of_metrics(process: &mut Process) {
    let _turn = exclusive::flood().await;
    let metrics = metrics_of(process).await;
    let victim = Victim::of(process);
    for attack in CONNECTION_FLOODS.iter().chain(&FRAME_FLOODS).chain(&METRICS_FLOODS) {
        flood(*attack, metrics, false, &victim, || has_page(metrics)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_a_coordinators_metrics_use_bounded_resources() {
    let files = Files::new();
    let rows = files.write("rows.csv", "hostname\na\n");
    let query = files.write("q.sql", "SELECT :hostname::text");
    let args =
        [&*rows, "--query", &query, "--no-run-dir", "--metrics", "127.0.0.1:0", "--join-timeout", "600s"];
    let mut coordinator = Process::start(run(address(), 1, &args));
    the_port_of_metrics(&mut coordinator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_an_agents_metrics_use_bounded_resources() {
    let mut agent = Process::start(agent(address(), &["--metrics", "127.0.0.1:0"]));
    the_port_of_metrics(&mut agent).await;
}
