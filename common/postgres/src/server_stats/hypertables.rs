//! Reads the properties of the hypertables that the statements use, from TimescaleDB's documented views only.

use muster_core::limits;
use muster_core::query::quote;
use muster_core::server_side::Hypertable;
use tokio_postgres::Client;

use super::rows::{QueryError, Row, rows};

/// Returns nothing if TimescaleDB 2 is not installed. The caller limits the time, because there may be many chunks.
///
/// # Errors
/// When the views cannot be read.
pub(super) async fn read(client: &Client, statements: &[&str]) -> Result<Vec<Hypertable>, String> {
    let exists = "SELECT to_regclass('timescaledb_information.hypertables') IS NOT NULL AS is_there";
    let unreadable = |error| format!("timescaledb_information cannot be read: {error}");
    let found = rows(client, exists).await.map_err(unreadable)?;
    if !found.first().is_some_and(|row| row.is_on("is_there")) {
        return Ok(Vec::new());
    }
    let all = "SELECT hypertable_schema, hypertable_name, compression_enabled FROM timescaledb_information.hypertables \
               ORDER BY hypertable_schema, hypertable_name";
    let all = rows(client, all).await.map_err(unreadable)?;
    let named = all.iter().filter(|row| names(statements, row.text("hypertable_name").unwrap_or_default()));
    let mut hypertables = Vec::new();
    for row in named.take(limits::HYPERTABLES_MAX) {
        hypertables.push(with_chunks(client, row).await.map_err(unreadable)?);
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

/// Returns true if a statement contains the table's name as a separate word. A name in a comment matches too, which is harmless.
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
    fn a_table_is_found_only_as_a_separate_word() {
        let statements = ["SELECT 1", "SELECT * FROM metrics.CPU_usage u, \"Disk\" d"];
        assert!(names(&statements, "cpu_usage") && names(&statements, "Disk"));
        assert!(!names(&statements, "cpu") && !names(&statements, "usage") && !names(&statements, ""));
    }
}
