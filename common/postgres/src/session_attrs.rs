//! `target_session_attrs`, as in libpq since PostgreSQL 14: which of several servers a session may use.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::failure::{Problem, of_setup};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetSessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// Prefers a standby, and accepts any server if there is none.
    PreferStandby,
}

/// The query that returns whether the server is a standby and whether its sessions are read-only.
const STATE: &str =
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";

impl TargetSessionAttrs {
    pub(super) const ALLOWED: &str = "any, read-write, read-only, primary, standby, prefer-standby";

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "any" => Self::Any,
            "read-write" => Self::ReadWrite,
            "read-only" => Self::ReadOnly,
            "primary" => Self::Primary,
            "standby" => Self::Standby,
            "prefer-standby" => Self::PreferStandby,
            _ => return None,
        })
    }

    /// Fails unless the server satisfies the attribute. To be called before the session is set to read-only.
    pub(super) async fn check(self, client: &Client) -> Result<(), Problem> {
        if self == Self::Any {
            return Ok(());
        }
        let messages = client.simple_query(STATE).await.map_err(|error| of_setup(&error))?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some([0, 1].map(|column| matches!(row.try_get(column), Ok(Some("t")))))
            }
            _ => None,
        });
        let [is_standby, is_read_only] = row.unwrap_or_default();
        self.mismatch(is_standby, is_read_only).map_or(Ok(()), |why| Err(Problem::Unsuitable(why)))
    }

    /// Returns why the server does not satisfy the attribute. `None` if it does.
    fn mismatch(self, is_standby: bool, is_read_only: bool) -> Option<&'static str> {
        match self {
            Self::ReadWrite if is_read_only => Some("the server does not allow writes"),
            Self::ReadOnly if !is_read_only => Some("the server is not read-only"),
            Self::Primary if is_standby => Some("the server is a standby"),
            Self::Standby | Self::PreferStandby if !is_standby => Some("the server is not a standby"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_accepted_as_libpq_documents() {
        let accepts = |text: &str| {
            let attrs = TargetSessionAttrs::parse(text).unwrap();
            // A primary; a primary whose sessions are read-only; a standby.
            [(false, false), (false, true), (true, true)]
                .map(|(is_standby, is_read_only)| attrs.mismatch(is_standby, is_read_only).is_none())
        };
        assert_eq!(accepts("any"), [true, true, true]);
        assert_eq!(accepts(""), [true, true, true]);
        assert_eq!(accepts("read-write"), [true, false, false]);
        assert_eq!(accepts("read-only"), [false, true, true]);
        assert_eq!(accepts("primary"), [true, true, false]);
        assert_eq!(accepts("standby"), [false, false, true]);
        assert_eq!(accepts("prefer-standby"), [false, false, true]);
        assert_eq!(TargetSessionAttrs::parse("master"), None);
        for name in TargetSessionAttrs::ALLOWED.split(", ") {
            assert!(TargetSessionAttrs::parse(name).is_some(), "{name}");
        }
    }
}
