//! A real PgBouncer in front of a test's database. Where it is missing, the test prints that it was skipped.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Config, NoTls};

use crate::database::Database;
use crate::files::Files;
use crate::processes::{TIMEOUT, address};

/// Debian installs it in a directory that only root's PATH contains.
const PROGRAMS: [&str; 2] = ["pgbouncer", "/usr/sbin/pgbouncer"];
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A PgBouncer that ends with the test.
pub struct PgBouncer {
    address: SocketAddr,
    url: String,
    size: usize,
    _child: Child,
    files: Files,
}

impl PgBouncer {
    /// Starts PgBouncer with `size` connections to the database, in this pool `mode`. Prints a message and returns `None` where the program
    /// is missing.
    pub async fn start(database: &Database, mode: &str, size: usize) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: pgbouncer is not on this machine (Debian has the package pgbouncer)");
            return None;
        };
        let files = Files::new();
        let (socket, address, name) = (database.socket(), address(), database.name().to_owned());
        let settings = format!(
            "[databases]\n{name} = host={socket} port=5432 dbname={name} user=postgres\n[pgbouncer]\nlisten_addr = {}\n\
             listen_port = {}\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {size}\nunix_socket_dir =\n\
             logfile = {}\n",
            address.ip(),
            address.port(),
            files.path().join("log").display(),
        );
        let settings = files.write("pgbouncer.ini", settings);
        let mut command = std::process::Command::new(program);
        command.args(["-q", &settings]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // PgBouncer refuses to run as root, and only the owner of the server's socket may use it.
        let server = std::fs::metadata(&socket).expect("the server's directory is there");
        let own = std::fs::metadata(files.path()).expect("the test owns it");
        if server.uid() != own.uid() {
            command.uid(server.uid()).gid(server.gid());
        }
        let child = Command::from(command).kill_on_drop(true).spawn().expect("pgbouncer starts");
        let url = format!("postgresql://postgres@{address}/{name}");
        let pooler = Self { address, url, size, _child: child, files };
        let deadline = Instant::now() + TIMEOUT;
        while tokio_postgres::connect(&pooler.url, NoTls).await.is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not answer: {}", pooler.files.read("log"));
            sleep(POLL_INTERVAL).await;
        }
        Some(pooler)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection of another application, which sets no application name.
    pub async fn client(&self) -> Client {
        let config: Config = self.url.parse().expect("the URL is valid");
        let (client, connection) = config.connect(NoTls).await.expect("the pooler answers");
        tokio::spawn(connection);
        client
    }

    /// What another application finds on each server connection of the pool: settings that differ from `before`, prepared statements, and
    /// names. Empty when nothing was left behind.
    pub async fn left_behind(&self) -> Vec<String> {
        let mut clients = Vec::new();
        let mut left = Vec::new();
        for _ in 0..self.size {
            let client = self.client().await;
            // In a transaction the client keeps its server connection, so the next client gets another one.
            client.batch_execute("BEGIN").await.unwrap();
            left.extend(found(&client).await);
            clients.push(client);
        }
        for client in clients {
            client.batch_execute("ROLLBACK").await.unwrap();
        }
        left
    }
}

/// Returns session settings, statement names, and application names set by Muster.
async fn found(client: &Client) -> Vec<String> {
    let query = "SELECT 'setting ' || name || ' = ' || setting AS it FROM pg_settings WHERE source = 'session' \
                 AND name NOT IN ('client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings', 'application_name') \
                 UNION ALL SELECT 'statement ' || name FROM pg_prepared_statements \
                 UNION ALL SELECT 'time zone ' || setting FROM pg_settings WHERE name = 'TimeZone' AND setting <> boot_val AND setting <> reset_val \
                 UNION ALL SELECT 'name ' || current_setting('application_name') WHERE current_setting('application_name') LIKE 'muster%'";
    let messages = client.simple_query(query).await.unwrap();
    messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| {
        let mut command = std::process::Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
