//! The client's side of PostgreSQL's protocol, on a connection that is open and set up: one exchange after the other, each ended by the
//! server's ReadyForQuery. Blocks. The clock is read here: right before the first bytes go out, and right after the last ones came in.
//! While it runs messages are found by their lengths and not looked into. tokio-postgres passes each message through two tasks and makes a
//! value of every row, which costs more than all else that an agent does (docs/PERFORMANCE.md).

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use muster_common::limits;

use super::stream::Stream;

pub(super) struct Frontend {
    stream: Stream,
    /// Until when an exchange that is not timed has to end.
    deadline: Option<Instant>,
    outgoing: BytesMut,
    /// What came, and behind it room for more.
    incoming: Vec<u8>,
    /// Where that room begins.
    filled: usize,
    /// Where the messages that are whole end.
    whole: usize,
}

/// One message of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) body: &'a [u8],
}

/// One exchange, as the clock saw it.
pub(super) struct Exchanged {
    pub(super) start: Instant,
    /// Until the last bytes came in.
    pub(super) time: Duration,
    /// Whether the connection is still there.
    pub(super) connection: Result<(), Lost>,
}

/// Why the connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the server did not answer within {0:?}")]
    Silent(Duration),
    #[error("the server ended the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the server's answer is not PostgreSQL's: {0}")]
    Protocol(&'static str),
    #[error("a statement that copies (COPY) cannot be measured; take one that returns rows")]
    Copy,
}

pub(super) const COMMAND_COMPLETE: u8 = b'C';
pub(super) const DATA_ROW: u8 = b'D';
pub(super) const ERROR_RESPONSE: u8 = b'E';
pub(super) const PARAMETER_DESCRIPTION: u8 = b't';
pub(super) const ROW_DESCRIPTION: u8 = b'T';
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
    pub(super) fn new(stream: Stream) -> Self {
        let incoming = vec![0; READ_BYTES];
        Self { stream, deadline: None, outgoing: BytesMut::new(), incoming, filled: 0, whole: 0 }
    }

    /// What the next exchange sends; empty.
    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        self.outgoing.clear();
        &mut self.outgoing
    }

    /// Sends, and reads until the server is ready for more; then passes each of its messages to `handle`. When the connection is lost the
    /// messages that came before are passed as well: the last one may say why. Of an answer beyond [`limits::ANSWER_BYTES_KEPT`] parts are
    /// passed before its end. After an error the connection has to be dropped.
    pub(super) fn exchange(&mut self, mut handle: impl FnMut(Message<'_>)) -> Exchanged {
        let start = Instant::now();
        let mut end = start;
        let connection = self.until_ready(&mut handle, &mut end);
        if connection.is_err() {
            end = Instant::now();
        }
        self.hand_over(&mut handle);
        self.incoming.truncate(KEPT_BYTES.max(self.filled));
        self.incoming.shrink_to(KEPT_BYTES);
        Exchanged { start, time: end - start, connection }
    }

    /// The same where nothing is timed, and the server has `limit` for its answer.
    ///
    /// # Errors
    /// The connection has to be dropped.
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
                Lost::Silent(limit)
            }
            lost => lost,
        });
        self.deadline = None;
        self.stream.set_timeout(None)?;
        answered
    }

    /// Sets `end` whenever bytes have come.
    fn until_ready(&mut self, handle: &mut impl FnMut(Message<'_>), end: &mut Instant) -> Result<(), Lost> {
        self.bound()?;
        self.stream.write_all(&self.outgoing)?;
        self.stream.flush()?;
        while !self.is_ready()? {
            if self.whole > limits::ANSWER_BYTES_KEPT {
                self.hand_over(handle);
            }
            self.bound()?;
            let count = self.read()?;
            *end = Instant::now();
            if count == 0 {
                return Err(Lost::Closed);
            }
        }
        Ok(())
    }

    /// What follows ends by the deadline, if there is one.
    fn bound(&mut self) -> io::Result<()> {
        let Some(deadline) = self.deadline else { return Ok(()) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_timeout(Some(left))
    }

    /// How many bytes came; 0 at the end of the connection.
    fn read(&mut self) -> io::Result<usize> {
        if self.incoming.len() - self.filled < READ_BYTES {
            // Twice as much, so that a long answer is not copied again with each part.
            self.incoming.resize(2 * self.incoming.len(), 0);
        }
        loop {
            match self.stream.read(&mut self.incoming[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.inspect(|count| self.filled += count),
            }
        }
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
        let Some(&[tag, a, b, c, d]) = self.incoming[self.whole..self.filled].first_chunk() else {
            return Ok(None);
        };
        // It counts itself.
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < HEADER_BYTES - 1 {
            return Err(Lost::Protocol("a message shorter than its own header"));
        }
        let end = self.whole + 1 + length;
        Ok((end <= self.filled).then_some((tag, end)))
    }

    fn hand_over(&mut self, handle: &mut impl FnMut(Message<'_>)) {
        let mut left = &self.incoming[..self.whole];
        while let [tag, a, b, c, d, ..] = *left {
            let (message, rest) = left.split_at(1 + u32::from_be_bytes([a, b, c, d]) as usize);
            handle(Message { tag, body: &message[HEADER_BYTES..] });
            left = rest;
        }
        self.incoming.copy_within(self.whole..self.filled, 0);
        (self.filled, self.whole) = (self.filled - self.whole, 0);
    }

    /// Whether the connection is as it was after the last exchange. Asks the server nothing and does not block: an end is noticed when it has
    /// reached this machine.
    pub(super) fn is_open(&mut self) -> bool {
        if self.stream.is_quiet() {
            return true;
        }
        let is_open = self.stream.set_nonblocking(true).is_ok() && self.drain();
        self.stream.set_nonblocking(false).is_ok() && is_open
    }

    /// Reads what has come, without blocking. False when that is the end of the connection.
    fn drain(&mut self) -> bool {
        loop {
            match self.read() {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                _ => return false,
            }
            let mut is_ended = self.is_ready().is_err();
            // A parameter that changed, or a notice, concerns no query. An error outside a query is the end.
            self.hand_over(&mut |message| is_ended |= message.tag == ERROR_RESPONSE);
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
    fn messages_are_passed_whole_however_they_come() {
        let answer =
            [message(b'2', b""), message(b'D', b"one"), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")];
        let answer = answer.concat();
        for part in 1..answer.len() {
            let (mut frontend, mut server) = connected();
            frontend.outgoing().extend_from_slice(b"ask");
            let answer = answer.clone();
            let reply = thread::spawn(move || {
                let mut asked = [0; 3];
                server.read_exact(&mut asked).unwrap();
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
    fn the_time_is_from_the_first_bytes_out_to_the_last_bytes_in() {
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
            "what is done with messages does not count: {:?} of {after:?}",
            exchanged.time
        );
    }

    #[test]
    fn a_long_answer_is_not_kept_whole() {
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
        let (mut count, mut kept) = (0, 0);
        let exchanged = frontend.exchange(|message| {
            count += 1;
            kept = message.body.len();
        });
        exchanged.connection.unwrap();
        let _server = reply.join().unwrap();
        assert_eq!((count, kept), (rows + 1, 1));
        assert!(frontend.incoming.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn what_came_before_the_end_is_passed() {
        let (mut frontend, mut server) = connected();
        server.write_all(&message(ERROR_RESPONSE, b"SFATAL\0\0")).unwrap();
        drop(server);
        frontend.outgoing();
        let (answered, received) = exchanged(&mut frontend);
        assert!(matches!(answered, Err(Lost::Closed)), "{answered:?}");
        assert_eq!(received, [(ERROR_RESPONSE, b"SFATAL\0\0".to_vec())]);
    }

    #[test]
    fn what_cannot_be_an_answer_ends_the_exchange() {
        for (bytes, expected) in [
            (message(b'G', b""), "a statement that copies"),
            (vec![b'D', 0, 0, 0, 3], "shorter than its own header"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "the server ended the connection"),
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
    fn a_server_that_does_not_answer_is_not_waited_for_beyond_the_limit() {
        let (mut frontend, _server) = connected();
        frontend.outgoing();
        let limit = Duration::from_millis(20);
        let answered = frontend.exchange_within(limit, |_| ());
        assert!(matches!(answered, Err(Lost::Silent(_))), "{answered:?}");
    }

    #[test]
    fn a_server_that_says_a_little_again_and_again_is_not_waited_for_either() {
        let (mut frontend, mut server) = connected();
        frontend.outgoing();
        let trickle = thread::spawn(move || {
            // Until no one reads.
            while server.write_all(&message(b'N', b"")).is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let answered = frontend.exchange_within(Duration::from_millis(50), |_| ());
        assert!(matches!(answered, Err(Lost::Silent(_))), "{answered:?}");
        drop(frontend);
        trickle.join().unwrap();
    }

    #[test]
    fn a_cut_connection_ends_the_exchange() {
        let (mut frontend, _server) = connected();
        frontend.outgoing();
        let cutter = frontend.stream.cutter().unwrap();
        let cut = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            cutter.cut();
        });
        let (answered, _) = exchanged(&mut frontend);
        assert!(matches!(answered, Err(Lost::Closed)), "{answered:?}");
        cut.join().unwrap();
    }

    #[test]
    fn an_end_is_noticed_between_exchanges_and_a_notice_is_none() {
        let (mut frontend, mut server) = connected();
        assert!(frontend.is_open(), "nothing came");
        server.write_all(&message(b'S', b"TimeZone\0UTC\0")).unwrap();
        let notice = message(b'N', b"SNOTICE\0\0");
        server.write_all(&notice[..3]).unwrap();
        assert!(frontend.is_open(), "one and a half messages that no query waits for");
        server.write_all(&notice[3..]).unwrap();
        assert!(frontend.is_open());
        server.write_all(&message(ERROR_RESPONSE, b"SFATAL\0\0")).unwrap();
        assert!(!frontend.is_open(), "the end, with a reason");

        let (mut frontend, server) = connected();
        drop(server);
        assert!(!frontend.is_open(), "the end without a reason");
    }

    #[test]
    fn random_bytes_are_an_error_or_messages_and_never_a_panic() {
        let mut random = SplitMix64::new(1);
        for _ in 0..2_000 {
            let (mut frontend, mut server) = connected();
            // Few different bytes, so that lengths are short now and then.
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
