//! What was measured: the database, its settings, the query and the command.

use crate::result::{Database, Reconnects, ResultFormat, RunResult};

use super::model::{Field, Section, Span};
use crate::units::{counted, duration};

pub(super) fn section(result: &RunResult) -> Section {
    let mut fields = match &result.database {
        Some(database) => self::database(database),
        None => vec![Field::new("database", ["not reached by any agent"])],
    };
    let query = &result.query;
    let mut parts = vec![Span::Name(query.name.clone()), format!("{} protocol", query.protocol).into()];
    parts.extend(query.results.as_ref().map(|format| results(format).into()));
    parts.extend(query.bucket_function.as_ref().map(|name| format!("buckets by {name}").into()));
    parts.push(Span::Code(query.sql.clone()));
    fields.push(Field::new("query", parts));
    fields.push(Field::new("muster", [result.tool.version.as_str()]));
    fields.push(Field::new("command", [Span::Code(result.tool.command.clone())]));
    Section::overview("Environment", fields)
}

/// The format of the result rows, with the reason unless it is the default.
fn results(results: &ResultFormat) -> String {
    match results.reason.as_str() {
        "default" => format!("{} results", results.format),
        reason => format!("{} results ({reason})", results.format),
    }
}

fn database(database: &Database) -> Vec<Field> {
    let mut fields = vec![Field::new("database", products(database))];
    for (position, identity) in database.identity.iter().chain(&database.other_identities).enumerate() {
        let label = if position == 0 { "server" } else { "other server or state" };
        fields.push(Field::new(label, identity.parts()));
    }
    if database.reconnects != Reconnects::default() {
        fields.push(Field::new("connections", connections(&database.reconnects)));
    }
    let settings = database.settings.iter().map(|(name, value)| Span::Name(format!("{name}={value}")));
    fields.push(Field::new("settings", settings));
    fields
}

/// The versions of PostgreSQL and TimescaleDB, and the origin of an embedded server.
fn products(database: &Database) -> Vec<String> {
    let mut products = vec![
        format!("PostgreSQL {}", database.server_version),
        match &database.timescaledb {
            Some(version) => format!("TimescaleDB {version}"),
            None => "without TimescaleDB".to_owned(),
        },
    ];
    products.extend(database.embedded.as_ref().map(|origin| format!("embedded: {origin}")));
    products
}

/// The connections that broke.
fn connections(reconnects: &Reconnects) -> Vec<String> {
    let Reconnects { count, outage_max_ms, disconnected } = reconnects;
    let mut parts = vec![format!("{} reopened", counted(*count, "broken connection"))];
    parts.extend(outage_max_ms.map(|outage| format!("longest outage {}", duration(outage))));
    if *disconnected > 0 {
        parts.push(format!("{} broken at the end", counted(*disconnected, "connection")));
    }
    parts
}
