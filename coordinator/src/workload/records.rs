//! One CSV record at a time out of blocks of bytes: the parser of both passes, so that they cannot disagree about where a record ends.
//! It is csv's own state machine (`csv-core`) rather than `csv::Reader`, because that grows without bound after a quote that is
//! never closed, counts the blank lines before a record as part of it, and cannot start in the middle of a file.
//! It does no I/O and judges nothing: what a record means is `check`'s affair.

use muster_common::limits::RECORD_BYTES_MAX;

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
    /// The record given out last is complete: the next byte begins another one.
    complete: bool,
}

/// What a block of bytes gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The record goes on behind the block.
    More,
    Record,
    /// More text than `RECORD_BYTES_MAX`.
    TooLong,
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
            complete: true,
        }
    }

    /// Forgets a record that was begun: the next byte is the first of another one.
    pub(super) fn restart(&mut self) {
        if !self.complete {
            self.renew();
            self.complete = true;
        }
    }

    /// Takes bytes of `input` up to the end of a record; an empty `input` is the end of the file.
    /// Returns how many bytes were taken.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, Step) {
        use csv_core::ReadRecordResult as Given;
        if self.complete {
            (self.text_len, self.fields, self.complete) = (0, 0, false);
        }
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
                    return (taken, Step::TooLong);
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
            self.renew();
        }
        self.complete = true;
        if self.is_too_long() { Step::TooLong } else { Step::Record }
    }

    fn renew(&mut self) {
        let newlines = self.newlines();
        self.machine = primed();
        self.machine.set_line(newlines);
    }

    /// Fields count as well: a gigabyte of commas has no text.
    fn is_too_long(&self) -> bool {
        self.text_len + self.fields > RECORD_BYTES_MAX
    }

    /// Newlines that this parser has passed, those within quotes included.
    pub(super) fn newlines(&self) -> u64 {
        self.machine.line()
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

/// Blank lines at the beginning of `bytes`, which belong to no record: how many bytes, and how many newlines among them.
/// Only `\r` and `\n`: a line of blanks is a record with one field.
pub(super) fn blank(bytes: &[u8]) -> (usize, u64) {
    let length = bytes.iter().take_while(|&&b| b == b'\n' || b == b'\r').count();
    let newlines = bytes[..length].iter().filter(|&&b| b == b'\n').count();
    (length, newlines as u64)
}

/// A machine that has read one blank line, because it would take a byte order mark off the first record of its life, and this
/// may be any record of the file. Its line count is then at 0 again.
fn primed() -> csv_core::Reader {
    let mut machine = csv_core::Reader::new();
    machine.read_record(b"\n", &mut [0], &mut [0]);
    machine.set_line(0);
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
                Step::TooLong => panic!("no record here is too long"),
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
    fn a_quote_that_is_never_closed_and_endless_commas_end_in_bounded_memory() {
        for endless in [b"\"x".as_slice(), b",,"] {
            let mut records = Records::new();
            let mut fed = 0;
            while fed < RECORD_BYTES_MAX * 8 {
                let (taken, step) = records.feed(&endless[1..]);
                if step == Step::TooLong {
                    break;
                }
                fed += taken;
            }
            assert!((RECORD_BYTES_MAX..RECORD_BYTES_MAX * 3).contains(&fed), "{fed}");
        }
    }

    #[test]
    fn blank_lines_are_counted_by_newlines() {
        assert_eq!(blank(b"\r\n\n\ra\n"), (4, 2));
        assert_eq!(blank(b" \n"), (0, 0));
    }
}
