//! Checks and conversions that all messages share.

use std::borrow::Cow;
use std::time::Duration;

use muster_core::ids::{Epoch, RunId, SessionId, SlotId};
use muster_core::limits;
use muster_core::printable;
use muster_core::session_token::{GrantedSession, SessionToken, TOKEN_BYTES};

use crate::v1;

/// An invalid message. It ends only the session that sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message '{0}' has no content that this version supports")]
    Empty(&'static str),
    #[error("field '{field}' is missing")]
    Missing { field: &'static str },
    #[error("field '{field}' has the value '{value}', which is out of range")]
    OutOfRange { field: &'static str, value: String },
    #[error("field '{field}' has {found} entries, but {expected} were expected")]
    Length { field: Cow<'static, str>, expected: usize, found: usize },
}

/// Converts a number to a narrower type.
pub(crate) fn narrow<T, U>(field: &'static str, value: T) -> Result<U, WireError>
where
    T: Copy + std::fmt::Display,
    U: TryFrom<T>,
{
    U::try_from(value).map_err(|_| WireError::OutOfRange { field, value: value.to_string() })
}

/// Converts a duration to nanoseconds, at most 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a name or a reason for display within a line: limited in length, without line breaks, control and invisible characters.
pub(crate) fn line(wire: &str) -> String {
    printable::one_line(wire, limits::MESSAGE_CHARS_MAX)
}

/// Returns a text for display: limited in length, and without control characters that could move a terminal's cursor.
pub(crate) fn text(wire: &str) -> String {
    let harmless = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    wire.chars().take(limits::MESSAGE_CHARS_MAX).map(harmless).collect()
}

pub(crate) fn session(wire: Option<v1::Session>) -> Result<GrantedSession, WireError> {
    let wire = wire.ok_or(WireError::Missing { field: "session" })?;
    let token = SessionToken::from_bytes(&wire.token);
    let (expected, found) = (TOKEN_BYTES, wire.token.len());
    Ok(GrantedSession {
        id: SessionId {
            run: run(wire.run)?,
            slot: SlotId::new(narrow("session.slot", wire.slot)?),
            epoch: Epoch::new(wire.epoch),
        },
        token: token.ok_or(WireError::Length { field: "session.token".into(), expected, found })?,
    })
}

pub(crate) fn run(wire: String) -> Result<RunId, WireError> {
    RunId::try_new(&wire).map_err(|_| WireError::OutOfRange { field: "run", value: wire })
}

impl From<GrantedSession> for v1::Session {
    fn from(GrantedSession { id, token }: GrantedSession) -> Self {
        Self {
            run: id.run.to_string(),
            slot: id.slot.get().into(),
            epoch: id.epoch.get(),
            token: token.bytes().to_vec(),
        }
    }
}
