//! Reduces the result of a query to counts and a digest, after the clock has stopped.

use muster_core::sample::Answer;
use xxhash_rust::xxh3::Xxh3;

use crate::frontend::{COMMAND_COMPLETE, DATA_ROW, ERROR_RESPONSE, Message};
use crate::server_error::ServerError;

/// Accumulates the messages of one execution. It is reused for the next one, because the hash has a state of several hundred bytes.
pub(crate) struct ResultAccumulator {
    /// The number of statements before the measured one in each execution.
    before: usize,
    /// The number of these statements whose CommandComplete has not arrived yet.
    skip: usize,
    rows: u64,
    bytes: u64,
    hash: Xxh3,
    error: Option<ServerError>,
}

/// The size of the count at the start of a row, and of the length before each value. NULL consists of the length alone.
const COUNT_BYTES: usize = 2;
const LENGTH_BYTES: usize = 4;

impl ResultAccumulator {
    /// Ignores the results of the first `before` statements of each execution.
    pub(crate) fn new(before: usize) -> Self {
        Self { before, skip: before, rows: 0, bytes: 0, hash: Xxh3::new(), error: None }
    }

    pub(crate) fn take(&mut self, message: Message<'_>) {
        match message.tag {
            COMMAND_COMPLETE if self.skip > 0 => self.skip -= 1,
            DATA_ROW if self.skip > 0 => {}
            DATA_ROW => self.take_row(message.body),
            // The first error ended the statement. Later ones are consequences.
            ERROR_RESPONSE if self.error.is_none() => self.error = Some(ServerError::parse(message.body)),
            _ => {}
        }
    }

    /// A row's body includes the lengths of its values, so hashing it as it is distinguishes all results.
    fn take_row(&mut self, body: &[u8]) {
        self.rows += 1;
        let values = body.first_chunk().map_or(0, |count: &[u8; COUNT_BYTES]| u16::from_be_bytes(*count));
        self.bytes += body.len().saturating_sub(COUNT_BYTES + LENGTH_BYTES * usize::from(values)) as u64;
        self.hash.update(body);
    }

    /// Returns counts and digest, or the server's error, and resets the accumulator.
    pub(crate) fn finish(&mut self) -> Result<Answer, ServerError> {
        let answer = Answer { rows: self.rows, bytes: self.bytes, digest: self.hash.digest() };
        (self.skip, self.rows, self.bytes) = (self.before, 0, 0);
        self.hash.reset();
        self.error.take().map_or(Ok(answer), Err)
    }
}

#[cfg(test)]
mod tests {
    use muster_core::sample::SqlState;

    use super::*;

    fn row(values: &[Option<&str>]) -> Vec<u8> {
        let mut body = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
        body
    }

    fn accumulate(accumulator: &mut ResultAccumulator, rows: &[&[Option<&str>]]) -> Answer {
        for values in rows {
            accumulator.take(Message { tag: DATA_ROW, body: &row(values) });
        }
        accumulator.finish().unwrap()
    }

    #[test]
    fn rows_and_value_bytes_are_counted() {
        let answer = accumulate(
            &mut ResultAccumulator::new(0),
            &[&[Some("one"), None], &[Some(""), Some("two!")], &[]],
        );
        assert_eq!((answer.rows, answer.bytes), (3, 7));
    }

    #[test]
    fn different_results_have_different_digests() {
        let answers: [&[&[Option<&str>]]; 7] = [
            &[],
            &[&[]],
            &[&[Some("ab"), Some("c")]],
            &[&[Some("a"), Some("bc")]],
            &[&[Some("ab")], &[Some("c")]],
            &[&[Some("")]],
            &[&[None]],
        ];
        // One accumulator for all of them, which is reset after each.
        let mut accumulator = ResultAccumulator::new(0);
        let digests: Vec<u64> =
            answers.iter().map(|rows| accumulate(&mut accumulator, rows).digest).collect();
        let mut different = digests.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), answers.len(), "{digests:?}");
        assert_eq!(digests, answers.map(|rows| accumulate(&mut ResultAccumulator::new(0), rows).digest));
    }

    #[test]
    fn statements_before_the_measured_one_are_not_counted() {
        let answer = accumulate(&mut ResultAccumulator::new(0), &[&[Some("x")]]);
        let mut accumulator = ResultAccumulator::new(2);
        for _ in 0..2 {
            for (tag, body) in [
                (DATA_ROW, row(&[Some("UTC")])),
                (COMMAND_COMPLETE, b"SELECT 1\0".to_vec()),
                (COMMAND_COMPLETE, b"SET\0".to_vec()),
                (DATA_ROW, row(&[Some("x")])),
                (COMMAND_COMPLETE, b"SELECT 1\0".to_vec()),
            ] {
                accumulator.take(Message { tag, body: &body });
            }
            assert_eq!(accumulator.finish().unwrap(), answer);
        }
    }

    #[test]
    fn the_first_error_is_returned_and_the_next_execution_starts_without_it() {
        let mut accumulator = ResultAccumulator::new(0);
        accumulator.take(Message { tag: DATA_ROW, body: &row(&[Some("x")]) });
        for body in [&b"C22012\0Mdivision by zero\0\0"[..], b"C25P02\0Maborted\0\0"] {
            accumulator.take(Message { tag: ERROR_RESPONSE, body });
        }
        assert_eq!(accumulator.finish().unwrap_err().sqlstate, SqlState::try_new("22012").unwrap());
        assert_eq!(accumulate(&mut accumulator, &[]), accumulate(&mut ResultAccumulator::new(0), &[]));
    }
}
