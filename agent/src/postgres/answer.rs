//! What a query answered, reduced to counts and a digest, once the clock has stopped.

use muster_common::measurement::Answer;
use xxhash_rust::xxh3::Xxh3;

use super::frontend::{COMMAND_COMPLETE, DATA_ROW, ERROR_RESPONSE, Message};
use super::server_error::ServerError;

/// Of the messages of one execution. Kept from one to the next: the hash has a state of some hundred bytes.
pub(super) struct Reduction {
    /// The number of statements before the one that counts, in each execution, and how many of them are still to come.
    before: usize,
    passed_over: usize,
    rows: u64,
    bytes: u64,
    hash: Xxh3,
    error: Option<ServerError>,
}

/// The number of a row's values; and of each value its length, which for NULL is all of it.
const COUNT_BYTES: usize = 2;
const LENGTH_BYTES: usize = 4;

impl Reduction {
    /// The results of the first `before` statements of each execution are not counted.
    pub(super) fn new(before: usize) -> Self {
        Self { before, passed_over: before, rows: 0, bytes: 0, hash: Xxh3::new(), error: None }
    }

    pub(super) fn take(&mut self, message: Message<'_>) {
        match message.tag {
            COMMAND_COMPLETE if self.passed_over > 0 => self.passed_over -= 1,
            DATA_ROW if self.passed_over > 0 => {}
            DATA_ROW => self.take_row(message.body),
            // The first one ended the statement.
            ERROR_RESPONSE if self.error.is_none() => self.error = Some(ServerError::parse(message.body)),
            _ => {}
        }
    }

    /// A row's body says where its values end, so that no two answers look alike: it is hashed as it is.
    fn take_row(&mut self, body: &[u8]) {
        self.rows += 1;
        let values = body.first_chunk().map_or(0, |count: &[u8; COUNT_BYTES]| u16::from_be_bytes(*count));
        self.bytes += body.len().saturating_sub(COUNT_BYTES + LENGTH_BYTES * usize::from(values)) as u64;
        self.hash.update(body);
    }

    /// Counts and digest, or with what the server refused. Begins anew.
    pub(super) fn finish(&mut self) -> Result<Answer, ServerError> {
        let answer = Answer { rows: self.rows, bytes: self.bytes, digest: self.hash.digest() };
        (self.passed_over, self.rows, self.bytes) = (self.before, 0, 0);
        self.hash.reset();
        self.error.take().map_or(Ok(answer), Err)
    }
}

#[cfg(test)]
mod tests {
    use muster_common::measurement::SqlState;

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

    fn reduced(reduction: &mut Reduction, rows: &[&[Option<&str>]]) -> Answer {
        for values in rows {
            reduction.take(Message { tag: DATA_ROW, body: &row(values) });
        }
        reduction.finish().unwrap()
    }

    #[test]
    fn rows_and_the_bytes_of_their_values_are_counted() {
        let answer = reduced(&mut Reduction::new(0), &[&[Some("one"), None], &[Some(""), Some("two!")], &[]]);
        assert_eq!((answer.rows, answer.bytes), (3, 7));
    }

    #[test]
    fn answers_that_differ_in_anything_have_other_digests() {
        let answers: [&[&[Option<&str>]]; 7] = [
            &[],
            &[&[]],
            &[&[Some("ab"), Some("c")]],
            &[&[Some("a"), Some("bc")]],
            &[&[Some("ab")], &[Some("c")]],
            &[&[Some("")]],
            &[&[None]],
        ];
        // One for all of them: each begins anew.
        let mut reduction = Reduction::new(0);
        let digests: Vec<u64> = answers.iter().map(|rows| reduced(&mut reduction, rows).digest).collect();
        let mut different = digests.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), answers.len(), "{digests:?}");
        assert_eq!(digests, answers.map(|rows| reduced(&mut Reduction::new(0), rows).digest));
    }

    #[test]
    fn what_is_set_before_the_statement_does_not_count_in_any_execution() {
        let answer = reduced(&mut Reduction::new(0), &[&[Some("x")]]);
        let mut reduction = Reduction::new(2);
        for _ in 0..2 {
            for (tag, body) in [
                (DATA_ROW, row(&[Some("UTC")])),
                (COMMAND_COMPLETE, b"SELECT 1\0".to_vec()),
                (COMMAND_COMPLETE, b"SET\0".to_vec()),
                (DATA_ROW, row(&[Some("x")])),
                (COMMAND_COMPLETE, b"SELECT 1\0".to_vec()),
            ] {
                reduction.take(Message { tag, body: &body });
            }
            assert_eq!(reduction.finish().unwrap(), answer);
        }
    }

    #[test]
    fn the_first_refusal_is_the_outcome_and_the_next_answer_is_without_it() {
        let mut reduction = Reduction::new(0);
        reduction.take(Message { tag: DATA_ROW, body: &row(&[Some("x")]) });
        for body in [&b"C22012\0Mdivision by zero\0\0"[..], b"C25P02\0Maborted\0\0"] {
            reduction.take(Message { tag: ERROR_RESPONSE, body });
        }
        assert_eq!(reduction.finish().unwrap_err().sqlstate, SqlState::try_new("22012").unwrap());
        assert_eq!(reduced(&mut reduction, &[]), reduced(&mut Reduction::new(0), &[]));
    }
}
