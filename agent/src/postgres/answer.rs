//! What a query answered, reduced to counts and a digest, once the clock has stopped.

use muster_common::measurement::Answer;
use xxhash_rust::xxh3::Xxh3;

use super::frontend::{DATA_ROW, ERROR_RESPONSE, Message};
use super::server_error::ServerError;

/// Of the messages of one execution. Kept from one to the next: the hash has a state of some hundred bytes.
pub(super) struct Reduction {
    rows: u64,
    bytes: u64,
    hash: Xxh3,
    error: Option<ServerError>,
}

/// The number of a row's values; and of each value its length, which for NULL is all of it.
const COUNT_BYTES: usize = 2;
const LENGTH_BYTES: usize = 4;

impl Reduction {
    pub(super) fn new() -> Self {
        Self { rows: 0, bytes: 0, hash: Xxh3::new(), error: None }
    }

    pub(super) fn take(&mut self, message: Message<'_>) {
        match message.tag {
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
        (self.rows, self.bytes) = (0, 0);
        self.hash.reset();
        self.error.take().map_or(Ok(answer), Err)
    }
}
