use super::*;

fn resolve(url: &str, environment: &Environment) -> Result<Settings, SettingsError> {
    Settings::resolve(Some(&url.into()), environment)
}

fn ana() -> Environment {
    Environment::empty().with_user("ana")
}

fn check(url: &str, environment: &Environment, expected: &str) {
    let shown = resolve(url, environment).map_or_else(|e| e.to_string(), |s| s.describe());
    assert_eq!(shown, expected, "{url}");
}

#[test]
fn the_url_overrides_variables_and_variables_override_defaults() {
    let environment = ana().with("PGHOST", "env-host").with("PGDATABASE", "env-db");
    check("", &ana(), "localhost:5432/ana as ana");
    check("", &environment, "env-host:5432/env-db as ana");
    check("postgresql:///mine", &environment, "env-host:5432/mine as ana");
    check("postgresql://bench@db:6543", &environment, "db:6543/env-db as bench");
    check("postgresql://bench@db", &ana(), "db:5432/bench as bench");
    check("host=db user=bench", &ana().with("PGPORT", "7"), "db:7/bench as bench");
    check("postgresql://a,[::1]:2/db", &ana(), "a:5432,[::1]:2/db as ana");
    check("postgresql://%2Fsrv%2Fpg/db", &ana(), "/srv/pg:5432/db as ana");
}

#[test]
fn a_service_overrides_variables_and_the_url_overrides_a_service() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(".pg_service.conf"), "[m]\nhost=service-host\nport=7\n").unwrap();
    let environment = ana().with_home(home.path()).with("PGHOST", "env-host").with("PGDATABASE", "env-db");
    check("postgresql://?service=m&port=8", &environment, "service-host:8/env-db as ana");
    check("", &environment.with("PGSERVICE", "m"), "service-host:7/env-db as ana");
}

#[test]
fn a_database_is_named_by_a_url_or_by_a_variable_that_selects_it() {
    let named = |environment: &Environment| Settings::is_named(None, environment);
    assert!(!named(&ana().with("PGUSER", "u").with("PGPASSWORD", "p").with("PGHOST", "")));
    for variable in NAMING {
        assert!(named(&ana().with(variable, "1")), "{variable}");
    }
    assert!(Settings::is_named(Some(&"postgresql://".into()), &ana()));
    assert!(!Settings::is_named(Some(&" ".into()), &ana()));
}

#[test]
fn describe_and_debug_do_not_show_the_password() {
    let settings = resolve("postgresql://u:s3cret@h/db", &ana()).unwrap();
    let shown = format!("{} {settings:?}", settings.describe());
    assert!(!shown.contains("s3cret"), "{shown}");
    let password = settings.addresses[0].password.as_ref().unwrap();
    assert_eq!(password.expose_secret(), "s3cret");
}

#[test]
fn the_password_file_is_read_for_each_host_unless_a_password_is_given() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pass");
    std::fs::write(&file, "a:*:*:*:for-a\nb:5433:db:ana:for-b\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let environment = ana().with("PGPASSFILE", file.to_str().unwrap());
    let passwords = |url: &str, environment: &Environment| -> Vec<String> {
        let settings = resolve(url, environment).unwrap();
        let text = |a: &Address| a.password.as_ref().map_or("", |p| p.expose_secret()).to_owned();
        settings.addresses.iter().map(text).collect()
    };
    assert_eq!(passwords("postgresql://a,b:5433,c/db", &environment), ["for-a", "for-b", ""]);
    assert_eq!(passwords("postgresql://a/db", &environment.with("PGPASSWORD", "env")), ["env"]);
}

#[test]
fn errors_for_invalid_values_name_the_parameter() {
    let cases = [
        ("postgresql://h?channel_binding=yes", "channel_binding is not one of"),
        (
            "postgresql://h?target_session_attrs=master",
            "any, read-write, read-only, primary, standby, prefer-standby",
        ),
        ("postgresql://h?connect_timeout=soon", "connect_timeout is not"),
        ("postgresql://h?sslmode=on", "sslmode is not one of"),
        ("postgresql://h:99999", "port of host 1"),
    ];
    for (url, expected) in cases {
        let error = resolve(url, &ana()).unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[test]
fn variables_that_restrict_trust_are_rejected() {
    let error = resolve("postgresql://h", &ana().with("PGREQUIREAUTH", "scram-sha-256")).unwrap_err();
    assert!(error.to_string().contains("PGREQUIREAUTH"), "{error}");
}

#[test]
fn a_missing_user_is_an_error_that_names_pguser() {
    let error = resolve("postgresql://h/db", &Environment::empty()).unwrap_err();
    assert!(error.to_string().contains("PGUSER"), "{error}");
}

#[test]
fn every_connect_timeout_is_limited() {
    let timeout = |url| resolve(url, &ana()).unwrap().connect_timeout;
    assert_eq!(timeout("postgresql://h?connect_timeout=3"), Duration::from_secs(3));
    assert_eq!(timeout("postgresql://h?connect_timeout=0"), limits::CONNECT_TIMEOUT);
    assert_eq!(timeout("postgresql://h"), limits::CONNECT_TIMEOUT);
}

#[test]
fn sockets_need_no_certificate_in_any_mode() {
    assert!(resolve("postgresql://?host=/srv/pg&sslmode=verify-full", &ana()).is_ok());
    assert!(resolve("postgresql://h?sslmode=verify-full", &ana()).is_err());
}

#[test]
fn options_are_server_options_or_a_pair_of_words_for_a_proxy() {
    let with = |options: &str| resolve(&format!("postgresql://h/db?options={options}"), &ana());
    for good in ["-c%20work_mem%3D8MB", "endpoint%3Dep-cool-darkness-123456"] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in ["secret", "a%3Db%20c"] {
        assert!(matches!(with(bad), Err(SettingsError::Options)), "{bad}");
    }
}
