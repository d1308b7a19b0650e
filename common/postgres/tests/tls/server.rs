//! Starts a real PostgreSQL server for the tests, with its own directory, a free loopback port and TLS with generated certificates.
//! Tests that run at the same time share the server, and the last one stops it. A server already running on this machine is not used.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Once, Weak};
use std::thread;
use std::time::{Duration, Instant};

use muster_postgres::connect::{self, Connection, SessionSetup};
use muster_postgres::environment::Environment;
use muster_postgres::settings::Settings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

const PROGRAM_MAX: Duration = Duration::from_secs(600);
pub(crate) const PASSWORD: &str = "s3cret";

/// The databases `tlsonly` and `plainonly` allow one kind of connection; `certs` requires a client certificate.
const HBA: &str = "\
local     all       all  trust
hostssl   tlsonly   all  127.0.0.1/32  scram-sha-256
hostnossl plainonly all  127.0.0.1/32  scram-sha-256
host      tlsonly   all  127.0.0.1/32  reject
host      plainonly all  127.0.0.1/32  reject
hostssl   certs     all  127.0.0.1/32  cert
host      all       all  127.0.0.1/32  scram-sha-256
";

pub(crate) struct Server {
    child: Child,
    pub(crate) bin: PathBuf,
    pub(crate) port: u16,
    directory: tempfile::TempDir,
}

static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// Returns the shared server, or prints why there is none and returns `None`.
pub(crate) fn start() -> Option<Arc<Server>> {
    limit_time();
    let Some(bin) = find_installed() else {
        #[allow(clippy::print_stdout, reason = "a skipped test prints the reason")]
        {
            println!("skipped: no PostgreSQL server below /usr/lib/postgresql");
        }
        return None;
    };
    let mut running = RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = running.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Server::start(bin));
    *running = Arc::downgrade(&server);
    Some(server)
}

/// Ends the program if a test hangs. All tests together take seconds, so one limit is enough.
pub(crate) fn limit_time() {
    static LIMIT: Once = Once::new();
    LIMIT.call_once(|| {
        thread::spawn(|| {
            thread::sleep(PROGRAM_MAX);
            #[allow(clippy::print_stderr, reason = "the reason why the program ends")]
            {
                eprintln!("a test has not ended within {PROGRAM_MAX:?}: the test program ends here");
            }
            std::process::exit(101);
        });
    });
}

fn find_installed() -> Option<PathBuf> {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let bin = path.join("bin");
            (bin.join("postgres").exists() && bin.join("initdb").exists()).then_some((version, bin))
        })
        .collect();
    found.sort();
    Some(found.pop()?.1)
}

impl Server {
    fn start(bin: PathBuf) -> Self {
        let directory = tempfile::Builder::new().prefix("muster-tls-").tempdir_in("/tmp").unwrap();
        let owner = server_account();
        set_owner(directory.path(), owner);
        let data = directory.path().join("data");
        let status = as_owner(&bin.join("initdb"), owner)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "initdb: {status}");
        fs::write(data.join("pg_hba.conf"), HBA).unwrap();
        write_certificates(directory.path(), owner);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = as_owner(&bin.join("postgres"), owner)
            .arg("-D")
            .arg(&data)
            .args(settings(directory.path(), port))
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, bin, port, directory };
        server.wait_until_ready();
        server
    }

    /// Uses psql, because the client code of the agent is under test.
    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let setup = "CREATE ROLE bench LOGIN PASSWORD 's3cret'; CREATE DATABASE tlsonly; CREATE DATABASE plainonly; CREATE DATABASE certs";
        let statements: Vec<_> = setup.split("; ").flat_map(|statement| ["-c", statement]).collect();
        loop {
            let status = Command::new(self.bin.join("psql"))
                .args(["-X", "-q", "-U", "postgres", "-d", "postgres", "-p", &self.port.to_string(), "-h"])
                .arg(self.directory.path())
                .args(&statements)
                .stderr(Stdio::null())
                .status()
                .unwrap();
            if status.success() {
                return;
            }
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the server is not ready: {}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    /// An environment with a user and an optional password, and no other settings.
    pub(crate) fn environment(&self, password: Option<&str>) -> Environment {
        let environment =
            Environment::empty().with_user("bench").with_home(&self.directory.path().join("home"));
        match password {
            Some(password) => environment.with("PGPASSWORD", password),
            None => environment,
        }
    }

    /// `rest` is the part after the port, e.g. `/postgres?sslmode=require`.
    pub(crate) fn url(&self, host: &str, rest: &str) -> String {
        format!("postgresql://{host}:{}{rest}", self.port)
    }

    pub(crate) fn settings(&self, rest: &str) -> Settings {
        let url = self.url("127.0.0.1", rest);
        Settings::resolve(Some(&url.into()), &self.environment(Some(PASSWORD))).unwrap()
    }

    /// A superuser session over the unix socket, which pg_hba.conf trusts.
    pub(crate) async fn superuser(&self) -> tokio_postgres::Client {
        let url = format!(
            "host={} port={} user=postgres dbname=postgres",
            self.directory.path().display(),
            self.port
        );
        let settings = Settings::resolve(Some(&url.into()), &Environment::empty()).unwrap();
        let Connection { client, driver, .. } =
            connect::connect(&settings, "superuser", &utc()).await.unwrap();
        tokio::spawn(driver.run());
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT ends all sessions and shuts down. After SIGKILL, child processes would keep running for a while.
        let signalled = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        if !signalled.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

pub(crate) fn utc() -> SessionSetup {
    SessionSetup {
        timezone: "UTC".to_owned(),
        read_only: true,
        statement_timeout: None,
        plan_cache_mode: None,
    }
}

fn settings(directory: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", directory.display()),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", file("server.crt")),
        format!("ssl_key_file={}", file("server.key")),
        format!("ssl_ca_file={}", file("ca.crt")),
        "fsync=off".to_owned(),
        "shared_buffers=16MB".to_owned(),
    ]
    .into_iter()
    .flat_map(|setting| ["-c".to_owned(), setting])
    .collect()
}

/// Writes a CA that signs both sides, a CA that signs neither, a server certificate for `localhost` and a client certificate for `bench`.
fn write_certificates(directory: &Path, owner: Option<(u32, u32)>) {
    let ca = certificate_authority("muster test CA");
    let other = certificate_authority("another CA");
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &ca).unwrap();
    let client_key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new(Vec::new()).unwrap();
    client.distinguished_name.push(DnType::CommonName, "bench");
    let client = client.signed_by(&client_key, &ca).unwrap();
    let write = |name: &str, text: String, owner: Option<(u32, u32)>| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        let mode = if name.ends_with(".key") { 0o600 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set_owner(&path, owner);
    };
    write("ca.crt", ca.pem(), None);
    write("other.crt", other.pem(), None);
    write("server.crt", server.pem(), owner);
    write("server.key", server_key.serialize_pem(), owner);
    write("client.crt", client.pem(), None);
    write("client.key", client_key.serialize_pem(), None);
}

fn certificate_authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The user and group ids that run the server. PostgreSQL refuses to run as root, so root uses `postgres` or `nobody`.
fn server_account() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    ["postgres:", "nobody:"].iter().find_map(|name| {
        let line = passwd.lines().find(|line| line.starts_with(name))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    })
}

fn set_owner(path: &Path, owner: Option<(u32, u32)>) {
    if let Some((user, group)) = owner {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn as_owner(program: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir("/");
    command
}
