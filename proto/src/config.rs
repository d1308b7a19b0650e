//! The configuration of a run that is sent to agents.

use std::fmt;

use muster_core::protocol::{ResultFormat, UsedFormat};
use muster_core::session_spec::SessionSpec;

use crate::v1;
use crate::wire::{self, WireError};

/// Takes the place of a database URL that exists but is not sent to this agent.
pub const WITHHELD: &str = "";

#[derive(Clone, PartialEq)]
pub struct RunConfig {
    pub session: SessionSpec,
    /// The coordinator's database, for an agent without its own, or [`WITHHELD`]. A secret.
    pub database_url: Option<String>,
    /// A second database, on which every row is run as well, or [`WITHHELD`]. A secret.
    pub versus_url: Option<String>,
}

impl TryFrom<v1::RunConfig> for RunConfig {
    type Error = WireError;

    fn try_from(wire: v1::RunConfig) -> Result<Self, WireError> {
        let v1::RunConfig { session, database_url, versus_url } = wire;
        let session = serde_json::from_str(&session).map_err(|error| WireError::OutOfRange {
            field: "config.session",
            value: wire::line(&error.to_string()),
        })?;
        Ok(Self { session, database_url, versus_url })
    }
}

impl From<RunConfig> for v1::RunConfig {
    fn from(config: RunConfig) -> Self {
        let RunConfig { session, database_url, versus_url } = config;
        let session = serde_json::to_string(&session).expect("every field has a JSON form");
        Self { session, database_url, versus_url }
    }
}

fn result_format(wire: v1::ResultFormat) -> Option<ResultFormat> {
    match wire {
        v1::ResultFormat::Unspecified => None,
        v1::ResultFormat::Binary => Some(ResultFormat::Binary),
        v1::ResultFormat::Text => Some(ResultFormat::Text),
    }
}

impl From<ResultFormat> for v1::ResultFormat {
    fn from(format: ResultFormat) -> Self {
        match format {
            ResultFormat::Binary => Self::Binary,
            ResultFormat::Text => Self::Text,
        }
    }
}

impl From<v1::UsedFormat> for UsedFormat {
    fn from(wire: v1::UsedFormat) -> Self {
        let format = result_format(wire.format()).unwrap_or(ResultFormat::Binary);
        let without_binary = wire.without_binary.iter().map(|name| wire::text(name)).collect();
        Self { format, without_binary }
    }
}

impl From<UsedFormat> for v1::UsedFormat {
    fn from(UsedFormat { format, without_binary }: UsedFormat) -> Self {
        Self { format: v1::ResultFormat::from(format).into(), without_binary }
    }
}

/// Hand-written: database URLs are secrets, and a `{:?}` must not print them.
impl fmt::Debug for RunConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunConfig")
            .field("session", &self.session)
            .field("database_url", &self.database_url.as_ref().map(|_| "…"))
            .field("versus_url", &self.versus_url.as_ref().map(|_| "…"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use muster_core::load::Load;
    use muster_core::session_spec::Statement;

    use super::*;

    fn wire() -> v1::RunConfig {
        let session = SessionSpec {
            statements: Statement::default_query().into(),
            load: Load { seed: u64::MAX, ..Load::default() },
            timezone: "UTC".to_owned(),
            timeout: Some(std::time::Duration::from_micros(1_500)),
        };
        RunConfig { session, database_url: None, versus_url: Some(WITHHELD.to_owned()) }.into()
    }

    #[test]
    fn a_configuration_survives_the_round_trip() {
        let read = RunConfig::try_from(wire()).unwrap();
        assert_eq!(v1::RunConfig::from(read), wire());
    }

    #[test]
    fn an_agent_refuses_what_the_command_line_would_refuse() {
        let check = |from: &str, to: &str| {
            let session = wire().session.replace(from, to);
            assert_ne!(session, wire().session, "{from}");
            let error = RunConfig::try_from(v1::RunConfig { session, ..wire() }).unwrap_err().to_string();
            assert!(error.contains("config.session"), "{error}");
        };
        check("\"sql\":null", "\"sql\":\"SELECT 1; COMMIT; DELETE FROM t\"");
        check("\"prepared\"", "\"telepathic\"");
        check("\"timeout_ms\":1.5", "\"timeout_ms\":-1");
        check("{", "");
    }
}
