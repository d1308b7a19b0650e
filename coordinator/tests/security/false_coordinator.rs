//! A malicious coordinator hands over a database URL which names its own address, and waits for the agent's credentials.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_common::ids::{Epoch, RunId, SessionId, SlotId};
use muster_common::protocol::Protocol;
use muster_common::session_token::SessionKey;
use muster_proto::control::{FromAgent, FromCoordinator, Look, PrepareFailed, RunConfig, Statement, Welcome};
use muster_proto::v1;
use muster_proto::v1::muster_server::{Muster, MusterServer};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::certificates::Authority;
use crate::support::database;
use crate::support::files::Files;
use crate::support::processes::{Process, WITHIN, agent};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const VERSION_3: [u8; 4] = [0, 3, 0, 0];

/// Gives every agent a place and this database.
struct FalseCoordinator {
    database_url: String,
    sql: &'static str,
    /// Asks for the server's statistics, and receives the answer.
    seen: Option<mpsc::Sender<Result<(), String>>>,
    /// Why agents cannot prepare, as they say.
    failed: mpsc::Sender<PrepareFailed>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Muster for FalseCoordinator {
    type ControlStream = Answers<v1::CoordinatorControl>;
    type WorkStream = Answers<v1::CoordinatorWork>;

    async fn control(
        &self,
        request: Request<Streaming<v1::AgentControl>>,
    ) -> Result<Response<Self::ControlStream>, Status> {
        let statement = Statement { sql: Some(self.sql.to_owned()), parameters: 0, placeholders: Vec::new() };
        let welcome = FromCoordinator::Welcome(Welcome {
            session: SessionKey::new([1; 32]).grant(SessionId {
                run: RunId::try_new("20261130-1200-abcd").unwrap(),
                slot: SlotId::new(0),
                epoch: Epoch::new(1),
            }),
            config: RunConfig {
                statements: vec![statement],
                protocol: Protocol::Prepared,
                plan_cache_mode: None,
                results: None,
                think_time: Duration::ZERO,
                timezone: "UTC".to_owned(),
                timeout: None,
                database_url: Some(self.database_url.clone()),
                versus_url: None,
            },
        });
        let (sender, receiver) = mpsc::channel(2);
        sender.try_send(Ok(welcome.into())).unwrap();
        if self.seen.is_some() {
            let look = FromCoordinator::Look(Look { number: 1, is_last: false });
            sender.try_send(Ok(look.into())).unwrap();
        }
        let (mut inbound, failed, seen) = (request.into_inner(), self.failed.clone(), self.seen.clone());
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                match (message.try_into(), &seen) {
                    (Ok(FromAgent::PrepareFailed(problem)), _) => drop(failed.send(problem).await),
                    (Ok(FromAgent::Seen(answer)), Some(seen)) => {
                        drop(seen.send(answer.outcome.map(drop)).await);
                    }
                    _ => {}
                }
            }
            drop(sender);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn work(&self, _: Request<Streaming<v1::AgentWork>>) -> Result<Response<Self::WorkStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}

/// What the attacker has in the end.
struct Loot {
    /// All bytes of each connection to the attacker's database.
    received: Vec<Vec<u8>>,
    /// What the agent said to the coordinator.
    reported: PrepareFailed,
    /// What the agent said to its own operator.
    log: String,
}

impl Loot {
    fn holds(&self, secret: &str) -> bool {
        let is_in = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        self.received.iter().any(|bytes| is_in(bytes)) || self.reported.message.contains(secret)
    }

    /// A startup message in clear names user and database, and asks for the password.
    fn has_startup(&self) -> bool {
        let begins = |bytes: &Vec<u8>| {
            let bytes = bytes.strip_prefix(&SSL_REQUEST).unwrap_or(bytes);
            bytes.get(4..8) == Some(&VERSION_3)
        };
        self.received.iter().any(begins)
    }
}

/// An agent whose user has credentials in every place that libpq reads.
struct Victim {
    files: Files,
    environment: Vec<(&'static str, String)>,
}

const SECRETS: [&str; 3] = ["OF-THE-VARIABLE", "OF-THE-FILE", "OF-THE-SERVICE"];

impl Victim {
    fn new() -> Self {
        let files = Files::new();
        files.secret(".pgpass", "*:*:*:*:OF-THE-FILE\n");
        files.secret("passwords", "*:*:*:*:OF-THE-FILE\n");
        files.secret(".pg_service.conf", "[mine]\npassword=OF-THE-SERVICE\n");
        // Which is none, and an error if it is read.
        std::fs::create_dir(files.path().join(".postgresql")).unwrap();
        files.write(".postgresql/postgresql.crt", "the client's certificate");
        let home = files.path().to_str().unwrap().to_owned();
        let environment =
            vec![("HOME", home), ("PGPASSWORD", "OF-THE-VARIABLE".to_owned()), ("PGUSER", "ana".to_owned())];
        Self { files, environment }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Verifies servers against an authority of its own.
    fn careful(self) -> Self {
        let authority = Authority::new(&self.files, "own").file().to_owned();
        self.with("PGSSLMODE", "verify-full").with("PGSSLROOTCERT", &authority)
    }

    /// Joins a false coordinator, which hands over this URL: PORT stands for the attacker's own database.
    async fn join(&self, url: &str, database: Database, more: &[&str]) -> Loot {
        let database_url = url.replace("PORT", &database.address.port().to_string());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (failed, mut reported) = mpsc::channel(1);
        let service =
            MusterServer::new(FalseCoordinator { database_url, sql: "SELECT 1", seen: None, failed });
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let mut command = agent(address, &[&["--once"], more].concat());
        command.env("MUSTER_LOG", "trace").envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut agent = Process::start(command);
        let reported =
            timeout(WITHIN, reported.recv()).await.expect("the agent says why it cannot prepare").unwrap();
        server.abort();
        agent.signal("KILL");
        let log = agent.end().await.stderr;
        let received = database.received.lock().unwrap().clone();
        Loot { received, reported, log }
    }
}

/// What the attacker's database answers to a request for TLS.
#[derive(Clone, Copy)]
enum Answer {
    /// No TLS here: say it in clear.
    Decline,
    /// TLS, with no certificate that anybody would take.
    Accept,
    /// Nothing, and the end.
    HangUp,
}

struct Database {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Database {
    fn open(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let kept = Arc::clone(&received);
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bytes = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, answer, &bytes));
            }
        });
        Self { address, received }
    }

    /// A port on which nothing listens.
    fn closed() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { address, received: Arc::default() }
    }
}

/// Asks for a password in clear whatever comes, and writes down all of it.
fn serve(mut stream: TcpStream, answer: Answer, received: &Mutex<Vec<Vec<u8>>>) {
    let index = {
        let mut received = received.lock().unwrap();
        received.push(Vec::new());
        received.len() - 1
    };
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        let bytes = &chunk[..count];
        received.lock().unwrap()[index].extend_from_slice(bytes);
        let said = match answer {
            Answer::HangUp => return,
            Answer::Decline if bytes == SSL_REQUEST => stream.write_all(b"N"),
            Answer::Accept if bytes == SSL_REQUEST => stream.write_all(b"S"),
            // AuthenticationCleartextPassword.
            _ => stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]),
        };
        if said.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_url_that_names_the_attackers_address_gets_neither_a_password_nor_an_unencrypted_startup() {
    let victim = Victim::new().careful();
    for answer in [Answer::Decline, Answer::Accept] {
        for url in [
            "host=127.0.0.1 port=PORT user=bench dbname=metrics",
            "host=127.0.0.1 port=PORT user=bench dbname=metrics sslmode=disable",
            "postgresql://bench@127.0.0.1:PORT/metrics?sslmode=prefer",
        ] {
            let loot = victim.join(url, Database::open(answer), &[]).await;
            assert!(
                loot.received.iter().any(|bytes| bytes.starts_with(&SSL_REQUEST)),
                "it did not come: {}",
                loot.log
            );
            assert!(!loot.has_startup(), "{url}: {:?}", loot.received);
            assert!(!SECRETS.iter().any(|secret| loot.holds(secret)), "{url}: {:?}", loot.received);
        }
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_in_clear_gets_none_of_the_agents() {
    let victim = Victim::new();
    let url = "host=127.0.0.1 port=PORT user=bench dbname=metrics sslmode=disable";
    let loot = victim.join(url, Database::open(Answer::Decline), &[]).await;
    assert!(loot.has_startup(), "it did not come: {}", loot.log);
    assert!(!SECRETS.iter().any(|secret| loot.holds(secret)), "{:?}", loot.received);
    // That of the URL itself is the coordinator's own.
    let loot = victim.join(&format!("{url} password=OF-THE-URL"), Database::open(Answer::Decline), &[]).await;
    assert!(loot.holds("OF-THE-URL") && !SECRETS.iter().any(|secret| loot.holds(secret)));
}

#[tokio::test]
async fn whatever_else_a_url_names_is_refused_before_anything_is_read_or_dialled() {
    let victim = Victim::new();
    let passwords = victim.files.path().join("passwords");
    let url = "host=db1.corp port=PORT user=bench";
    for (more, name) in [
        (" hostaddr=127.0.0.1".to_owned(), "hostaddr"),
        (format!(" passfile={}", passwords.display()), "passfile"),
        (" service=mine".to_owned(), "service"),
        (" sslcert=/etc/passwd".to_owned(), "sslcert"),
        (" sslrootcert=/etc/passwd".to_owned(), "sslrootcert"),
        (" options=-cx=y".to_owned(), "options"),
    ] {
        let loot = victim.join(&format!("{url}{more}"), Database::open(Answer::Decline), &[]).await;
        assert!(loot.received.is_empty());
        assert!(
            loot.reported.message.contains(&format!("has the parameter '{name}'")),
            "{}",
            loot.reported.message
        );
        assert!(!loot.reported.message.contains("/etc/passwd"), "{}", loot.reported.message);
        assert!(loot.log.contains(&format!("has the parameter '{name}'")), "{}", loot.log);
    }
}

#[tokio::test]
async fn what_the_coordinator_learns_does_not_tell_open_ports_from_closed_ones_or_files_from_none() {
    let victim = Victim::new();
    let url = "host=127.0.0.1 port=PORT user=bench sslmode=require";
    let mut reports = Vec::new();
    for (url, database, logged) in [
        (url, Database::closed(), "connection refused"),
        (url, Database::open(Answer::HangUp), "127.0.0.1"),
        (url, Database::open(Answer::Decline), "does not offer TLS"),
        (url, Database::open(Answer::Accept), "TLS handshake failed"),
        ("host=no-such-host.invalid user=bench", Database::closed(), "no-such-host.invalid"),
        // The coordinator is this user's, so the directory may be named.
        ("host=/nowhere user=bench", Database::closed(), "/nowhere"),
    ] {
        let loot = victim.join(url, database, &[]).await;
        assert!(loot.log.contains(logged), "'{logged}' is not in {}", loot.log);
        assert!(!SECRETS.iter().any(|secret| loot.log.contains(secret)), "{}", loot.log);
        let PrepareFailed { message, sqlstate, detail, hint, .. } = loot.reported;
        reports.push((message, sqlstate, detail, hint));
    }
    assert!(reports.iter().all(|each| *each == reports[0]), "{reports:?}");
    assert!(reports[0].0.starts_with("cannot connect to the database"), "{reports:?}");
}

#[tokio::test]
async fn an_agent_can_refuse_every_database_of_a_coordinator() {
    let victim = Victim::new();
    let url = "host=127.0.0.1 port=PORT user=bench";
    let loot = victim.join(url, Database::open(Answer::Decline), &["--accept-database-url", "never"]).await;
    assert!(loot.received.is_empty());
    for text in [&loot.reported.message, &loot.log] {
        assert!(text.contains("--accept-database-url never") && text.contains("DATABASE_URL"), "{text}");
    }
}

/// The agent asks for statistics on a connection of its own, which the workers' check does not cover. PREPARE ends at the semicolon.
#[tokio::test]
async fn a_role_that_can_write_is_refused_before_any_statement_also_for_statistics() {
    let Some(database) = database::Database::empty("false_statistics").await else { return };
    database
        .execute("CREATE TABLE t AS SELECT 1 AS n; CREATE ROLE fs_writer LOGIN; GRANT ALL ON t TO fs_writer")
        .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (failed, mut reported) = mpsc::channel(1);
    let (seen, mut answers) = mpsc::channel(1);
    let sql = "SELECT 1; COMMIT; BEGIN READ WRITE; DELETE FROM t; COMMIT";
    let service = FalseCoordinator { database_url: String::new(), sql, seen: Some(seen), failed };
    let server = tonic::transport::Server::builder().add_service(MusterServer::new(service));
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut command = agent(address, &["--once", "--require-read-only-role"]);
    command.env("DATABASE_URL", database.url().replace("//postgres@", "//fs_writer@"));
    let mut agent = Process::start(command);
    let reported = timeout(WITHIN, reported.recv()).await.expect("it cannot prepare").unwrap();
    let answer = timeout(WITHIN, answers.recv()).await.expect("it answers").unwrap();
    assert!(reported.message.contains("can write"), "{}", reported.message);
    assert!(answer.as_ref().is_err_and(|why| why.contains("can write")), "{answer:?}");
    assert_eq!(database.number("SELECT count(*) FROM t").await, 1, "the coordinator's statement ran");
    server.abort();
    agent.signal("KILL");
    agent.end().await;
    database.execute("DROP TABLE t; DROP ROLE fs_writer").await;
}
