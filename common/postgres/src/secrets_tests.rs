//! Tests that no message contains a password, for any mistake in a URL, a variable or a file.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use muster_stats::random::SplitMix64;
use secrecy::ExposeSecret;

use super::conninfo;
use super::environment::Environment;
use super::failure::{ConnectError, Problem};
use super::settings::Settings;

/// A text that is not a word or a number, and not a host or user of a test.
const SECRET: &str = "Pa55w0rd";
/// The characters that separate parts of a URL or connection string.
const DELIMITERS: &str = "@:/?&=;'\" ,%[]\\#|\n";
const CHANGES: usize = 20_000;

/// Collects the log output.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns all messages that these settings can cause.
fn messages(url: Option<&str>, environment: &Environment) -> String {
    let log = Log::default();
    let written = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || written.clone()).finish();
    let resolved = tracing::subscriber::with_default(subscriber, || {
        Settings::resolve(url.map(Into::into).as_ref(), environment)
    });
    let shown = match resolved {
        // Valid names may be shown. The server shows them too.
        Ok(settings) => {
            let failed = ConnectError::new(&settings, vec![(settings.describe(), Problem::Refused)]);
            format!("{settings:?} {failed} {failed:?}")
        }
        Err(error) => format!("{error} {error:?} {environment:?}"),
    };
    shown + &String::from_utf8_lossy(&log.0.lock().unwrap())
}

/// Removes, replaces or adds one or two delimiters.
fn changed(text: &str, random: &mut SplitMix64) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(2) {
        let places: Vec<usize> =
            (0..characters.len()).filter(|at| DELIMITERS.contains(characters[*at])).collect();
        let any = |random: &mut SplitMix64| {
            let position = usize::try_from(random.below(DELIMITERS.chars().count() as u64)).unwrap();
            DELIMITERS.chars().nth(position).unwrap()
        };
        let Some(place) = places.get(usize::try_from(random.below(places.len().max(1) as u64)).unwrap())
        else {
            break;
        };
        match random.below(3) {
            0 => drop(characters.remove(*place)),
            1 => characters[*place] = any(random),
            _ => characters.insert(*place, any(random)),
        }
    }
    characters.into_iter().collect()
}

/// Returns true if the secret became part of a name: `user:secret@host` without its colon names a user.
fn is_name(settings: &Settings) -> bool {
    settings.describe().contains(SECRET)
        && settings.describe().split(['/', ' ', ',', ':']).any(|word| {
            word.contains(SECRET) && word.chars().all(|c| c.is_alphanumeric() || "_-.$+~".contains(c))
        })
}

fn ana() -> Environment {
    Environment::empty().with_user("ana")
}

#[test]
fn errors_for_a_malformed_url_do_not_contain_its_password() {
    let written = [
        format!("postgresql://me:{SECRET}@db:5432/metrics?sslmode=disable"),
        format!("postgres://me:{SECRET}@[::1]:5432,db2/metrics?connect_timeout=3&target_session_attrs=any"),
        format!("postgresql://db/metrics?user=me&password={SECRET}&sslmode=disable"),
        format!("host=db port=5432 user=me password={SECRET} dbname=metrics sslmode=disable"),
        format!("host=db;port=5432;user=me;password={SECRET};dbname=metrics"),
        format!("Host=db;Username=me;Password={SECRET};Database=metrics"),
        format!("user='me' password='{SECRET}' host='db' dbname='metrics'"),
        format!("jdbc:postgresql://me:{SECRET}@db:5432/metrics?ssl=false"),
        format!("jdbc:postgresql://db:5432/metrics?user=me&password={SECRET}"),
        format!("\"postgresql://me:{SECRET}@db:5432/metrics?sslmode=disable\""),
        format!("me:{SECRET}@db:5432/metrics?sslmode=disable"),
        format!("postgresql:/me:{SECRET}@db:5432/metrics"),
        format!("postgresql://me:{SECRET}:db:5432/metrics"),
        format!("DATABASE_URL=postgresql://me:{SECRET}@db:5432/metrics"),
    ];
    let mut random = SplitMix64::new(14);
    let mut names = 0;
    for change in 0..CHANGES {
        let text = &written[change % written.len()];
        let text = if change < written.len() { text.clone() } else { changed(text, &mut random) };
        let shown = messages(Some(&text), &ana());
        if !shown.contains(SECRET) {
            continue;
        }
        let settings = Settings::resolve(Some(&text.as_str().into()), &ana());
        assert!(settings.is_ok_and(|settings| is_name(&settings)), "{text}: {shown}");
        names += 1;
    }
    assert!(names < CHANGES / 20, "{names} of {CHANGES} passed as names");
}

#[test]
fn errors_for_a_misplaced_variable_do_not_contain_the_password() {
    let values = [
        format!("postgresql://me:{SECRET}@db:5432/metrics"),
        format!("me:{SECRET}"),
        format!("me:{SECRET}@db"),
        format!("db;password={SECRET}"),
        format!("db password={SECRET}"),
        format!("\"{SECRET}\""),
    ];
    let variables = [
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGDATABASE",
        "PGUSER",
        "PGPASSWORD",
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGCHANNELBINDING",
        "PGCONNECT_TIMEOUT",
        "PGTARGETSESSIONATTRS",
        "PGSERVICE",
        "PGOPTIONS",
        "PGREQUIREAUTH",
    ];
    for variable in variables {
        for value in &values {
            let environment = ana().with("PGSSLMODE", "disable").with(variable, value);
            let shown = messages(None, &environment);
            assert!(!shown.contains(SECRET), "{variable}={value}: {shown}");
        }
    }
}

#[test]
fn messages_never_quote_the_password_file_or_service_file() {
    let home = tempfile::tempdir().unwrap();
    let (passwords, services) = (home.path().join(".pgpass"), home.path().join(".pg_service.conf"));
    let mut random = SplitMix64::new(7);
    for change in 0..2_000 {
        let password_file = changed(&format!("db:5432:metrics:me:{SECRET}"), &mut random);
        let service_file = changed(
            &format!("[m]\nhost=db\nuser=me\npassword={SECRET}\nsslmode=disable\ndbname=metrics"),
            &mut random,
        );
        std::fs::write(&passwords, &password_file).unwrap();
        let mode = if change % 2 == 0 { 0o600 } else { 0o644 };
        std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(&services, &service_file).unwrap();
        let environment = ana().with_home(home.path()).with("PGSSLMODE", "disable");
        for environment in [environment.clone().with("PGHOST", "db"), environment.with("PGSERVICE", "m")] {
            let shown = messages(None, &environment);
            let is_name = || Settings::resolve(None, &environment).is_ok_and(|settings| is_name(&settings));
            assert!(!shown.contains(SECRET) || is_name(), "{password_file}\n{service_file}\n{shown}");
        }
    }
}

#[test]
fn a_valid_password_is_parsed() {
    for text in [
        format!("postgresql://me:{SECRET}@db"),
        format!("postgresql://db?password={SECRET}"),
        format!("password='{SECRET}' host=db"),
    ] {
        let parameters = conninfo::parse(&text.into()).unwrap();
        assert_eq!(parameters["password"].expose_secret(), SECRET);
    }
}
