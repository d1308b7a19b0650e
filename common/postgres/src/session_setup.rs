//! The settings that a session has before its first query.

use std::time::Duration;

use muster_core::protocol::PlanCacheMode;
use muster_core::query::quote;

/// The settings of every session, made before its first query. They are sent as a statement, because poolers refuse startup `options`.
/// Behind a pooler nothing is set for the session. Instead, each transaction sets them for itself ([`SessionSetup::local`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSetup {
    /// The name of the time zone in PostgreSQL: `UTC`, `Europe/Vienna`.
    pub timezone: String,
    pub read_only: bool,
    /// The time after which the server ends a statement, for clients that are gone. `None` is no limit.
    pub statement_timeout: Option<Duration>,
    /// `None` keeps the server's setting.
    pub plan_cache_mode: Option<PlanCacheMode>,
}

/// Settings of one transaction, which end with it. With the simple protocol they are sent in the same message as the statement, which makes
/// them one transaction. With the extended protocol the transaction ends with Sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalSettings {
    /// `SET LOCAL …; SET LOCAL …; `, with `simple_statements` statements.
    pub(crate) simple: String,
    pub(crate) simple_statements: usize,
    /// `SELECT set_config(…), …`, a single statement. SET LOCAL would cause a warning there.
    pub(crate) extended: String,
}

impl SessionSetup {
    pub(crate) fn statement(&self) -> String {
        let parameters = self.parameters("default_transaction_read_only").into_iter();
        let statements: Vec<String> =
            parameters.map(|(name, value)| format!("SET {name} = {}", quote(&value))).collect();
        statements.join("; ")
    }

    /// Returns the same settings for one transaction. They include the application name, so a backend with this name is executing that
    /// transaction.
    pub(crate) fn local(&self, application_name: &str) -> LocalSettings {
        let mut parameters = self.parameters("transaction_read_only");
        parameters.push(("application_name", application_name.to_owned()));
        let simple = parameters.iter().map(|(name, value)| format!("SET LOCAL {name} = {}; ", quote(value)));
        let extended = parameters
            .iter()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}', {}, true)", quote(value)));
        LocalSettings {
            simple_statements: parameters.len(),
            simple: simple.collect(),
            extended: format!("SELECT {}", extended.collect::<Vec<_>>().join(", ")),
        }
    }

    fn parameters(&self, read_only: &'static str) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("TimeZone", self.timezone.clone())];
        if self.read_only {
            parameters.push((read_only, "on".to_owned()));
        }
        if let Some(limit) = self.statement_timeout {
            // The server stores milliseconds as a signed 32-bit integer.
            let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
            parameters.push(("statement_timeout", milliseconds.to_string()));
        }
        if let Some(mode) = self.plan_cache_mode {
            parameters.push(("plan_cache_mode", mode.to_string()));
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(timezone: &str, read_only: bool, expected: &str) {
        let timezone = timezone.to_owned();
        let setup = SessionSetup { timezone, read_only, statement_timeout: None, plan_cache_mode: None };
        assert_eq!(setup.statement(), expected);
        let setup = SessionSetup { statement_timeout: Some(Duration::from_millis(5_300)), ..setup };
        assert_eq!(setup.statement(), format!("{expected}; SET statement_timeout = '5300'"));
    }

    #[test]
    fn session_settings_are_one_statement_with_quoted_values() {
        check("UTC", true, "SET TimeZone = 'UTC'; SET default_transaction_read_only = 'on'");
        check("Europe/Vienna", false, "SET TimeZone = 'Europe/Vienna'");
        check("x'; DROP TABLE t; --", false, "SET TimeZone = 'x''; DROP TABLE t; --'");
        check(r"x\'; DROP", false, r"SET TimeZone =  E'x\\''; DROP'");
    }

    #[test]
    fn behind_a_pooler_settings_apply_to_one_transaction() {
        let setup = SessionSetup {
            timezone: "UTC".to_owned(),
            read_only: true,
            statement_timeout: Some(Duration::from_secs(2)),
            plan_cache_mode: Some(PlanCacheMode::ForceCustomPlan),
        };
        let local = setup.local("muster:r:slot-0:1/0");
        assert_eq!(
            local.simple,
            "SET LOCAL TimeZone = 'UTC'; SET LOCAL transaction_read_only = 'on'; SET LOCAL statement_timeout = '2000'; \
             SET LOCAL plan_cache_mode = 'force_custom_plan'; SET LOCAL application_name = 'muster:r:slot-0:1/0'; "
        );
        assert_eq!(local.simple.matches(';').count(), local.simple_statements);
        assert_eq!(local.extended.matches(", true)").count(), local.simple_statements, "{}", local.extended);
    }
}
