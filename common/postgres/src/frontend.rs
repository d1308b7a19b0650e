//! The client side of PostgreSQL's protocol on an open connection whose session is set up. Performs one exchange after another, each of
//! which ends with the server's ReadyForQuery. Calls block. The clock is read here, immediately before the first bytes are sent and
//! immediately after the last ones arrive. While it runs, messages are only delimited by their lengths and not parsed. tokio-postgres is
//! not used here, because it passes each message through two tasks and creates a value for every row, which costs more than everything else
//! that an agent does (docs/internals/performance.md).

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use muster_common::limits;

use super::stream::Stream;

pub(super) struct Frontend {
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
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// The times and the result of one exchange.
pub(super) struct Exchanged {
    pub(super) start: Instant,
    /// From `start` until the last bytes arrived.
    pub(super) time: Duration,
    /// The state of the connection after the exchange.
    pub(super) connection: Result<(), Lost>,
}

/// The reason why the connection can no longer be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
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

pub(super) const COMMAND_COMPLETE: u8 = b'C';
pub(super) const DATA_ROW: u8 = b'D';
pub(super) const ERROR_RESPONSE: u8 = b'E';
pub(super) const PARAMETER_DESCRIPTION: u8 = b't';
pub(super) const ROW_DESCRIPTION: u8 = b'T';
const READY_FOR_QUERY: u8 = b'Z';
const COPY_RESPONSES: [u8; 3] = *b"GHW";
/// The size of a message's tag and length.
const HEADER_BYTES: usize = 5;
/// The minimum free space for one read. A response that fits into it is received with a single read.
const READ_BYTES: usize = 16 << 10;
/// The buffer capacity that is kept from one response to the next.
const RETAINED_BYTES: usize = 1 << 20;

impl Frontend {
    /// Takes a connection on which no response is pending.
    pub(super) fn new(stream: Stream) -> Self {
        let incoming = vec![0; READ_BYTES];
        Self { stream, deadline: None, outgoing: BytesMut::new(), incoming, filled: 0, complete: 0 }
    }

    /// Returns the empty buffer for the messages that the next exchange sends.
    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        self.outgoing.clear();
        &mut self.outgoing
    }

    /// Sends the messages in `outgoing` and reads until the server is ready for the next query. Then passes each received message to
    /// `handle`. If the connection is lost, the messages received until then are passed too, because the last one may contain the reason.
    /// If a response is longer than [`limits::ANSWER_BYTES_KEPT`], parts are passed before it is complete. After an error the connection
    /// must be dropped.
    pub(super) fn exchange(&mut self, mut handle: impl FnMut(Message<'_>)) -> Exchanged {
        let start = Instant::now();
        let mut end = start;
        let connection = self.send_and_receive(&mut handle, &mut end);
        if connection.is_err() {
            end = Instant::now();
        }
        self.dispatch(&mut handle);
        self.incoming.truncate(RETAINED_BYTES.max(self.filled));
        self.incoming.shrink_to(RETAINED_BYTES);
        Exchanged { start, time: end - start, connection }
    }

    /// Like [`exchange`](Self::exchange) without timing. The server must respond within `limit`.
    ///
    /// # Errors
    /// When the connection must be dropped.
    pub(super) fn exchange_within(
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
        if self.incoming.len() - self.filled < READ_BYTES {
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
    pub(super) fn is_open(&mut self) -> bool {
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
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use muster_common::random::SplitMix64;

    use super::*;

    type Received = Vec<(u8, Vec<u8>)>;

    fn connected() -> (Frontend, UnixStream) {
        let (stream, server) = UnixStream::pair().unwrap();
        (Frontend::new(Stream::Unix(stream)), server)
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn exchanged(frontend: &mut Frontend) -> (Result<(), Lost>, Received) {
        let mut received = Vec::new();
        let exchanged = frontend.exchange(|message| received.push((message.tag, message.body.to_vec())));
        (exchanged.connection, received)
    }

    #[test]
    fn messages_are_passed_complete_however_they_are_split() {
        let answer =
            [message(b'2', b""), message(b'D', b"one"), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")];
        let answer = answer.concat();
        for part in 1..answer.len() {
            let (mut frontend, mut server) = connected();
            frontend.outgoing().extend_from_slice(b"ask");
            let answer = answer.clone();
            let reply = thread::spawn(move || {
                let mut request = [0; 3];
                server.read_exact(&mut request).unwrap();
                for bytes in answer.chunks(part) {
                    server.write_all(bytes).unwrap();
                    thread::yield_now();
                }
                server
            });
            let (answered, received) = exchanged(&mut frontend);
            answered.unwrap();
            let expected = [(b'2', &b""[..]), (b'D', b"one"), (b'C', b"SELECT 1\0"), (b'Z', b"I")];
            assert!(
                received.iter().map(|(tag, body)| (*tag, &body[..])).eq(expected),
                "{part}: {received:?}"
            );
            let _server = reply.join().unwrap();
            assert!(frontend.is_open(), "{part}");
        }
    }

    #[test]
    fn the_time_is_measured_from_the_first_byte_sent_to_the_last_byte_received() {
        const PAUSE: Duration = Duration::from_millis(20);
        let (mut frontend, mut server) = connected();
        frontend.outgoing().extend_from_slice(b"ask");
        let before = Instant::now();
        let reply = thread::spawn(move || {
            for part in [&b"Z\0\0"[..], b"\0\x05I"] {
                thread::sleep(PAUSE);
                server.write_all(part).unwrap();
            }
            server
        });
        let exchanged = frontend.exchange(|_| thread::sleep(PAUSE));
        let after = before.elapsed();
        exchanged.connection.unwrap();
        let _server = reply.join().unwrap();
        assert!(exchanged.start >= before);
        assert!(
            exchanged.time >= 2 * PAUSE && exchanged.time <= after - PAUSE,
            "handling messages is not part of the time: {:?} of {after:?}",
            exchanged.time
        );
    }

    #[test]
    fn a_long_response_is_not_buffered_completely() {
        let row = message(DATA_ROW, &[7; 1 << 20]);
        let rows = limits::ANSWER_BYTES_KEPT / row.len() + 4;
        let (mut frontend, mut server) = connected();
        let reply = thread::spawn(move || {
            for _ in 0..rows {
                server.write_all(&row).unwrap();
            }
            server.write_all(&message(READY_FOR_QUERY, b"I")).unwrap();
            server
        });
        let (mut count, mut last) = (0, 0);
        let exchanged = frontend.exchange(|message| {
            count += 1;
            last = message.body.len();
        });
        exchanged.connection.unwrap();
        let _server = reply.join().unwrap();
        assert_eq!((count, last), (rows + 1, 1));
        assert!(frontend.incoming.capacity() <= RETAINED_BYTES);
    }

    #[test]
    fn messages_before_the_end_of_the_connection_are_passed() {
        let (mut frontend, mut server) = connected();
        server.write_all(&message(ERROR_RESPONSE, b"SFATAL\0\0")).unwrap();
        drop(server);
        frontend.outgoing();
        let (answered, received) = exchanged(&mut frontend);
        assert!(matches!(answered, Err(Lost::Closed)), "{answered:?}");
        assert_eq!(received, [(ERROR_RESPONSE, b"SFATAL\0\0".to_vec())]);
    }

    #[test]
    fn an_invalid_response_ends_the_exchange() {
        for (bytes, expected) in [
            (message(b'G', b""), "COPY statements"),
            (vec![b'D', 0, 0, 0, 3], "shorter than its own header"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "the server closed the connection"),
        ] {
            let (mut frontend, mut server) = connected();
            server.write_all(&bytes).unwrap();
            drop(server);
            let (answered, _) = exchanged(&mut frontend);
            let error = answered.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_server_that_does_not_respond_causes_a_timeout() {
        let (mut frontend, _server) = connected();
        frontend.outgoing();
        let limit = Duration::from_millis(20);
        let answered = frontend.exchange_within(limit, |_| ());
        assert!(matches!(answered, Err(Lost::Timeout(_))), "{answered:?}");
    }

    #[test]
    fn a_server_that_never_completes_its_response_causes_a_timeout() {
        let (mut frontend, mut server) = connected();
        frontend.outgoing();
        let trickle = thread::spawn(move || {
            // Ends when the client has closed the connection.
            while server.write_all(&message(b'N', b"")).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let answered = frontend.exchange_within(Duration::from_millis(50), |_| ());
        assert!(matches!(answered, Err(Lost::Timeout(_))), "{answered:?}");
        drop(frontend);
        trickle.join().unwrap();
    }

    #[test]
    fn shutting_down_the_connection_ends_the_exchange() {
        let (mut frontend, _server) = connected();
        frontend.outgoing();
        let handle = frontend.stream.shutdown_handle().unwrap();
        let shutdown = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            handle.shut_down();
        });
        let (answered, _) = exchanged(&mut frontend);
        assert!(matches!(answered, Err(Lost::Closed)), "{answered:?}");
        shutdown.join().unwrap();
    }

    #[test]
    fn the_end_of_the_connection_is_detected_between_exchanges_and_notices_are_ignored() {
        let (mut frontend, mut server) = connected();
        assert!(frontend.is_open(), "nothing arrived");
        server.write_all(&message(b'S', b"TimeZone\0UTC\0")).unwrap();
        let notice = message(b'N', b"SNOTICE\0\0");
        server.write_all(&notice[..3]).unwrap();
        assert!(frontend.is_open(), "one and a half messages outside a query");
        server.write_all(&notice[3..]).unwrap();
        assert!(frontend.is_open());
        server.write_all(&message(ERROR_RESPONSE, b"SFATAL\0\0")).unwrap();
        assert!(!frontend.is_open(), "closed with an error");

        let (mut frontend, server) = connected();
        drop(server);
        assert!(!frontend.is_open(), "closed without an error");
    }

    #[test]
    fn random_bytes_never_cause_a_panic() {
        let mut random = SplitMix64::new(1);
        for _ in 0..2_000 {
            let (mut frontend, mut server) = connected();
            // A small set of byte values makes valid lengths likely.
            let bytes: Vec<u8> =
                (0..random.below(200)).map(|_| b"\0\0\0\x04\x05DEZ"[random.below(8) as usize]).collect();
            server.write_all(&bytes).unwrap();
            drop(server);
            let (answered, received) = exchanged(&mut frontend);
            let found: usize = received.iter().map(|(_, body)| HEADER_BYTES + body.len()).sum();
            assert!(
                found <= bytes.len() && (answered.is_err() || received.last().unwrap().0 == READY_FOR_QUERY)
            );
        }
    }
}
