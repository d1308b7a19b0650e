//! Checks whether a session's role can do more than read. A read-only transaction gives no protection, because a statement or function can
//! end it with `set_config`. A role without the privileges does.

use muster_core::limits;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::failure::with_causes;

/// The requirement for the role of the agent's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RoleRule {
    /// Any role is accepted without a warning.
    Any,
    /// A superuser is accepted with a warning.
    #[default]
    WarnOfSuperuser,
    /// A role that can write is rejected.
    ReadOnly,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum RoleError {
    #[error("read the role's privileges: {0}")]
    Query(String),
    #[error(
        "--require-read-only-role: role {role} can write in database {database}: {rights}. Use a role that can only read:\n  \
         CREATE ROLE muster LOGIN PASSWORD '…';\n  \
         GRANT CONNECT ON DATABASE {database} TO muster;\n  \
         GRANT USAGE ON SCHEMA public TO muster;\n  \
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO muster;\n  \
         GRANT pg_read_all_stats TO muster;  -- for the server's own counters in the report\n  \
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;  -- needed before PostgreSQL 15"
    )]
    CanWrite { role: String, database: String, rights: String },
}

impl RoleRule {
    /// Checks the role of one connection. Must be called before any of the coordinator's SQL is sent on it.
    ///
    /// # Errors
    /// When the role can write and the rule forbids it.
    pub(crate) async fn check(self, client: &Client) -> Result<(), RoleError> {
        match self {
            Self::ReadOnly => require_read_only(client).await,
            Self::Any | Self::WarnOfSuperuser => Ok(()),
        }
    }
}

/// Rejects a role that can write, directly or through a role of which it is a member.
async fn require_read_only(client: &Client) -> Result<(), RoleError> {
    let messages = client.simple_query(PRIVILEGES).await;
    let messages = messages.map_err(|error| RoleError::Query(with_causes(&error)))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some([0, 1, 2].map(|column| row.get(column).unwrap_or_default())),
        _ => None,
    });
    let rows: Vec<[&str; 3]> = rows.collect();
    // The query always returns one row without a privilege, so that an empty result is not mistaken for a role without privileges.
    let Some([role, database, _]) = rows.first() else {
        return Err(RoleError::Query("the result has no rows".to_owned()));
    };
    let rights: Vec<&str> =
        rows.iter().map(|[_, _, right]| *right).filter(|right| !right.is_empty()).collect();
    match rights.len() {
        0 => Ok(()),
        count => {
            let more = if count > limits::PRIVILEGES_SHOWN {
                format!(", and {} more", count - limits::PRIVILEGES_SHOWN)
            } else {
                String::new()
            };
            let rights = rights[..count.min(limits::PRIVILEGES_SHOWN)].join(", ") + &more;
            let (role, database) = ((*role).to_owned(), (*database).to_owned());
            Err(RoleError::CanWrite { role, database, rights })
        }
    }
}

/// Returns one row for each privilege. Uses `session_user` instead of `current_user`, because any statement can execute RESET ROLE.
/// Includes all roles of which it is a member, whether it inherits their privileges or not, because it can execute SET ROLE. Excludes
/// temporary tables, which every role may create by default and which end with the session. Large objects and SECURITY DEFINER functions
/// are not checked.
const PRIVILEGES: &str = "\
WITH roles AS MATERIALIZED (
  SELECT * FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
), schemas AS MATERIALIZED (
  SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), relations AS MATERIALIZED (
  SELECT c.oid, c.relowner, c.relkind, pg_catalog.format('%I.%I', s.nspname, c.relname) AS name
  FROM pg_catalog.pg_class c JOIN schemas s ON s.oid = c.relnamespace
), rights AS (
  SELECT 1 AS place, 'it is a superuser' AS what FROM roles WHERE rolsuper
  UNION SELECT 2, 'it may create roles' FROM roles WHERE rolcreaterole
  UNION SELECT 3, 'it may create databases' FROM roles WHERE rolcreatedb
  UNION SELECT 4, 'it may replicate' FROM roles WHERE rolreplication
  UNION SELECT 5, 'it is a member of ' || rolname FROM roles WHERE rolname IN
    ('pg_create_subscription', 'pg_execute_server_program', 'pg_maintain', 'pg_read_server_files', 'pg_write_all_data', 'pg_write_server_files')
  UNION SELECT 6, 'it may create schemas'
    FROM roles r WHERE pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CREATE')
  UNION SELECT 7, pg_catalog.format('it may create tables in schema %I', s.nspname)
    FROM roles r, schemas s WHERE pg_catalog.has_schema_privilege(r.oid, s.oid, 'CREATE')
  UNION SELECT 8, 'it may write to ' || t.name
    FROM roles r, relations t WHERE t.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
      t.relowner = r.oid OR pg_catalog.has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE')
      OR pg_catalog.has_table_privilege(r.oid, t.oid, 'DELETE, TRUNCATE, TRIGGER'))
  UNION SELECT 9, 'it may advance ' || t.name
    FROM roles r, relations t WHERE t.relkind = 'S' AND (
      t.relowner = r.oid OR pg_catalog.has_sequence_privilege(r.oid, t.oid, 'USAGE, UPDATE'))
)
SELECT pg_catalog.quote_ident(session_user), pg_catalog.quote_ident(pg_catalog.current_database()), what
FROM (SELECT 0 AS place, '' AS what UNION ALL SELECT place, what FROM rights) AS each ORDER BY place, what";
