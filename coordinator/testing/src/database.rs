//! One embedded PostgreSQL for a whole test program, started when it is first needed and removed with the program. Each test has its own
//! database in it. The tests observe a run from the server's side.

use std::sync::LazyLock;
use std::time::Duration;

use muster_coordinator::embedded::{Embedded, EmbeddedError, Options};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use crate::processes::{TIMEOUT, complete, coordinator};

/// The server cannot notify this session about others, so their state is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Enough for all tests that run at the same time.
const CONNECTIONS: u32 = 300;

/// The server's URL, or the reason why there is no server.
static SERVER: LazyLock<Result<String, String>> =
    LazyLock::new(|| match serve(Options { connections: CONNECTIONS, ..Options::default() }) {
        Ok(url) => Ok(url),
        Err(error @ EmbeddedError::NotFound { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    });

/// Starts a server that lasts as long as the test program; returns its URL. It has its own thread and runtime, because each test's
/// runtime ends with the test.
pub fn serve(options: Options) -> Result<String, EmbeddedError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(async {
            let server = match Embedded::start(&options, &|_| ()).await {
                Ok(server) => server,
                Err(error) => return sender.send(Err(error)).expect("the receiver is waiting"),
            };
            sender.send(Ok(server.url().to_owned())).expect("the receiver is waiting");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the server starts")
}

pub struct Database {
    name: String,
    url: String,
    sql: Client,
}

impl Database {
    /// Creates an empty database. Without a PostgreSQL installation, prints the reason and returns `None`.
    pub async fn empty(name: &str) -> Option<Self> {
        Self::create(name, "").await
    }

    /// Creates an empty database on another server.
    pub async fn on(server: &str, name: &str) -> Self {
        Self::create_on(server, name, "").await
    }

    async fn create(name: &str, options: &str) -> Option<Self> {
        crate::deadline::begin();
        let server = match &*SERVER {
            Ok(server) => server,
            Err(reason) => {
                println!("skipped: {reason}");
                return None;
            }
        };
        Some(Self::create_on(server, name, options).await)
    }

    async fn create_on(server: &str, name: &str, options: &str) -> Self {
        let admin = connect(server).await;
        admin.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.expect("a name is used once");
        // `…@/postgres?host=…`
        let url = server.replace("@/postgres?", &format!("@/{name}?"));
        Self { name: name.to_owned(), sql: connect(&url).await, url }
    }

    /// Creates a database with the demo's data, indexed so that a query takes a millisecond.
    pub async fn demo(name: &str) -> Option<Self> {
        static TEMPLATE: OnceCell<bool> = OnceCell::const_new();
        let made = TEMPLATE.get_or_init(async || {
            let Some(template) = Self::empty("template_demo").await else {
                return false;
            };
            let args = ["migrate", "--generate", "--index", "--database-url", template.url()];
            complete(coordinator(&args)).await.expect(0);
            template.disconnect().await;
            true
        });
        if *made.await { Self::create(name, "TEMPLATE template_demo").await } else { None }
    }

    /// The URL for `--database-url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Disconnects and waits until the server has noticed, because a template must not have connections.
    async fn disconnect(self) {
        let Self { name, url, sql } = self;
        drop(sql);
        let other = connect(&url.replace(&format!("@/{name}?"), "@/postgres?")).await;
        let other = Self { name: name.clone(), url, sql: other };
        other.wait_for(0, &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    }

    /// Opens another session. Within a transaction, this session sees an unchanging pg_stat_activity.
    pub async fn session(&self) -> Client {
        connect(&self.url).await
    }

    /// For a server that crashes: waits until it has closed this connection, too, and accepts a new one.
    pub async fn reconnect(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.sql.is_closed() {
            assert!(Instant::now() < deadline, "the server does not crash");
            sleep(POLL_INTERVAL).await;
        }
        loop {
            match tokio_postgres::connect(&self.url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    self.sql = client;
                    return;
                }
                Err(error) => assert!(Instant::now() < deadline, "the server does not come back: {error}"),
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of the server's socket.
    pub fn socket(&self) -> String {
        let encoded = self.url.split("host=").nth(1).and_then(|rest| rest.split('&').next());
        encoded.expect("the URL names a socket").replace("%2F", "/")
    }

    pub async fn execute(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    pub async fn number(&self, sql: &str) -> i64 {
        let row = self.sql.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    pub async fn text(&self, sql: &str) -> String {
        let row = self.sql.query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Waits until the number that `sql` returns is `expected`.
    pub async fn wait_for(&self, expected: i64, sql: &str) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self.number(sql).await;
            if found == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{sql}: {found} instead of {expected}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the text that `sql` returns is not empty; returns it.
    pub async fn wait_for_text(&self, sql: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found = self.text(sql).await;
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < deadline, "{sql}: nothing");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until this number of workers execute a query in this database. A statement that is being prepared is active, too, so the
    /// condition is the sleep itself.
    pub async fn wait_for_running(&self, workers: i64) {
        self.wait_for(workers, &self.workers("wait_event = 'PgSleep'")).await;
    }

    /// Waits until no worker is connected to this database.
    pub async fn wait_for_no_workers(&self) {
        self.wait_for(0, &self.workers("true")).await;
    }

    /// Ends the workers' connections to this database and returns their number.
    pub async fn terminate_workers(&self) -> i64 {
        // Materialized, because otherwise the planner could call the function for the other tests' connections before it filters.
        let own = format!(
            "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'muster:%:slot-%'",
            self.name
        );
        let terminate = "SELECT count(*) FROM own WHERE pg_terminate_backend(pid)";
        self.number(&format!("WITH own AS MATERIALIZED ({own}) {terminate}")).await
    }

    /// Returns SQL that counts the run's connections to this database that meet `condition`.
    pub fn workers(&self, condition: &str) -> String {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name LIKE 'muster:%' AND ({condition})",
            self.name
        )
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}
