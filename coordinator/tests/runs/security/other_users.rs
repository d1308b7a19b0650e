//! Other users of the same machine can connect to every loopback port: they do not get the database URL, and a run of local agents opens
//! no port.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

use hyper_util::rt::TokioIo;
use muster_proto::control::{FromAgent, FromCoordinator, Hello, RunConfig, WITHHELD};
use muster_proto::v1::muster_client::MusterClient;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;

use muster_testing::database::Database;
use muster_testing::files::{Files, args};
use muster_testing::hello::hello;
use muster_testing::processes::{Process, TIMEOUT, address, agent, complete, coordinator, run};
use muster_testing::report::Report;

const OTHER_USER: u32 = 65_534;

/// Returns true for root, who alone can give a process or a socket to another user.
fn is_root() -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        println!("skipped: only root can act as another user");
    }
    is_root
}

/// Returns the configuration that the coordinator sends to an agent without a database whose socket the kernel attributes to this user.
async fn config_for(site: SocketAddr, user: Option<u32>) -> RunConfig {
    let stream = TcpStream::connect(site).await.unwrap();
    // The kernel's table of sockets then shows this user, as for a socket that the user's own process opened.
    fchown(&stream, user, None).unwrap();
    let mut stream = Some(TokioIo::new(stream));
    let connect = Once(move |_| stream.take().expect("the channel connects once"));
    let endpoint = Endpoint::from_shared(format!("http://{site}")).unwrap();
    let mut client = MusterClient::new(endpoint.connect_with_connector(connect).await.unwrap());
    let hello = FromAgent::Hello(Hello { has_database: false, ..hello() });
    let stream = client.control(tokio_stream::once(hello.into())).await.unwrap();
    let first = timeout(TIMEOUT, stream.into_inner().message()).await.unwrap().unwrap();
    match first.unwrap().try_into().unwrap() {
        FromCoordinator::Welcome(welcome) => welcome.config,
        FromCoordinator::Standby(standby) => standby.config,
        other => panic!("unexpected message {other:?}"),
    }
}

/// Wraps a closure as a connector for tonic.
struct Once<F>(F);

impl<F: FnMut(Uri) -> TokioIo<TcpStream>> tonic::codegen::Service<Uri> for Once<F> {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        std::future::ready(Ok((self.0)(uri)))
    }
}

#[tokio::test]
async fn on_a_loopback_port_only_the_same_user_receives_the_database_url() {
    if !is_root() {
        return;
    }
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    let url = "postgresql://bench:TOP-SECRET@db1/metrics";
    for site in [address(), "[::1]:0".parse().unwrap()] {
        let own = [&args(&sleeps)[..], &["--database-url", url, "--versus", url]].concat();
        let mut coordinator = Process::start(run(site, 4, &own));
        let stderr = coordinator.wait_for_either("waiting for", "cannot listen").await;
        if stderr.contains("cannot listen") {
            println!("skipped: {site} cannot be bound here");
            continue;
        }
        let (_, rest) = stderr.split_once("agent --coordinator ").unwrap();
        let site: SocketAddr = rest.split_whitespace().next().unwrap().parse().unwrap();
        let other = config_for(site, Some(OTHER_USER)).await;
        assert_eq!(other.database_url.as_deref(), Some(WITHHELD));
        assert_eq!(other.versus_url.as_deref(), Some(WITHHELD));
        let own = config_for(site, None).await;
        let password = "password='TOP-SECRET'";
        assert!(own.database_url.unwrap().contains(password) && own.versus_url.unwrap().contains(password));
        coordinator.signal("INT");
        coordinator.end().await;
    }
}

#[tokio::test]
async fn an_agent_of_another_user_reports_why_it_has_no_database_and_how_to_fix_it() {
    if !is_root() {
        return;
    }
    let files = Files::new();
    let sleeps = files.sleeps(1, 0.001);
    let site = address();
    let own = [&args(&sleeps)[..], &["--database-url", "postgresql://bench:TOP-SECRET@db1/metrics"]].concat();
    let mut coordinator = Process::start(run(site, 1, &own));
    coordinator.wait_for("waiting for").await;
    // Other users may have no access to the build directory.
    let program = files.path().join("agent");
    let command = agent(site, &["--once"]);
    std::fs::copy(command.as_std().get_program(), &program).unwrap();
    let args: Vec<_> = command.as_std().get_args().map(ToOwned::to_owned).collect();
    let mut other = tokio::process::Command::new(&program);
    other
        .args(args)
        .env_clear()
        .env("MUSTER_LOG", "trace")
        .env("NO_COLOR", "1")
        .uid(OTHER_USER)
        .gid(OTHER_USER);
    other.current_dir("/").kill_on_drop(true);
    other
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut other = Process::start(other);
    let ended = coordinator.end().await.expect(2);
    let ended = ended
        .expect_stderr("does not send its database URL to this agent")
        .expect_stderr("DATABASE_URL")
        .expect_stderr("--join");
    other.wait_for("does not send its database URL to this agent").await;
    other.signal("INT");
    let output = other.end().await;
    for text in [&output.stderr, &output.stdout, &ended.stderr] {
        assert!(!text.contains("TOP-SECRET"), "{text}");
    }
}

/// The TCP ports on which a process listens, according to the kernel.
fn ports(process: u32) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    let links = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    let inode = |link: &Path| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let inodes: HashSet<String> = links.filter_map(|link| inode(&link)).collect();
    let tables = ["tcp", "tcp6"]
        .map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let listening = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    listening
        .filter(|fields| fields[3] == "0A" && inodes.contains(fields[9]))
        .map(|fields| fields[1].to_owned())
        .collect()
}

#[tokio::test]
async fn a_run_of_local_agents_opens_no_port_without_listen() {
    let Some(database) = Database::empty("no_port").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(40, 0.05);
    let head = ["run", "--local", "--agents", "2", "--output", "json", "--database-url", database.url()];
    let site = address().to_string();
    for (listen, expected) in [(&[][..], 0), (&["--listen", &*site], 1)] {
        let mut process = Process::start(coordinator(&[&head, &args(&sleeps)[..], listen].concat()));
        database.wait_for_running(2).await;
        let ports = ports(process.id());
        assert_eq!(ports.len(), expected, "{ports:?}");
        let ended = process.end().await.expect(0);
        assert_eq!(Report::of(&ended).accounting(), (40, 0, 0));
        assert!(!ended.stderr.contains("agent --coordinator"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_secret_file_that_others_can_read_is_refused_with_the_chmod_command() {
    let files = Files::new();
    let unused = address();
    for option in ["--join-file", "--database-url-file"] {
        let path = files.write("open", "s3cret");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let ended = complete(agent(unused, &[option, &path])).await.expect(2);
        let ended = ended.expect_stderr(option).expect_stderr(&format!("chmod 600 '{path}'"));
        assert!(!ended.stderr.contains("s3cret"), "{}", ended.stderr);
    }
    let identity = files.path().join("identity");
    let identity = identity.to_str().unwrap();
    complete(coordinator(&["token", "--identity", identity])).await.expect(0);
    std::fs::set_permissions(identity, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    let chmod = format!("chmod 700 '{identity}'");
    complete(coordinator(&["token", "--identity", identity])).await.expect(2).expect_stderr(&chmod);
    complete(run(unused, 1, &["data/query_params.csv", "--identity", identity]))
        .await
        .expect(2)
        .expect_stderr(&chmod);
}

#[tokio::test]
async fn a_database_url_that_cannot_be_handed_over_is_withheld_and_agents_with_their_own_run() {
    let Some(database) = Database::empty("withheld").await else { return };
    let files = Files::new();
    let sleeps = files.sleeps(10, 0.001);
    let site = address();
    let url = format!("{}&options=-c%20work_mem%3D8MB", database.url());
    let mut coordinator =
        Process::start(run(site, 1, &[&args(&sleeps)[..], &["--database-url", &url]].concat()));
    coordinator.wait_for("this database is not handed over").await;
    let mut own = agent(site, &["--once"]);
    own.env("DATABASE_URL", database.url());
    let mut own = Process::start(own);
    let ended = coordinator.end().await.expect(0).expect_stderr("options");
    assert_eq!(Report::of(&ended).accounting(), (10, 0, 0));
    own.end().await.expect(0);
}
