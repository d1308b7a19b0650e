use std::path::Path;

use super::*;

const URL: &str = "host=db1 user=bench dbname=metrics";

fn handed_over(url: &str, demands: &Demands) -> Result<Settings, HandedOverError> {
    Settings::handed_over(&url.into(), demands, || false)
}

fn check_rejected(url: &str, expected: &str) {
    let error = handed_over(url, &Demands::default()).unwrap_err().to_string();
    assert!(error.contains(expected), "{url}: {error}");
    assert!(!error.contains("s3cret"), "{url}: {error}");
}

/// Creates a CA certificate in PEM and returns its path.
fn root(directory: &Path) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["root".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = directory.join("root.crt");
    std::fs::write(&path, certificate.pem()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn both_notations_are_accepted_with_the_six_parameters() {
    let demands = Demands::default();
    for url in [
        "postgresql://bench:s3cret@db1:5433/metrics?sslmode=require",
        "host=db1 port=5433 user=bench password=s3cret dbname=metrics sslmode=require",
    ] {
        let settings = handed_over(url, &demands).unwrap();
        assert_eq!(settings.describe(), "db1:5433/metrics as bench");
        assert_eq!(settings.tls.mode, SslMode::Require);
        assert_eq!(settings.addresses[0].password.as_ref().unwrap().expose_secret(), "s3cret");
    }
}

#[test]
fn every_other_parameter_is_rejected_by_name_without_its_value() {
    for name in [
        "application_name",
        "channel_binding",
        "connect_timeout",
        "hostaddr",
        "options",
        "passfile",
        "service",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslsni",
        "target_session_attrs",
        "fallback_application_name",
        "krbsrvname",
    ] {
        check_rejected(&format!("{URL} {name}=s3cret"), &format!("the parameter '{name}'"));
        check_rejected(&format!("postgresql://bench@db1/?{name}=s3cret"), &format!("the parameter '{name}'"));
    }
    check_rejected("postgresql://bench:x@db1/?s3cret=1", "a parameter with an invalid name");
    check_rejected("postgresql://bench@/metrics", "has no host");
    check_rejected("host=db1", "has no user");
    check_rejected(&format!("{URL} sslmode=s3cret"), "sslmode is not one of");
    check_rejected("s3cret", "cannot be used");
}

#[test]
fn a_socket_directory_is_accepted_only_from_the_same_user() {
    for url in
        ["host=/tmp user=postgres", "postgresql://postgres@/?host=%2Ftmp", "host=db1,/tmp user=postgres"]
    {
        check_rejected(url, "only from a coordinator that the same user runs on the same machine");
        assert!(Settings::handed_over(&url.into(), &Demands::default(), || true).is_ok(), "{url}");
    }
}

#[test]
fn the_agents_own_sslmode_is_never_weakened() {
    let directory = tempfile::tempdir().unwrap();
    let root = root(directory.path());
    let mode_of = |url_mode: &str, own: &[(&str, &str)]| {
        let with = |environment: Environment, (name, value): &(&str, &str)| environment.with(name, value);
        let environment = own.iter().fold(Environment::empty().with_user("ana"), with);
        let demands = Demands::of(None, &environment).unwrap();
        handed_over(&format!("{URL} {url_mode}"), &demands).unwrap().tls.mode
    };
    assert_eq!(mode_of("", &[]), SslMode::Prefer);
    assert_eq!(mode_of("sslmode=disable", &[]), SslMode::Disable);
    let roots = ("PGSSLROOTCERT", &*root);
    assert_eq!(mode_of("sslmode=disable", &[("PGSSLMODE", "require")]), SslMode::Require);
    assert_eq!(mode_of("", &[("PGSSLMODE", "verify-full"), roots]), SslMode::VerifyFull);
    assert_eq!(mode_of("sslmode=require", &[("PGSSLMODE", "verify-ca"), roots]), SslMode::VerifyCa);
    assert_eq!(mode_of("sslmode=verify-full", &[("PGSSLMODE", "disable"), roots]), SslMode::VerifyFull);
    // With a root certificate `require` is `verify-ca`.
    assert_eq!(mode_of("", &[("PGSSLMODE", "require"), roots]), SslMode::VerifyCa);
    // A root certificate alone does not demand TLS.
    assert_eq!(mode_of("sslmode=disable", &[roots]), SslMode::Disable);
}

#[test]
fn the_sslmode_of_the_agents_own_database_applies_to_the_second_database() {
    let directory = tempfile::tempdir().unwrap();
    let own = format!("postgresql://ana@own/db?sslmode=verify-ca&sslrootcert={}", root(directory.path()));
    let environment = Environment::empty();
    let own = Settings::resolve(Some(&own.into()), &environment).unwrap();
    let demands = Demands::of(Some(&own), &environment).unwrap();
    let settings = handed_over(&format!("{URL} sslmode=disable"), &demands).unwrap();
    assert_eq!(settings.tls.mode, SslMode::VerifyCa);
}

#[test]
fn errors_for_the_coordinator_do_not_name_the_agents_files_and_variables() {
    let home = tempfile::tempdir().unwrap();
    let environment = Environment::empty().with_home(home.path());
    let demands = Demands::of(None, &environment.clone().with("PGSSLMODE", "verify-ca")).unwrap();
    let errors = [
        handed_over(URL, &demands).unwrap_err(),
        Demands::of(None, &environment.clone().with("PGSSLMODE", "verify_full")).unwrap_err(),
        Demands::of(None, &environment.with("PGREQUIREAUTH", "scram-sha-256")).unwrap_err(),
    ];
    for (error, cause) in errors.iter().zip(["root.crt", "sslmode is not one of", "PGREQUIREAUTH"]) {
        let shown = error.to_string();
        assert!(shown.ends_with("see the agent's log for the cause") && !shown.contains(cause), "{shown}");
        let logged = std::error::Error::source(error).unwrap().to_string();
        assert!(logged.contains(cause), "{logged}");
    }
}

fn to_handed_over(url: &str, environment: &Environment) -> Result<String, NotHandedOver> {
    let settings = Settings::resolve(Some(&url.into()), environment).unwrap();
    settings.to_handed_over().map(|url| url.expose_secret().to_owned())
}

#[test]
fn the_url_for_agents_includes_the_coordinators_environment() {
    let environment = Environment::empty()
        .with_user("ana")
        .with("PGPASSWORD", r"it's \secret")
        .with("PGSSLMODE", "disable")
        .with("PGPORT", "5433")
        .with("PGCONNECT_TIMEOUT", "3");
    let url = to_handed_over("postgresql://db1,db2/metrics", &environment).unwrap();
    let received = handed_over(&url, &Demands::default()).unwrap();
    assert_eq!(received.describe(), "db1:5433,db2:5433/metrics as ana");
    assert_eq!(received.tls.mode, SslMode::Disable);
    assert_eq!(received.addresses[0].password.as_ref().unwrap().expose_secret(), r"it's \secret");
}

#[test]
fn sockets_and_addresses_are_sent_as_resolved() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".s.PGSQL.5432"), "").unwrap();
    let environment = Environment::empty().with_user("ana").with_socket_directory(directory.path());
    let found = to_handed_over("", &environment).unwrap();
    let path = directory.path().display();
    assert_eq!(found, format!("dbname='ana' host='{path}' port='5432' user='ana'"));
    let empty = Environment::empty();
    let found = to_handed_over("host=db1 hostaddr=10.0.0.1 user=u", &empty).unwrap();
    assert_eq!(found, "dbname='u' host='10.0.0.1' port='5432' sslmode='prefer' user='u'");
    // The certificate contains the name.
    let root = root(directory.path());
    let full = format!("host=db1 hostaddr=10.0.0.1 user=u sslmode=verify-full sslrootcert={root}");
    let found = to_handed_over(&full, &empty).unwrap();
    assert_eq!(found, "dbname='u' host='db1' port='5432' sslmode='verify-full' user='u'");
    let require = to_handed_over(&format!("host=db1 user=u sslmode=require sslrootcert={root}"), &empty);
    assert!(require.unwrap().contains("sslmode='verify-ca'"));
}

#[test]
fn errors_name_required_parameters_that_cannot_be_sent() {
    let environment = Environment::empty();
    let url = "postgresql://u@h/db?options=-c%20a%3Db&channel_binding=require&target_session_attrs=any";
    let error = to_handed_over(url, &environment).unwrap_err().to_string();
    assert!(error.contains("also has channel_binding, options;"), "{error}");
    let harmless = "postgresql://u@h/db?connect_timeout=3&channel_binding=prefer&sslsni=0";
    assert!(to_handed_over(harmless, &environment).is_ok());
}
