//! The client side of PostgreSQL's protocol on an open connection whose session is set up. Performs one exchange after another, each of
//! which ends with the server's ReadyForQuery. Calls block. The clock is read here, immediately before the first bytes are sent and
//! immediately after the last ones arrive. While it runs, messages are only delimited by their lengths and not parsed. tokio-postgres is
//! not used here, because it passes each message through two tasks and creates a value for every row, which costs more than everything else
//! that an agent does (docs/internals/performance.md).

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use muster_core::limits;

use crate::stream::Stream;

pub(crate) struct Frontend {
    stream: Stream,
    /// The time by which an exchange that is not timed must end.
    deadline: Option<Instant>,
    outgoing: BytesMut,
    /// The received bytes, followed by free space.
    incoming: Vec<u8>,
    /// The number of received bytes.
    filled: usize,
    /// The length of the complete messages at the start of `incoming`.
    complete: usize,
}

/// One message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
}

/// The times and the result of one exchange.
pub(crate) struct Exchanged {
    pub(crate) start: Instant,
    /// From `start` until the last bytes arrived.
    pub(crate) time: Duration,
    /// The state of the connection after the exchange.
    pub(crate) connection: Result<(), Lost>,
}

/// The reason why the connection can no longer be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the server did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("invalid message from the server: {0}")]
    Protocol(&'static str),
    #[error("COPY statements cannot be measured; use a statement that returns rows")]
    Copy,
}

pub(crate) const COMMAND_COMPLETE: u8 = b'C';
pub(crate) const DATA_ROW: u8 = b'D';
pub(crate) const ERROR_RESPONSE: u8 = b'E';
pub(crate) const PARAMETER_DESCRIPTION: u8 = b't';
pub(crate) const ROW_DESCRIPTION: u8 = b'T';
const READY_FOR_QUERY: u8 = b'Z';
const COPY_RESPONSES: [u8; 3] = *b"GHW";
/// The size of a message's tag and length.
const HEADER_BYTES: usize = 5;

impl Frontend {
    /// Takes a connection on which no response is pending.
    pub(crate) fn new(stream: Stream) -> Self {
        let incoming = vec![0; limits::ANSWER_READ_BYTES];
        Self { stream, deadline: None, outgoing: BytesMut::new(), incoming, filled: 0, complete: 0 }
    }

    /// Returns the empty buffer for the messages that the next exchange sends.
    pub(crate) fn outgoing(&mut self) -> &mut BytesMut {
        self.outgoing.clear();
        &mut self.outgoing
    }

    /// Sends the messages in `outgoing` and reads until the server is ready for the next query. Then passes each received message to
    /// `handle`. If the connection is lost, the messages received until then are passed too, because the last one may contain the reason.
    /// If a response is longer than [`limits::ANSWER_BYTES_KEPT`], parts are passed before it is complete. After an error the connection
    /// must be dropped.
    pub(crate) fn exchange(&mut self, mut handle: impl FnMut(Message<'_>)) -> Exchanged {
        let start = Instant::now();
        let mut end = start;
        let connection = self.send_and_receive(&mut handle, &mut end);
        if connection.is_err() {
            end = Instant::now();
        }
        self.dispatch(&mut handle);
        self.incoming.truncate(limits::ANSWER_BUFFER_BYTES_KEPT.max(self.filled));
        self.incoming.shrink_to(limits::ANSWER_BUFFER_BYTES_KEPT);
        Exchanged { start, time: end - start, connection }
    }

    /// Like [`exchange`](Self::exchange) without timing. The server must respond within `limit`.
    ///
    /// # Errors
    /// When the connection must be dropped.
    pub(crate) fn exchange_within(
        &mut self,
        limit: Duration,
        handle: impl FnMut(Message<'_>),
    ) -> Result<(), Lost> {
        self.deadline = Some(Instant::now() + limit);
        let answered = self.exchange(handle).connection.map_err(|lost| match lost {
            Lost::Broken(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                Lost::Timeout(limit)
            }
            lost => lost,
        });
        self.deadline = None;
        self.stream.set_timeout(None)?;
        answered
    }

    /// Updates `end` whenever bytes arrive.
    fn send_and_receive(
        &mut self,
        handle: &mut impl FnMut(Message<'_>),
        end: &mut Instant,
    ) -> Result<(), Lost> {
        self.apply_deadline()?;
        self.stream.write_all(&self.outgoing)?;
        self.stream.flush()?;
        while !self.is_ready()? {
            if self.complete > limits::ANSWER_BYTES_KEPT {
                self.dispatch(handle);
            }
            self.apply_deadline()?;
            let count = self.read()?;
            *end = Instant::now();
            if count == 0 {
                return Err(Lost::Closed);
            }
        }
        Ok(())
    }

    /// Sets the socket timeout to the time that remains until the deadline, if there is one.
    fn apply_deadline(&mut self) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_timeout(Some(remaining))
    }

    /// Returns the number of bytes read. 0 is the end of the connection.
    fn read(&mut self) -> io::Result<usize> {
        if self.incoming.len() - self.filled < limits::ANSWER_READ_BYTES {
            // Doubling avoids copying a long response with each part.
            self.incoming.resize(2 * self.incoming.len(), 0);
        }
        loop {
            match self.stream.read(&mut self.incoming[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.inspect(|count| self.filled += count),
            }
        }
    }

    /// Skips the complete messages. Returns true at ReadyForQuery.
    fn is_ready(&mut self) -> Result<bool, Lost> {
        while let Some((tag, end)) = self.next_message()? {
            self.complete = end;
            if tag == READY_FOR_QUERY {
                return Ok(true);
            }
            if COPY_RESPONSES.contains(&tag) {
                return Err(Lost::Copy);
            }
        }
        Ok(false)
    }

    /// Returns the tag and the end of the message after the complete ones. `None` if it has not arrived completely.
    fn next_message(&self) -> Result<Option<(u8, usize)>, Lost> {
        let Some(&[tag, a, b, c, d]) = self.incoming[self.complete..self.filled].first_chunk() else {
            return Ok(None);
        };
        // The length includes its own four bytes.
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < HEADER_BYTES - 1 {
            return Err(Lost::Protocol("a message shorter than its own header"));
        }
        let end = self.complete + 1 + length;
        Ok((end <= self.filled).then_some((tag, end)))
    }

    /// Passes the complete messages to `handle` and removes them from the buffer.
    fn dispatch(&mut self, handle: &mut impl FnMut(Message<'_>)) {
        let mut remaining = &self.incoming[..self.complete];
        while let [tag, a, b, c, d, ..] = *remaining {
            let (message, rest) = remaining.split_at(1 + u32::from_be_bytes([a, b, c, d]) as usize);
            handle(Message { tag, body: &message[HEADER_BYTES..] });
            remaining = rest;
        }
        self.incoming.copy_within(self.complete..self.filled, 0);
        (self.filled, self.complete) = (self.filled - self.complete, 0);
    }

    /// Returns true if the connection is still open. Sends nothing to the server and does not block, so the end of the connection is
    /// noticed only after it has reached this machine.
    pub(crate) fn is_open(&mut self) -> bool {
        if self.stream.is_quiet() {
            return true;
        }
        let is_open = self.stream.set_nonblocking(true).is_ok() && self.drain();
        self.stream.set_nonblocking(false).is_ok() && is_open
    }

    /// Reads the available bytes without blocking. Returns false at the end of the connection.
    fn drain(&mut self) -> bool {
        loop {
            match self.read() {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                _ => return false,
            }
            let mut is_ended = self.is_ready().is_err();
            // A changed parameter or a notice does not affect queries. An error outside a query means that the server closes the
            // connection.
            self.dispatch(&mut |message| is_ended |= message.tag == ERROR_RESPONSE);
            if is_ended {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
