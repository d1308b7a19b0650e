//! What TimescaleDB says of the hypertables that the statements name, from its documented views alone.

use muster_common::limits;
use muster_common::query::quote;
use muster_common::server_side::Hypertable;
use tokio_postgres::Client;

use super::rows::{QueryError, Row, rows};

/// Nothing where the view is absent, and with it TimescaleDB 2. The caller bounds the time: there may be many chunks.
///
/// # Errors
/// Why nothing is known of them.
pub(super) async fn look(client: &Client, statements: &[&str]) -> Result<Vec<Hypertable>, String> {
    let is_there = "SELECT to_regclass('timescaledb_information.hypertables') IS NOT NULL AS is_there";
    let told = |error| format!("timescaledb_information cannot be read: {error}");
    let found = rows(client, is_there).await.map_err(told)?;
    if !found.first().is_some_and(|row| row.is_on("is_there")) {
        return Ok(Vec::new());
    }
    let all = "SELECT hypertable_schema, hypertable_name, compression_enabled FROM timescaledb_information.hypertables \
               ORDER BY hypertable_schema, hypertable_name";
    let all = rows(client, all).await.map_err(told)?;
    let named = all.iter().filter(|row| names(statements, row.text("hypertable_name").unwrap_or_default()));
    let mut hypertables = Vec::new();
    for row in named.take(limits::HYPERTABLES_MAX) {
        hypertables.push(with_chunks(client, row).await.map_err(told)?);
    }
    Ok(hypertables)
}

async fn with_chunks(client: &Client, row: &Row) -> Result<Hypertable, QueryError> {
    let [schema, name] =
        ["hypertable_schema", "hypertable_name"].map(|column| row.text(column).unwrap_or_default());
    let chunks = format!(
        "SELECT count(*) AS chunks, count(*) FILTER (WHERE is_compressed) AS compressed FROM timescaledb_information.chunks \
         WHERE hypertable_schema = {} AND hypertable_name = {}",
        quote(schema),
        quote(name)
    );
    let found = rows(client, &chunks).await?;
    let count = |column| found.first().map_or(0, |row| row.count(column));
    Ok(Hypertable {
        name: format!("{schema}.{name}"),
        chunks: count("chunks"),
        compressed_chunks: count("compressed"),
        has_compression: row.is_on("compression_enabled"),
    })
}

/// Whether a table's name stands in one of the statements, as a word of its own. A name in a comment would do, too, and does no harm.
fn names(statements: &[&str], table: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    !table.is_empty()
        && statements.iter().any(|sql| {
            let (sql, table) = (sql.to_lowercase(), table.to_lowercase());
            sql.match_indices(&table).any(|(at, _)| {
                let (before, after) = (&sql[..at], &sql[at + table.len()..]);
                !before.ends_with(is_word) && !after.starts_with(is_word)
            })
        })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_table_is_named_by_a_word_of_its_own() {
        let statements = ["SELECT 1", "SELECT * FROM metrics.CPU_usage u, \"Disk\" d"];
        assert!(names(&statements, "cpu_usage") && names(&statements, "Disk"));
        assert!(!names(&statements, "cpu") && !names(&statements, "usage") && !names(&statements, ""));
    }
}
