//! The fields of a server's ErrorResponse.

use muster_core::sample::{QueryError, SqlState};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// True if the server closes the connection. The connection may still look open for a moment, and would fail the next row too.
    pub(crate) is_fatal: bool,
    pub(crate) sqlstate: SqlState,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    /// The position in the statement in characters, from 1.
    pub(crate) position: Option<u32>,
}

impl ServerError {
    /// Parses a message's body. Each field is a letter and a text that ends with a zero byte. A zero byte in place of the letter ends the
    /// fields. Never fails: a missing field gets a default, and invalid UTF-8, as in errors before the server has set the encoding, is
    /// replaced.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut error = Self {
            is_fatal: false,
            sqlstate: SqlState::CONNECTION_FAILURE,
            message: String::new(),
            detail: None,
            hint: None,
            position: None,
        };
        for field in body.split(|byte| *byte == 0) {
            let Some((letter, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text);
            match letter {
                // 'V' is not translated. Servers before 9.6 send only 'S'.
                b'V' | b'S' => error.is_fatal |= matches!(&*text, "FATAL" | "PANIC"),
                b'C' => error.sqlstate = SqlState::try_new(&text).unwrap_or(error.sqlstate),
                b'M' => error.message = text.into_owned(),
                b'D' => error.detail = Some(text.into_owned()),
                b'H' => error.hint = Some(text.into_owned()),
                b'P' => error.position = text.parse().ok(),
                _ => {}
            }
        }
        error
    }

    /// Converts the error. `hint` is used if the server sent none.
    pub(crate) fn into_query_error(self, hint: Option<&str>) -> QueryError {
        let Self { is_fatal: _, sqlstate, message, detail, hint: own, position: _ } = self;
        let hint = own.or(hint.map(str::to_owned));
        QueryError { sqlstate, message, detail, hint }.shortened()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fields_are_parsed_and_others_ignored() {
        let error = ServerError::parse(
            b"SERREUR\0VERROR\0C42703\0Mcolumn \"x\" does not exist\0Hcheck\0P8\0Fparse.c\0L1\0\0",
        );
        assert_eq!(
            error,
            ServerError {
                is_fatal: false,
                sqlstate: SqlState::try_new("42703").unwrap(),
                message: "column \"x\" does not exist".to_owned(),
                detail: None,
                hint: Some("check".to_owned()),
                position: Some(8),
            }
        );
        assert!(ServerError::parse(b"SFATAL\0C57P01\0Mended\0\0").is_fatal);
    }

    #[test]
    fn an_invalid_error_response_is_reported_as_a_connection_failure() {
        for body in [&b""[..], b"\0", b"Cshort\0", b"M\xff\xfe", b"P-1\0Pnine\0"] {
            assert_eq!(ServerError::parse(body).sqlstate, SqlState::CONNECTION_FAILURE, "{body:?}");
        }
    }
}
