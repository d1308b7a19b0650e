//! The configuration of a run that is sent to agents.

use std::fmt;
use std::time::Duration;

use muster_common::protocol::{PlanCacheMode, Protocol, ResultFormat, UsedFormat};
use muster_common::query::Placeholder;
use prost::Message;

use crate::v1;
use crate::wire::{self, WireError, nanoseconds, narrow};

/// Takes the place of a database URL that exists but is not sent to this agent.
pub const WITHHELD: &str = "";

#[derive(Clone, PartialEq)]
pub struct RunConfig {
    /// At least one. Rows refer to them by position.
    pub statements: Vec<Statement>,
    pub protocol: Protocol,
    /// `None`: the server's setting.
    pub plan_cache_mode: Option<PlanCacheMode>,
    /// `None`: binary, or text for a statement with a type that has no binary output function.
    pub results: Option<ResultFormat>,
    /// The pause between the end of a query and the start of the worker's next one, in a closed loop.
    pub think_time: Duration,
    pub timezone: String,
    pub timeout: Option<Duration>,
    /// The coordinator's database, for an agent without its own, or [`WITHHELD`]. A secret.
    pub database_url: Option<String>,
    /// A second database, on which every row is run as well, or [`WITHHELD`]. A secret.
    pub versus_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The text with placeholders `$1`, `$2`, …. `None` for the default query, whose bucketing function depends on the server.
    pub sql: Option<String>,
    /// Number of values per row.
    pub parameters: usize,
    /// In the order of the text. Each is within the text and refers to one of the row's values.
    pub placeholders: Vec<Placeholder>,
}

impl Statement {
    /// Returns an upper bound of the bytes that the statement adds to a message.
    pub fn encoded_len(&self) -> usize {
        /// The bytes of the field number and the length.
        const FRAME: usize = 8;
        v1::Statement::from(self.clone()).encoded_len() + FRAME
    }
}

impl TryFrom<v1::RunConfig> for RunConfig {
    type Error = WireError;

    fn try_from(wire: v1::RunConfig) -> Result<Self, WireError> {
        let protocol = match wire.protocol() {
            v1::Protocol::Prepared => Protocol::Prepared,
            v1::Protocol::Extended => Protocol::Extended,
            v1::Protocol::Simple => Protocol::Simple,
            v1::Protocol::Unspecified => {
                let value = wire.protocol.to_string();
                return Err(WireError::OutOfRange { field: "config.protocol", value });
            }
        };
        let plan_cache_mode = match wire.plan_cache_mode.as_str() {
            "" => None,
            mode => Some(mode.parse().map_err(|_| WireError::OutOfRange {
                field: "config.plan_cache_mode",
                value: mode.to_owned(),
            })?),
        };
        let results = result_format(wire.results());
        if wire.statements.is_empty() {
            return Err(WireError::Missing { field: "config.statements" });
        }
        Ok(Self {
            statements: wire.statements.into_iter().map(Statement::try_from).collect::<Result<_, _>>()?,
            protocol,
            plan_cache_mode,
            results,
            think_time: Duration::from_nanos(wire.think_time_ns),
            timezone: wire.timezone,
            timeout: wire.timeout_ns.map(Duration::from_nanos),
            database_url: wire.database_url,
            versus_url: wire.versus_url,
        })
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

impl TryFrom<v1::Statement> for Statement {
    type Error = WireError;

    fn try_from(wire: v1::Statement) -> Result<Self, WireError> {
        let parameters = narrow("config.statements.parameters", wire.parameters)?;
        let sql = wire.sql.as_deref().unwrap_or_default();
        let mut placeholders = Vec::with_capacity(wire.placeholders.len());
        let mut copied = 0;
        for placeholder in &wire.placeholders {
            let v1::Placeholder { start, end, parameter } = *placeholder;
            let [start, end, parameter] = [start, end, parameter].map(|number| number as usize);
            let is_within = copied <= start && start <= end && sql.get(start..end).is_some();
            if !is_within || parameter >= parameters {
                let value = format!("{placeholder:?}");
                return Err(WireError::OutOfRange { field: "config.statements.placeholders", value });
            }
            copied = end;
            placeholders.push(Placeholder { start, end, parameter });
        }
        Ok(Self { sql: wire.sql, parameters, placeholders })
    }
}

impl From<Statement> for v1::Statement {
    fn from(Statement { sql, parameters, placeholders }: Statement) -> Self {
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let placeholder = |Placeholder { start, end, parameter }: Placeholder| v1::Placeholder {
            start: narrow(start),
            end: narrow(end),
            parameter: narrow(parameter),
        };
        Self {
            sql,
            parameters: narrow(parameters),
            placeholders: placeholders.into_iter().map(placeholder).collect(),
        }
    }
}

impl From<RunConfig> for v1::RunConfig {
    fn from(config: RunConfig) -> Self {
        let protocol = match config.protocol {
            Protocol::Prepared => v1::Protocol::Prepared,
            Protocol::Extended => v1::Protocol::Extended,
            Protocol::Simple => v1::Protocol::Simple,
        };
        Self {
            timezone: config.timezone,
            timeout_ns: config.timeout.map(nanoseconds),
            database_url: config.database_url,
            statements: config.statements.into_iter().map(Into::into).collect(),
            protocol: protocol.into(),
            plan_cache_mode: config.plan_cache_mode.map(|mode| mode.to_string()).unwrap_or_default(),
            think_time_ns: nanoseconds(config.think_time),
            results: config.results.map_or(v1::ResultFormat::Unspecified, Into::into).into(),
            versus_url: config.versus_url,
        }
    }
}

/// Hand-written: database URLs are secrets, and a `{:?}` must not print them.
impl fmt::Debug for RunConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunConfig")
            .field("statements", &self.statements)
            .field("protocol", &self.protocol)
            .field("plan_cache_mode", &self.plan_cache_mode)
            .field("results", &self.results)
            .field("think_time", &self.think_time)
            .field("timezone", &self.timezone)
            .field("timeout", &self.timeout)
            .field("database_url", &self.database_url.as_ref().map(|_| "…"))
            .field("versus_url", &self.versus_url.as_ref().map(|_| "…"))
            .finish()
    }
}
