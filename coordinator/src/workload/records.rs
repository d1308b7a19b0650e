//! Parses one CSV record at a time from blocks of bytes. Both passes use this parser, so they agree on where a record ends.
//! It uses the state machine `csv-core` instead of `csv::Reader`, because `csv::Reader` grows without bound after a quote that is never
//! closed, counts the blank lines before a record as part of it, and cannot start in the middle of a file. csv-core accepts unclosed
//! quotes; [`Quotes`] finds those that join separate rows.
//! This module does no I/O; the `check` module validates the records.

use muster_core::limits::RECORD_BYTES_MAX;

use super::quotes::{BadQuote, Quotes};

/// The initial sizes of the field buffers, which grow up to `RECORD_BYTES_MAX`.
const TEXT_BYTES_INITIAL: usize = 1 << 10;
const FIELDS_INITIAL: usize = 32;

#[derive(Debug)]
pub(super) struct Records {
    machine: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    text_len: usize,
    fields: usize,
    quotes: Quotes,
    /// True when text of this record was dropped because the record is longer than `RECORD_BYTES_MAX`.
    is_cut: bool,
    /// True when the last record is complete: the next byte begins a new one.
    complete: bool,
}

/// The result of parsing a block of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The record continues in the next block.
    More,
    Record,
    /// A record with more text than `RECORD_BYTES_MAX`. Its end was found and its text was dropped.
    TooLong,
    /// A quote that makes the end of the record unknown. [`Records::restart`] prepares for the next record.
    BadQuote(BadQuote),
    /// The input has ended and holds no further record.
    End,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            machine: new_machine(),
            text: vec![0; TEXT_BYTES_INITIAL],
            ends: vec![0; FIELDS_INITIAL],
            text_len: 0,
            fields: 0,
            quotes: Quotes::default(),
            is_cut: false,
            complete: true,
        }
    }

    /// Discards an incomplete record: the next byte begins a new one.
    pub(super) fn restart(&mut self) {
        if !self.complete {
            self.machine = new_machine();
            self.complete = true;
        }
    }

    /// Parses `input` up to the end of a record; an empty `input` is the end of the file.
    /// Returns the number of bytes that were consumed.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, Step) {
        if self.complete {
            (self.text_len, self.fields, self.is_cut, self.complete) = (0, 0, false, false);
            self.quotes = Quotes::default();
        }
        let (taken, step) = self.parse(input);
        match self.quotes.feed(&input[..taken]) {
            None => (taken, step),
            Some(bad) => {
                self.complete = false;
                (taken, Step::BadQuote(bad))
            }
        }
    }

    fn parse(&mut self, input: &[u8]) -> (usize, Step) {
        use csv_core::ReadRecordResult;
        let mut taken = 0;
        loop {
            let (result, bytes, text, fields) = self.machine.read_record(
                &input[taken..],
                &mut self.text[self.text_len..],
                &mut self.ends[self.fields..],
            );
            taken += bytes;
            self.text_len += text;
            self.fields += fields;
            match result {
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull if self.is_too_long() => {
                    (self.text_len, self.fields, self.is_cut) = (0, 0, true);
                }
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty => return (taken, Step::More),
                ReadRecordResult::Record => return (taken, self.end(input.is_empty())),
                ReadRecordResult::End => return (taken, Step::End),
            }
            // The state machine would treat an empty rest as the end of the file.
            if taken == input.len() && !input.is_empty() {
                return (taken, Step::More);
            }
        }
    }

    fn end(&mut self, end_of_file: bool) -> Step {
        if end_of_file {
            // A state machine that has reached the end accepts no more input.
            self.machine = new_machine();
        }
        self.complete = true;
        if self.is_too_long() { Step::TooLong } else { Step::Record }
    }

    /// Fields are counted too, because a gigabyte of commas has no text.
    fn is_too_long(&self) -> bool {
        self.is_cut || self.text_len + self.fields > RECORD_BYTES_MAX
    }

    /// The number of fields of the record.
    pub(super) fn len(&self) -> usize {
        self.fields
    }

    /// A field of the record; empty beyond the last field.
    pub(super) fn field(&self, position: usize) -> &[u8] {
        let ends = &self.ends[..self.fields];
        let Some(&end) = ends.get(position) else {
            return &[];
        };
        let begin = position.checked_sub(1).map_or(0, |before| ends[before]);
        &self.text[begin..end]
    }

    /// The concatenated text of all fields.
    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.text_len]
    }
}

/// The length of the blank lines at the start of `bytes`, which belong to no record. Only `\r` and `\n` count: a line of spaces is a
/// record with one field.
pub(super) fn blank_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| b == b'\n' || b == b'\r').count()
}

/// A state machine that has already read one blank line. A new one would remove a byte order mark from its first record, which here can
/// be any record of the file.
fn new_machine() -> csv_core::Reader {
    let mut machine = csv_core::Reader::new();
    machine.read_record(b"\n", &mut [0], &mut [0]);
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All records of `input`, which is fed in blocks of `block` bytes.
    fn records(input: &[u8], block: usize) -> Vec<Vec<String>> {
        let mut records = Records::new();
        let mut found = Vec::new();
        let mut blocks = input.chunks(block);
        let mut rest: &[u8] = &[];
        loop {
            if rest.is_empty() {
                rest = blocks.next().unwrap_or_default();
            }
            let (taken, step) = records.feed(rest);
            rest = &rest[taken..];
            match step {
                Step::More => {}
                Step::Record => found.push(
                    (0..records.len())
                        .map(|field| String::from_utf8_lossy(records.field(field)).into_owned())
                        .collect(),
                ),
                Step::TooLong | Step::BadQuote(_) => panic!("no record here is too long or has a bad quote"),
                Step::End => return found,
            }
        }
    }

    #[test]
    fn the_block_size_does_not_affect_the_records() {
        let input = b"a,\"b\"\"\r\n\",c\r\n\r\n,,\n\xef\xbb\xbfd,e,f";
        let expected = [["a", "b\"\r\n", "c"], ["", "", ""], ["\u{feff}d", "e", "f"]];
        for block in 1..=input.len() {
            assert_eq!(records(input, block), expected, "{block}");
        }
    }

    #[test]
    fn more_fields_than_the_initial_buffer_holds_are_read() {
        let fields: Vec<String> = (0..FIELDS_INITIAL * 3).map(|n| format!("field {n}")).collect();
        assert_eq!(records(fields.join(",").as_bytes(), 7), [fields]);
    }

    #[test]
    fn an_unclosed_quote_and_endless_commas_take_bounded_memory() {
        for endless in [b"\"".as_slice(), b","] {
            let mut records = Records::new();
            assert_eq!(records.feed(endless), (1, Step::More));
            let block = [endless[0].max(b','); 1 << 10].map(|byte| if byte == b'"' { b'x' } else { byte });
            for _ in 0..RECORD_BYTES_MAX / 100 {
                assert_eq!(records.feed(&block), (block.len(), Step::More));
            }
            let bytes = records.text.len() + records.ends.len() * size_of::<usize>();
            assert!(bytes <= RECORD_BYTES_MAX * 2 * (1 + size_of::<usize>()), "{bytes}");
            let expected = match endless {
                b"," => Step::TooLong,
                _ => Step::BadQuote(BadQuote { at: 0, is_closed: false }),
            };
            assert_eq!(records.feed(b""), (0, expected));
        }
    }

    #[test]
    fn blank_lines_end_before_the_first_other_byte() {
        assert_eq!(blank_lines(b"\r\n\n\ra\n"), 4);
        assert_eq!(blank_lines(b" \n"), 0);
    }
}
