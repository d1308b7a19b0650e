//! A malicious coordinator sends a database URL that contains its own address, and waits for the agent's credentials.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use muster_core::ids::{Epoch, RunId, SessionId, SlotId};
use muster_core::load::Load;
use muster_core::prepare::PrepareFailed;
use muster_core::session_spec::{SessionSpec, Statement, StatementText};
use muster_core::session_token::SessionKey;
use muster_proto::control::{FromAgent, FromCoordinator, RunConfig, StatsRequest, Welcome};
use muster_proto::v1;
use muster_proto::v1::muster_server::{Muster, MusterServer};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::security::certificates::Authority;
use muster_testing::database;
use muster_testing::files::Files;
use muster_testing::processes::{Process, TIMEOUT, agent};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const VERSION_3: [u8; 4] = [0, 3, 0, 0];

/// Gives every agent a slot and this database URL.
struct FalseCoordinator {
    database_url: String,
    sql: &'static str,
    /// If set, asks for the server's statistics and sends the answer here.
    stats: Option<mpsc::Sender<Result<(), String>>>,
    /// The reasons why agents cannot prepare, as they report them.
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
        let text = StatementText { name: "q".to_owned(), sql: Some(self.sql.to_owned()), weight: 1 };
        let welcome = FromCoordinator::Welcome(Welcome {
            session: SessionKey::new([1; 32]).grant(SessionId {
                run: RunId::try_new("20261130-1200-abcd").unwrap(),
                slot: SlotId::new(0),
                epoch: Epoch::new(1),
            }),
            config: RunConfig {
                session: SessionSpec {
                    statements: Statement::try_from(text).unwrap().into(),
                    load: Load::default(),
                    timezone: "UTC".to_owned(),
                    timeout: None,
                },
                database_url: Some(self.database_url.clone()),
                versus_url: None,
            },
        });
        let (sender, receiver) = mpsc::channel(2);
        sender.try_send(Ok(welcome.into())).unwrap();
        if self.stats.is_some() {
            let message = FromCoordinator::StatsRequest(StatsRequest { number: 1, is_last: false });
            sender.try_send(Ok(message.into())).unwrap();
        }
        let (mut inbound, failed, stats) = (request.into_inner(), self.failed.clone(), self.stats.clone());
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                match (message.try_into(), &stats) {
                    (Ok(FromAgent::PrepareFailed(problem)), _) => drop(failed.send(problem).await),
                    (Ok(FromAgent::StatsReply(answer)), Some(stats)) => {
                        drop(stats.send(answer.outcome.map(drop)).await);
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

/// Everything that the attacker has received in the end.
struct Loot {
    /// All bytes of each connection to the attacker's database.
    received: Vec<Vec<u8>>,
    /// What the agent reported to the coordinator.
    reported: PrepareFailed,
    /// What the agent logged for its own operator.
    log: String,
}

impl Loot {
    fn holds(&self, secret: &str) -> bool {
        let is_in = |bytes: &[u8]| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        self.received.iter().any(|bytes| is_in(bytes)) || self.reported.message.contains(secret)
    }

    /// Returns true if a startup message arrived in clear, which contains user and database.
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
        // Not a certificate, so reading it is an error.
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

    /// Verifies servers against a private authority.
    fn verifying(self) -> Self {
        let authority = Authority::new(&self.files, "own").file().to_owned();
        self.with("PGSSLMODE", "verify-full").with("PGSSLROOTCERT", &authority)
    }

    /// Joins the malicious coordinator, which sends this URL. PORT is replaced by the port of the attacker's database.
    async fn join(&self, url: &str, database: Database, more: &[&str]) -> Loot {
        let database_url = url.replace("PORT", &database.address.port().to_string());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (failed, mut reported) = mpsc::channel(1);
        let service =
            MusterServer::new(FalseCoordinator { database_url, sql: "SELECT 1", stats: None, failed });
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let mut command = agent(address, &[&["--once"], more].concat());
        command.env("MUSTER_LOG", "trace").envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut agent = Process::start(command);
        let reported = timeout(TIMEOUT, reported.recv())
            .await
            .expect("the agent reports why it cannot prepare")
            .unwrap();
        server.abort();
        agent.signal("KILL");
        let log = agent.end().await.stderr;
        let received = database.received.lock().unwrap().clone();
        Loot { received, reported, log }
    }
}

/// The answer of the attacker's database to a request for TLS.
#[derive(Clone, Copy)]
enum Answer {
    /// Declines TLS, so that the client continues in clear.
    Decline,
    /// Accepts TLS, but does not speak it.
    Accept,
    /// Closes the connection without an answer.
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
        let recorded = Arc::clone(&received);
        // Ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bytes = Arc::clone(&recorded);
                std::thread::spawn(move || serve(stream, answer, &bytes));
            }
        });
        Self { address, received }
    }

    /// A port that no process listens on.
    fn closed() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { address, received: Arc::default() }
    }
}

/// Asks for a password in clear after every message, and records everything.
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
        let sent = match answer {
            Answer::HangUp => return,
            Answer::Decline if bytes == SSL_REQUEST => stream.write_all(b"N"),
            Answer::Accept if bytes == SSL_REQUEST => stream.write_all(b"S"),
            // AuthenticationCleartextPassword.
            _ => stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3]),
        };
        if sent.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_url_with_the_attackers_address_receives_no_password_and_no_unencrypted_startup() {
    let victim = Victim::new().verifying();
    for answer in [Answer::Decline, Answer::Accept] {
        for url in [
            "host=127.0.0.1 port=PORT user=bench dbname=metrics",
            "host=127.0.0.1 port=PORT user=bench dbname=metrics sslmode=disable",
            "postgresql://bench@127.0.0.1:PORT/metrics?sslmode=prefer",
        ] {
            let loot = victim.join(url, Database::open(answer), &[]).await;
            assert!(
                loot.received.iter().any(|bytes| bytes.starts_with(&SSL_REQUEST)),
                "no connection arrived: {}",
                loot.log
            );
            assert!(!loot.has_startup(), "{url}: {:?}", loot.received);
            assert!(!SECRETS.iter().any(|secret| loot.holds(secret)), "{url}: {:?}", loot.received);
        }
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_password_in_clear_does_not_receive_the_agents_password() {
    let victim = Victim::new();
    let url = "host=127.0.0.1 port=PORT user=bench dbname=metrics sslmode=disable";
    let loot = victim.join(url, Database::open(Answer::Decline), &[]).await;
    assert!(loot.has_startup(), "no startup message arrived: {}", loot.log);
    assert!(!SECRETS.iter().any(|secret| loot.holds(secret)), "{:?}", loot.received);
    // The password in the URL itself is the coordinator's own.
    let loot = victim.join(&format!("{url} password=OF-THE-URL"), Database::open(Answer::Decline), &[]).await;
    assert!(loot.holds("OF-THE-URL") && !SECRETS.iter().any(|secret| loot.holds(secret)));
}

#[tokio::test]
async fn other_parameters_of_a_url_are_refused_before_anything_is_read_or_dialled() {
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
async fn errors_sent_to_the_coordinator_do_not_reveal_open_ports_or_files() {
    let victim = Victim::new();
    let url = "host=127.0.0.1 port=PORT user=bench sslmode=require";
    let mut reports = Vec::new();
    for (url, database, logged) in [
        (url, Database::closed(), "connection refused"),
        (url, Database::open(Answer::HangUp), "127.0.0.1"),
        (url, Database::open(Answer::Decline), "does not offer TLS"),
        (url, Database::open(Answer::Accept), "TLS handshake failed"),
        ("host=no-such-host.invalid user=bench", Database::closed(), "no-such-host.invalid"),
        // The coordinator belongs to the same user, so the message may contain the directory.
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
async fn an_agent_can_refuse_every_database_url_of_a_coordinator() {
    let victim = Victim::new();
    let url = "host=127.0.0.1 port=PORT user=bench";
    let loot = victim.join(url, Database::open(Answer::Decline), &["--accept-database-url", "never"]).await;
    assert!(loot.received.is_empty());
    for text in [&loot.reported.message, &loot.log] {
        assert!(text.contains("--accept-database-url never") && text.contains("DATABASE_URL"), "{text}");
    }
}

/// The agent reads statistics on a separate connection, which the workers' check does not cover. PREPARE ends at the semicolon.
#[tokio::test]
async fn a_role_that_can_write_is_refused_before_any_statement_also_for_statistics() {
    let Some(database) = database::Database::empty("false_statistics").await else { return };
    database
        .execute("CREATE TABLE t AS SELECT 1 AS n; CREATE ROLE fs_writer LOGIN; GRANT ALL ON t TO fs_writer")
        .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (failed, mut reported) = mpsc::channel(1);
    let (stats, mut answers) = mpsc::channel(1);
    let sql = "DELETE FROM t";
    let service = FalseCoordinator { database_url: String::new(), sql, stats: Some(stats), failed };
    let server = tonic::transport::Server::builder().add_service(MusterServer::new(service));
    let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let mut command = agent(address, &["--once", "--require-read-only-role"]);
    command.env("DATABASE_URL", database.url().replace("//postgres@", "//fs_writer@"));
    let mut agent = Process::start(command);
    let reported =
        timeout(TIMEOUT, reported.recv()).await.expect("the agent reports that it cannot prepare").unwrap();
    let answer = timeout(TIMEOUT, answers.recv()).await.expect("the agent answers").unwrap();
    assert!(reported.message.contains("can write"), "{}", reported.message);
    assert!(answer.as_ref().is_err_and(|why| why.contains("can write")), "{answer:?}");
    assert_eq!(database.number("SELECT count(*) FROM t").await, 1, "the coordinator's statement ran");
    server.abort();
    agent.signal("KILL");
    agent.end().await;
    database.execute("DROP TABLE t; DROP ROLE fs_writer").await;
}
