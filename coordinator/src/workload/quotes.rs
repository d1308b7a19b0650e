//! Finds quotes that are not closed at the end of a field. An unclosed quote makes the following delimiters and line ends a part of the
//! field, so that several rows are read as one without an error. csv-core accepts these quotes; this module processes the same bytes and
//! reports them.

/// The state of the parser within a record. As in csv-core, a quote opens a quoted field only at the beginning of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote in a quoted field: it is either the end of the field or the first half of an escaped quote.
    Closed,
}

/// Tracks the quotes of one record.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    state: State,
    /// The number of bytes of the record so far.
    bytes: u64,
    /// The position of the field's opening quote, in bytes from the start of the record.
    opens_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadQuote {
    /// The position of the opening quote, in bytes from the start of the record.
    pub(super) at: u64,
    /// True when text follows the closing quote. False when there is no closing quote up to the end of the file.
    pub(super) is_closed: bool,
}

impl Quotes {
    /// Processes more bytes of the record. An empty slice is the end of the file.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<BadQuote> {
        // Most records have no quote, which one search finds.
        if matches!(self.state, State::FieldStart | State::Unquoted) && !bytes.contains(&b'"') {
            self.bytes += bytes.len() as u64;
            if let Some(last) = bytes.last() {
                self.state = after(*last);
            }
            return None;
        }
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::FieldStart, b'"') => {
                    self.opens_at = self.bytes;
                    State::Quoted
                }
                (State::Quoted, b'"') => State::Closed,
                (State::Closed, b'"') | (State::Quoted, _) => State::Quoted,
                (State::Closed, byte) if after(byte) != State::FieldStart => {
                    return Some(BadQuote { at: self.opens_at, is_closed: true });
                }
                (_, byte) => after(byte),
            };
            self.bytes += 1;
        }
        let is_open = self.state == State::Quoted && bytes.is_empty();
        is_open.then_some(BadQuote { at: self.opens_at, is_closed: false })
    }
}

/// The state after a byte outside quotes.
fn after(byte: u8) -> State {
    if matches!(byte, b',' | b'\r' | b'\n') { State::FieldStart } else { State::Unquoted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: &[u8], expected: Option<(u64, bool)>) {
        for block in 1..=record.len() {
            let mut quotes = Quotes::default();
            let mut found = record.chunks(block).find_map(|bytes| quotes.feed(bytes));
            found = found.or_else(|| quotes.feed(b""));
            let found = found.map(|bad| (bad.at, bad.is_closed));
            assert_eq!(found, expected, "{} in blocks of {block}", String::from_utf8_lossy(record));
        }
    }

    #[test]
    fn a_quote_ends_where_its_field_ends() {
        check(b"a,b\n", None);
        check(b"\"a\",\"b\"\"\"\r\n", None);
        check(b"\"a\n,\"\"\",b", None);
        check(b"a\"b,c\" \"\n", None);
        check(b"a, \"b\n", None);
        check(b"a,\"b\"", None);
        check(b"a,\"b\nc,d\n", Some((2, false)));
        check(b"\"a\n\",\"b\"\"", Some((5, false)));
        check(b"a,\"b\nc,\"d\"\n", Some((2, true)));
        check(b"\"a\" ,b\n", Some((0, true)));
    }
}
