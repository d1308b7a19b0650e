//! One CSV record at a time out of blocks of bytes: the parser of both passes, so that they cannot disagree about where a record ends.
//! It is csv's own state machine (`csv-core`) rather than `csv::Reader`, because that grows without bound after a quote that is
//! never closed, counts the blank lines before a record as part of it, and cannot start in the middle of a file. csv-core accepts every
//! quote; [`Quotes`] finds those that join rows which their author wrote as separate ones.
//! It does no I/O and judges nothing: what a record means is `check`'s affair.

use muster_common::limits::RECORD_BYTES_MAX;

use super::quotes::{BadQuote, Quotes};

/// First size of the field buffers; they grow up to `RECORD_BYTES_MAX`.
const TEXT_BYTES_FIRST: usize = 1 << 10;
const FIELDS_FIRST: usize = 32;

#[derive(Debug)]
pub(super) struct Records {
    machine: csv_core::Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    text_len: usize,
    fields: usize,
    quotes: Quotes,
    /// Text of this record was dropped, because the record is longer than `RECORD_BYTES_MAX`.
    is_cut: bool,
    /// The record given out last is complete: the next byte begins another one.
    complete: bool,
}

/// What a block of bytes gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The record goes on behind the block.
    More,
    Record,
    /// A record with more text than `RECORD_BYTES_MAX`. Its end was found, but its text was not kept.
    TooLong,
    /// A quote that makes the end of the record unknown. [`Records::restart`] prepares for the next record.
    BadQuote(BadQuote),
    /// The input has ended and holds no further record.
    End,
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            machine: primed(),
            text: vec![0; TEXT_BYTES_FIRST],
            ends: vec![0; FIELDS_FIRST],
            text_len: 0,
            fields: 0,
            quotes: Quotes::default(),
            is_cut: false,
            complete: true,
        }
    }

    /// Forgets a record that was begun: the next byte is the first of another one.
    pub(super) fn restart(&mut self) {
        if !self.complete {
            self.machine = primed();
            self.complete = true;
        }
    }

    /// Takes bytes of `input` up to the end of a record; an empty `input` is the end of the file.
    /// Returns how many bytes were taken.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, Step) {
        if self.complete {
            (self.text_len, self.fields, self.is_cut, self.complete) = (0, 0, false, false);
            self.quotes = Quotes::default();
        }
        let (taken, step) = self.parse(input);
        match self.quotes.pass(&input[..taken]) {
            None => (taken, step),
            Some(bad) => {
                self.complete = false;
                (taken, Step::BadQuote(bad))
            }
        }
    }

    fn parse(&mut self, input: &[u8]) -> (usize, Step) {
        use csv_core::ReadRecordResult as Given;
        let mut taken = 0;
        loop {
            let (given, bytes, text, fields) = self.machine.read_record(
                &input[taken..],
                &mut self.text[self.text_len..],
                &mut self.ends[self.fields..],
            );
            taken += bytes;
            self.text_len += text;
            self.fields += fields;
            match given {
                Given::OutputFull | Given::OutputEndsFull if self.is_too_long() => {
                    (self.text_len, self.fields, self.is_cut) = (0, 0, true);
                }
                Given::OutputFull => self.text.resize(self.text.len() * 2, 0),
                Given::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                Given::InputEmpty => return (taken, Step::More),
                Given::Record => return (taken, self.end(input.is_empty())),
                Given::End => return (taken, Step::End),
            }
            // The machine would take an empty rest for the end of the file.
            if taken == input.len() && !input.is_empty() {
                return (taken, Step::More);
            }
        }
    }

    fn end(&mut self, end_of_file: bool) -> Step {
        if end_of_file {
            // A machine that has seen the end takes no more input.
            self.machine = primed();
        }
        self.complete = true;
        if self.is_too_long() { Step::TooLong } else { Step::Record }
    }

    /// Fields count as well: a gigabyte of commas has no text.
    fn is_too_long(&self) -> bool {
        self.is_cut || self.text_len + self.fields > RECORD_BYTES_MAX
    }

    /// Number of fields of the record.
    pub(super) fn len(&self) -> usize {
        self.fields
    }

    /// A field of the record; empty beyond its last one.
    pub(super) fn field(&self, position: usize) -> &[u8] {
        let ends = &self.ends[..self.fields];
        let Some(&end) = ends.get(position) else {
            return &[];
        };
        let begin = position.checked_sub(1).map_or(0, |before| ends[before]);
        &self.text[begin..end]
    }

    /// All fields' text, one after the other.
    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.text_len]
    }
}

/// The number of bytes of blank lines at the start of `bytes`, which belong to no record.
/// Only `\r` and `\n`: a line of blanks is a record with one field.
pub(super) fn blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| b == b'\n' || b == b'\r').count()
}

/// A machine that has read one blank line, because it would take a byte order mark off the first record of its life, and this
/// may be any record of the file.
fn primed() -> csv_core::Reader {
    let mut machine = csv_core::Reader::new();
    machine.read_record(b"\n", &mut [0], &mut [0]);
    machine
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record of `input`, given in blocks of `block` bytes.
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
    fn the_size_of_blocks_changes_nothing() {
        let input = b"a,\"b\"\"\r\n\",c\r\n\r\n,,\n\xef\xbb\xbfd,e,f";
        let expected = [["a", "b\"\r\n", "c"], ["", "", ""], ["\u{feff}d", "e", "f"]];
        for block in 1..=input.len() {
            assert_eq!(records(input, block), expected, "{block}");
        }
    }

    #[test]
    fn more_fields_than_the_first_buffer_holds_are_read() {
        let fields: Vec<String> = (0..FIELDS_FIRST * 3).map(|n| format!("field {n}")).collect();
        assert_eq!(records(fields.join(",").as_bytes(), 7), [fields]);
    }

    #[test]
    fn a_quote_that_is_never_closed_and_endless_commas_take_bounded_memory() {
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
        assert_eq!(blank(b"\r\n\n\ra\n"), 4);
        assert_eq!(blank(b" \n"), 0);
    }
}
