use secrecy::ExposeSecret;

use super::parse;

fn check(text: &str, expected: &[(&str, &str)]) {
    let parsed = parse(&text.into()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let parsed: Vec<_> = parsed.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
    assert_eq!(parsed, expected, "{text}");
}

fn check_rejected(text: &str, expected: &str) {
    let error = parse(&text.into()).unwrap_err().to_string();
    assert!(error.contains(expected), "{text}: {error}");
    assert!(!error.contains("s3cret"), "{text}: {error}");
}

#[test]
fn urls_are_read_as_libpq_reads_them() {
    check("postgresql://", &[]);
    check("postgres:///metrics", &[("dbname", "metrics")]);
    check(
        "postgresql://bench:a%40b@db:5433/metrics",
        &[("dbname", "metrics"), ("host", "db"), ("password", "a@b"), ("port", "5433"), ("user", "bench")],
    );
    check("postgresql://h1:1,[::1]:2,h3/db", &[("dbname", "db"), ("host", "h1,::1,h3"), ("port", "1,2,")]);
    check("postgresql://%2Fvar%2Frun/db", &[("dbname", "db"), ("host", "/var/run")]);
    check(
        "postgresql:///db?host=/tmp&sslmode=verify-full&application_name=x",
        &[("dbname", "db"), ("host", "/tmp"), ("sslmode", "verify-full")],
    );
    check("postgresql://h?ssl=true", &[("host", "h"), ("sslmode", "require")]);
}

#[test]
fn pairs_are_read_as_libpq_reads_them() {
    check(
        r"host = db  password='a \'b\' \\' user=it\ is",
        &[("host", "db"), ("password", r"a 'b' \"), ("user", "it is")],
    );
    check("password='' host=h", &[("host", "h"), ("password", "")]);
    check("host=h password=http://x", &[("host", "h"), ("password", "http://x")]);
}

#[test]
fn unsupported_parameters_are_rejected_by_name_without_the_password() {
    check_rejected("postgresql://u:s3cret@h/db?schema=public", "'schema'");
    check_rejected("host=h password=s3cret sslcrl=x", "'sslcrl'");
    check_rejected("postgresql://u:s3cret@h/db?s3cret=public", "a parameter");
    check_rejected("mysql://u:s3cret@h/db", "'mysql://'");
    check_rejected("s3cret://u@h/db", "a scheme other than");
    check_rejected("metrics", "postgresql://USER@HOST");
    check_rejected("postgresql://u:s3cret%4@h/db", "password has a '%'");
    check_rejected("postgresql://u:s3cret%ff@h/db", "password is not UTF-8");
    check_rejected("postgresql://u:s3cret@[::1/db", "']'");
    check_rejected("postgresql://u:s3cret@h/db?sslmode", "without '=value'");
    check_rejected("password=my s3cret host=h", "word 2");
    check_rejected("password='s3cret", "the value of word 1 in the connection string has no closing quote");
    check_rejected("postgresql://u:x/s3cret@h/db", "%2F");
    check_rejected("postgresql://u:x?s3cret=1@h/db", "%3F");
}

#[test]
fn common_mistakes_in_a_url_are_explained() {
    check_rejected("\"postgresql://u:s3cret@h/db?sslmode=prefer\"", "begins with a quote");
    check_rejected("'host=h password=s3cret'", "begins with a quote");
    check_rejected("jdbc:postgresql://u:s3cret@h/db?ssl=false", "JDBC");
    check_rejected("JDBC:postgresql://h/db?user=u&password=s3cret", "JDBC");
    check_rejected("u:s3cret@h/db?sslmode=prefer", "no 'postgresql://'");
    check_rejected("h/db?user=u&password=s3cret", "no 'postgresql://'");
    check_rejected("postgresql:/u:s3cret@h/db?sslmode=prefer", "no '//'");
    check_rejected("postgres:u:s3cret@h/db", "no '//'");
    check_rejected("DATABASE_URL=postgresql://u:s3cret@h/db", "name of a variable");
    check_rejected("export PGPASSWORD=s3cret", "name of a variable");
    check_rejected("host=h;port=1;password=s3cret", "';'");
    check_rejected("Host=h;Username=u;Password=s3cret", "';'");
    check_rejected("postgresql://h/db;user=u;password=s3cret", "';'");
    check_rejected("postgresql://h/db?sslmode=prefer;password=s3cret", "';'");
    check_rejected("postgresql://h/db?sslrootcert=x password=s3cret", "'='");
    check_rejected("host=h user=upassword=s3cret", "'='");
    check_rejected("postgresql://u:s3cret:h:1/db", "several ':'");
    check_rejected("postgresql://::1/db", "[::1]");
    check_rejected("postgresql://u:s3cret/db", "USER:PASSWORD@HOST");
    check_rejected("postgresql://u:s3cret", "USER:PASSWORD@HOST");
    check_rejected("postgresql://u@s3cret@h/db", "%40");
}

#[test]
fn an_at_in_a_parameter_is_a_value_unless_a_host_follows() {
    check_rejected("postgresql://u:1234?hunter=x@h/s3cret", "");
    let (host, port) = (("host", "h"), ("port", "5432"));
    check("postgresql://h:5432/?user=me@server", &[host, port, ("user", "me@server")]);
}

#[test]
fn a_password_may_contain_separators() {
    check(
        "host=h options=-ca=b password=a;b=c",
        &[("host", "h"), ("options", "-ca=b"), ("password", "a;b=c")],
    );
    check("postgresql://?host=%2Ftmp%2Fa%3Db%3Bc", &[("host", "/tmp/a=b;c")]);
    check("host='/tmp/a=b;c'", &[("host", "/tmp/a=b;c")]);
    check("postgresql://u:a;b=c@h", &[("host", "h"), ("password", "a;b=c"), ("user", "u")]);
    check("postgresql://u:a@b:c@h", &[("host", "h"), ("password", "a@b:c"), ("user", "u")]);
}

#[test]
fn any_text_is_parsed_or_rejected_without_a_panic() {
    for text in ["", "=", "%", "postgresql://%", "postgresql://@:@/?=&", "a=\\", "postgresql://:,:", "é='"] {
        let _ = parse(&text.into());
    }
}
