//! The client's side of PostgreSQL's protocol, on a connection that is open and set up: one exchange after the other, each ended by the
//! server's ReadyForQuery. While the clock runs messages are found by their lengths and not looked into. tokio-postgres passes each of
//! them through two tasks and makes a value of every row, which costs more than all else that an agent does (docs/PERFORMANCE.md).

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use muster_common::limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::socket::Stopwatch;
use crate::surroundings::ByteStream;

pub(super) struct Frontend {
    stream: Box<dyn ByteStream>,
    stopwatch: Arc<Stopwatch>,
    outgoing: BytesMut,
    incoming: Vec<u8>,
    /// Where the messages that are whole end in `incoming`.
    whole: usize,
}

/// One message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// Why the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the server ended the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server's answer is not PostgreSQL's: {0}")]
    Protocol(&'static str),
    #[error("a statement that copies (COPY) cannot be measured; take one that returns rows")]
    Copy,
}

pub(super) const DATA_ROW: u8 = b'D';
pub(super) const ERROR_RESPONSE: u8 = b'E';
pub(super) const PARAMETER_DESCRIPTION: u8 = b't';
const READY_FOR_QUERY: u8 = b'Z';
const COPY_RESPONSES: [u8; 3] = *b"GHW";
/// Tag and length.
const HEADER_BYTES: usize = 5;
/// Room for one read, at least. What fits into it needs no second one to see that there is no more.
const READ_BYTES: usize = 16 << 10;
/// The room that is kept from one answer to the next.
const KEPT_BYTES: usize = 1 << 20;

impl Frontend {
    /// On a connection with nothing under way.
    pub(super) fn new(stream: Box<dyn ByteStream>, stopwatch: Arc<Stopwatch>) -> Self {
        let incoming = Vec::with_capacity(READ_BYTES);
        Self { stream, stopwatch, outgoing: BytesMut::new(), incoming, whole: 0 }
    }

    pub(super) fn stopwatch(&self) -> &Stopwatch {
        &self.stopwatch
    }

    /// What the next exchange sends; empty.
    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        self.outgoing.clear();
        &mut self.outgoing
    }

    /// Sends, and reads until the server is ready for more; then hands over each of its messages. When the connection is lost those that
    /// came before are handed over as well: the last one may say why. Of an answer beyond [`limits::ANSWER_BYTES_KEPT`] parts are handed
    /// over before its end.
    ///
    /// # Errors
    /// The connection has to be dropped, as well as after a call that was not waited for.
    pub(super) async fn exchange(&mut self, mut hear: impl FnMut(Message<'_>)) -> Result<(), Lost> {
        let answered = self.until_ready(&mut hear).await;
        self.hand_over(&mut hear);
        self.incoming.shrink_to(KEPT_BYTES);
        answered
    }

    async fn until_ready(&mut self, hear: &mut impl FnMut(Message<'_>)) -> Result<(), Lost> {
        self.stream.write_all(&self.outgoing).await?;
        self.stream.flush().await?;
        while !self.is_ready()? {
            if self.whole > limits::ANSWER_BYTES_KEPT {
                self.hand_over(hear);
            }
            self.incoming.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                return Err(Lost::Closed);
            }
        }
        Ok(())
    }

    /// Goes over the messages that are whole, as far as ReadyForQuery.
    fn is_ready(&mut self) -> Result<bool, Lost> {
        while let Some((tag, end)) = self.next_message()? {
            self.whole = end;
            if tag == READY_FOR_QUERY {
                return Ok(true);
            }
            if COPY_RESPONSES.contains(&tag) {
                return Err(Lost::Copy);
            }
        }
        Ok(false)
    }

    /// Tag and end of the message behind the whole ones; `None` when not all of it is there.
    fn next_message(&self) -> Result<Option<(u8, usize)>, Lost> {
        let Some(&[tag, a, b, c, d]) = self.incoming.get(self.whole..self.whole + HEADER_BYTES) else {
            return Ok(None);
        };
        // It counts itself.
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < HEADER_BYTES - 1 {
            return Err(Lost::Protocol("a message shorter than its own header"));
        }
        let end = self.whole + 1 + length;
        Ok((end <= self.incoming.len()).then_some((tag, end)))
    }

    fn hand_over(&mut self, hear: &mut impl FnMut(Message<'_>)) {
        let mut left = &self.incoming[..self.whole];
        while let [tag, a, b, c, d, ..] = *left {
            let (message, rest) = left.split_at(1 + u32::from_be_bytes([a, b, c, d]) as usize);
            hear(Message { tag, body: &message[HEADER_BYTES..] });
            left = rest;
        }
        self.incoming.drain(..self.whole);
        self.whole = 0;
    }

    /// Whether the connection is as it was after the last exchange. Asks the server nothing and waits for nothing: an end is noticed when
    /// it has reached this machine.
    pub(super) fn is_open(&mut self) -> bool {
        loop {
            match self.stream.read_buf(&mut self.incoming).now_or_never() {
                None => return true,
                Some(Ok(count)) if count > 0 => {}
                Some(_) => return false,
            }
            let mut is_ended = self.is_ready().is_err();
            // A parameter that changed, or a notice: nobody's. An error that nobody asked for is the last word.
            self.hand_over(&mut |message| is_ended |= message.tag == ERROR_RESPONSE);
            if is_ended {
                return false;
            }
        }
    }
}
