//! Tests the postgres module with a real server, and compares the behaviour of `sslmode` with psql.

#![allow(clippy::unwrap_used, reason = "a failed setup fails the test")]

mod server;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use muster_postgres::RoleRule;
use muster_postgres::connect::{self, Connection, SessionSetup};
use muster_postgres::environment::Environment;
use muster_postgres::failure::{ConnectError, Problem};
use muster_postgres::pool::{Connector, ServerPool};
use muster_postgres::server::describe_server;
use muster_postgres::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use server::{PASSWORD, Server, utc};

async fn open(url: String, environment: &Environment) -> Result<Connection, ConnectError> {
    server::limit_time();
    let settings = Settings::resolve(Some(&url.into()), environment).unwrap();
    connect::connect(&settings, "muster:test", &utc()).await
}

async fn refused(url: String, environment: &Environment) -> ConnectError {
    match open(url, environment).await {
        Ok(connection) => {
            panic!("connected to {}, encrypted: {}", connection.address, connection.is_encrypted)
        }
        Err(error) => error,
    }
}

/// Connects with psql. Returns whether the session is encrypted, or `None` if psql cannot connect.
fn psql(server: &Server, url: &str) -> Option<bool> {
    let output = Command::new(server.bin.join("psql"))
        .env_clear()
        .env("HOME", server.path("home"))
        .env("PGPASSWORD", PASSWORD)
        .env("PGUSER", "bench")
        .args(["-X", "-A", "-t", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "-d", url])
        .output()
        .unwrap();
    output.status.success().then(|| output.stdout.starts_with(b"t"))
}

#[tokio::test]
async fn every_sslmode_behaves_as_in_psql() {
    let Some(server) = server::start() else {
        return;
    };
    let (good, bad) = (server.path("ca.crt"), server.path("other.crt"));
    let (plain, encrypted, none) = (Some(false), Some(true), None);
    let cases = [
        ("127.0.0.1", "postgres", "disable", "", plain),
        ("127.0.0.1", "postgres", "allow", "", plain),
        ("127.0.0.1", "postgres", "prefer", "", encrypted),
        ("127.0.0.1", "postgres", "require", "", encrypted),
        ("127.0.0.1", "postgres", "verify-ca", "", none),
        ("127.0.0.1", "postgres", "verify-full", "", none),
        ("127.0.0.1", "postgres", "prefer", &*good, encrypted),
        ("127.0.0.1", "postgres", "prefer", &*bad, plain),
        ("127.0.0.1", "postgres", "require", &*good, encrypted),
        ("127.0.0.1", "postgres", "require", &*bad, none),
        ("127.0.0.1", "postgres", "verify-ca", &*good, encrypted),
        ("127.0.0.1", "postgres", "verify-ca", &*bad, none),
        ("127.0.0.1", "postgres", "verify-full", &*good, none),
        ("localhost", "postgres", "verify-full", &*good, encrypted),
        ("localhost", "postgres", "verify-full", &*bad, none),
        ("127.0.0.1", "tlsonly", "disable", "", none),
        ("127.0.0.1", "tlsonly", "allow", "", encrypted),
        ("127.0.0.1", "plainonly", "prefer", "", plain),
        ("127.0.0.1", "plainonly", "require", "", none),
    ];
    let environment = server.environment(Some(PASSWORD));
    for (host, database, mode, root, expected) in cases {
        let rest = format!("/{database}?hostaddr=127.0.0.1&sslmode={mode}&sslrootcert={root}");
        let url = server.url(host, &rest);
        assert_eq!(psql(&server, &url), expected, "psql: {url}");
        let actual = match Settings::resolve(Some(&url.clone().into()), &environment) {
            Ok(settings) => connect::connect(&settings, "muster:test", &utc()).await.ok(),
            Err(_) => None,
        };
        let actual = match actual {
            Some(connection) => {
                let reported = connection.is_encrypted;
                tokio::spawn(connection.driver.run());
                let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                let real: bool = connection.client.query_one(query, &[]).await.unwrap().get(0);
                assert_eq!(reported, real, "{url}");
                Some(real)
            }
            None => None,
        };
        assert_eq!(actual, expected, "{url}");
    }
}

#[tokio::test]
async fn an_invalid_server_certificate_is_reported_with_a_hint() {
    let Some(server) = server::start() else {
        return;
    };
    let environment = server.environment(Some(PASSWORD));
    let rest = |root: &str| format!("/postgres?sslmode=verify-full&sslrootcert={}", server.path(root));
    let name = refused(server.url("127.0.0.1", &rest("ca.crt")), &environment).await.to_string();
    assert!(name.contains("localhost") && name.contains("subjectAltName"), "{name}");
    let issuer = refused(server.url("localhost", &rest("other.crt")), &environment).await;
    assert!(issuer.to_string().contains("sslrootcert must name"), "{issuer}");
    assert!(issuer.is_permanent());
}

/// psql stops at this server, too. If the next address were tried, its "connection refused" would hide the cause.
#[tokio::test]
async fn a_rejection_by_a_server_is_reported_and_the_next_address_is_not_tried() {
    let Some(server) = server::start() else {
        return;
    };
    let closed = "127.0.0.1:1";
    let root = server.path("other.crt");
    let certificate =
        format!("localhost:{},{closed}/postgres?sslmode=verify-full&sslrootcert={root}", server.port);
    let password = format!("localhost:{},{closed}/postgres", server.port);
    for (rest, given, expected) in
        [(certificate, PASSWORD, "sslrootcert must name"), (password, "hunter2", "28P01")]
    {
        let error = refused(format!("postgresql://{rest}"), &server.environment(Some(given))).await;
        let shown = error.to_string();
        assert!(shown.contains(expected) && !shown.contains("connection refused"), "{shown}");
        assert!(error.is_permanent(), "{shown}");
    }
}

#[tokio::test]
async fn passwords_are_read_from_the_password_file_and_wrong_ones_are_reported() {
    let Some(server) = server::start() else {
        return;
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("127.0.0.1:{}:*:bench:{PASSWORD}\n", server.port)).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = server.url("127.0.0.1", "/postgres");
    let from_file = server.environment(None).with("PGPASSFILE", file.path().to_str().unwrap());
    assert!(open(url.clone(), &from_file).await.is_ok());

    let missing = refused(url.clone(), &server.environment(None)).await;
    assert!(matches!(missing.problem(), Some(Problem::PasswordMissing)), "{missing}");
    let wrong = refused(url, &server.environment(Some("hunter2"))).await;
    assert_eq!(wrong.sqlstate().as_str(), "28P01");
    let shown = wrong.to_string();
    let target = format!("connect to 127.0.0.1:{}/postgres as bench: ", server.port);
    assert!(shown.starts_with(&target) && shown.contains("PGPASSWORD"), "{shown}");
    assert_eq!(shown.matches("28P01").count(), 1, "tried twice: {shown}");
    assert!(!format!("{shown} {wrong:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_missing_database_and_a_missing_server_are_distinguished() {
    let Some(server) = server::start() else {
        return;
    };
    let environment = server.environment(Some(PASSWORD));
    let database = refused(server.url("127.0.0.1", "/nosuch"), &environment).await;
    assert_eq!(database.sqlstate().as_str(), "3D000");
    assert!(database.to_string().contains("\"nosuch\" does not exist"), "{database}");
    // No process listens on port 1; the second host accepts connections.
    let closed = refused("postgresql://127.0.0.1:1/x".to_owned(), &environment).await;
    assert!(matches!(closed.problem(), Some(Problem::Refused)) && !closed.is_permanent(), "{closed}");
    let both = format!("postgresql://127.0.0.1:1,127.0.0.1:{}/postgres", server.port);
    let connection = open(both, &environment).await.unwrap();
    assert_eq!(connection.address.to_string(), format!("127.0.0.1:{}", server.port));
}

#[tokio::test]
async fn channel_binding_is_required_when_asked_for() {
    let Some(server) = server::start() else {
        return;
    };
    let environment = server.environment(Some(PASSWORD));
    let url =
        |mode: &str| server.url("127.0.0.1", &format!("/postgres?channel_binding=require&sslmode={mode}"));
    assert!(open(url("require"), &environment).await.unwrap().is_encrypted);
    let plain = refused(url("disable"), &environment).await;
    assert!(matches!(plain.problem(), Some(Problem::ChannelBinding { .. })), "{plain}");
}

#[tokio::test]
async fn a_client_certificate_is_sent_when_the_server_requests_it() {
    let Some(server) = server::start() else {
        return;
    };
    let files = format!("sslcert={}&sslkey={}", server.path("client.crt"), server.path("client.key"));
    let environment = server.environment(None);
    let with = open(server.url("127.0.0.1", &format!("/certs?sslmode=require&{files}")), &environment).await;
    assert!(with.is_ok(), "{}", with.err().map(|e| e.to_string()).unwrap_or_default());
    let without = refused(server.url("127.0.0.1", "/certs?sslmode=require"), &environment).await;
    assert_eq!(without.sqlstate().as_str(), "28000", "{without}");
}

#[tokio::test]
async fn a_session_is_set_up_and_an_unknown_time_zone_is_reported() {
    let Some(server) = server::start() else {
        return;
    };
    let settings = server.settings("/postgres");
    let setup = SessionSetup {
        timezone: "Europe/Vienna".to_owned(),
        read_only: true,
        statement_timeout: None,
        plan_cache_mode: None,
    };
    let connection = connect::connect(&settings, "muster:r:slot-0:1", &setup).await.unwrap();
    tokio::spawn(connection.driver.run());
    for (name, expected) in [
        ("timezone", "Europe/Vienna"),
        ("default_transaction_read_only", "on"),
        ("application_name", "muster:r:slot-0:1"),
    ] {
        let row = connection.client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), expected);
    }
    let setup = SessionSetup { timezone: "x'; SELECT 1 --".to_owned(), ..setup };
    let error = connect::connect(&settings, "m", &setup).await.err().unwrap();
    assert_eq!(error.sqlstate().as_str(), "22023", "{error}");
    assert!(error.to_string().contains("time zone"), "{error}");
}

#[tokio::test]
async fn a_connection_terminated_by_the_server_is_replaced() {
    let Some(server) = server::start() else {
        return;
    };
    let settings = Arc::new(server.settings("/postgres?sslmode=require"));
    let (application_name, role) = ("muster:end".to_owned(), RoleRule::Any);
    let connector = Connector { settings, application_name, setup: utc(), role };
    let pool = ServerPool::try_new(connector).unwrap();
    let (client, _) = pool.get().await.unwrap();
    let terminate =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'muster:end'";
    server.superuser().await.execute(terminate, &[]).await.unwrap();
    let closed = async {
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
    drop(client);
    let (client, _) = pool.get().await.unwrap();
    assert_eq!(client.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_query_is_cancelled_with_the_same_sslmode() {
    let Some(server) = server::start() else {
        return;
    };
    let root = server.path("ca.crt");
    for mode in ["disable", "prefer", "require", "verify-ca"] {
        let root = if mode == "verify-ca" { &*root } else { "" };
        let settings = server.settings(&format!("/postgres?sslmode={mode}&sslrootcert={root}"));
        let connection = connect::connect(&settings, "muster:cancel", &utc()).await.unwrap();
        tokio::spawn(connection.driver.run());
        let (token, client, address, is_encrypted) = (
            connection.client.cancel_token(),
            connection.client,
            connection.address,
            connection.is_encrypted,
        );
        let query = tokio::spawn(async move { client.batch_execute("SELECT pg_sleep(30)").await });
        // A cancel request that arrives before its query has no effect, so it is repeated until the query has ended.
        while !query.is_finished() {
            connect::cancel(&settings, &address, is_encrypted, &token).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = query.await.unwrap().unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57014", "{mode}");
    }
}

#[tokio::test]
async fn the_version_and_settings_of_a_server_are_read() {
    let Some(server) = server::start() else {
        return;
    };
    let facts = describe_server(&server.superuser().await).await.unwrap();
    assert!(facts.version_num >= 130_000);
    assert!(facts.server_version.starts_with(&(facts.version_num / 10_000).to_string()), "{facts:?}");
    assert_eq!(facts.timescaledb, None);
    assert_eq!(facts.settings["shared_buffers"], "16MB");
    assert_eq!(facts.settings["fsync"], "off");
    assert_eq!(facts.settings.len(), 10, "{facts:?}");
}

#[tokio::test]
async fn a_server_that_does_not_match_target_session_attrs_is_refused() {
    let Some(server) = server::start() else {
        return;
    };
    let url = server.url("127.0.0.1", "/postgres?target_session_attrs=read-only");
    let error = refused(url, &server.environment(Some(PASSWORD))).await;
    assert!(matches!(error.problem(), Some(Problem::Unsuitable(_))), "{error}");
}

/// A listener that reads the TLS request and replies with `reply`. It needs no PostgreSQL.
async fn fake_server(reply: &'static [u8]) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut streams = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read_exact(&mut [0; 8]).await;
            let _ = stream.write_all(reply).await;
            streams.push(stream);
        }
    });
    port
}

#[tokio::test]
async fn a_server_without_tls_is_refused_by_sslmode_require() {
    let port = fake_server(b"N").await;
    let environment = Environment::empty().with_user("u").with("PGCONNECT_TIMEOUT", "5");
    let error = refused(format!("postgresql://127.0.0.1:{port}/db?sslmode=require"), &environment).await;
    assert!(matches!(error.problem(), Some(Problem::TlsNotOffered(_))), "{error}");
}

#[tokio::test]
async fn connecting_to_a_server_that_never_responds_times_out() {
    let port = fake_server(b"").await;
    let environment = Environment::empty().with_user("u");
    let error = refused(format!("postgresql://127.0.0.1:{port}/db?connect_timeout=1"), &environment).await;
    assert!(error.to_string().contains("no answer within 1 s"), "{error}");
}
