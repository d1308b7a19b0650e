//! `target_session_attrs`, as in libpq since PostgreSQL 14: which of several servers a session may use.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetSessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// Prefers a standby, and accepts any server if there is none.
    PreferStandby,
}

impl TargetSessionAttrs {
    pub(crate) const ALLOWED: &str = "any, read-write, read-only, primary, standby, prefer-standby";

    pub(crate) fn parse(text: &str) -> Option<Self> {
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

    /// Returns why the server does not satisfy the attribute. `None` if it does.
    pub(crate) fn mismatch(self, is_standby: bool, is_read_only: bool) -> Option<&'static str> {
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
