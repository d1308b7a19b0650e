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
        let incoming = vec![0; READ_BYTES];
        Self { stream, stopwatch, outgoing: BytesMut::new(), incoming, filled: 0, whole: 0 }
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
        self.incoming.truncate(KEPT_BYTES.max(self.filled));
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
            if self.read().await? == 0 {
                return Err(Lost::Closed);
            }
        }
        Ok(())
    }

    /// How many bytes came; 0 at the end of the connection. May be dropped at any time.
    async fn read(&mut self) -> io::Result<usize> {
        if self.incoming.len() - self.filled < READ_BYTES {
            // Twice as much, so that a long answer is not copied again with each part.
            self.incoming.resize(2 * self.incoming.len(), 0);
        }
        let count = self.stream.read(&mut self.incoming[self.filled..]).await?;
        self.filled += count;
        Ok(count)
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

    fn hand_over(&mut self, hear: &mut impl FnMut(Message<'_>)) {
        let mut left = &self.incoming[..self.whole];
        while let [tag, a, b, c, d, ..] = *left {
            let (message, rest) = left.split_at(1 + u32::from_be_bytes([a, b, c, d]) as usize);
            hear(Message { tag, body: &message[HEADER_BYTES..] });
            left = rest;
        }
        self.incoming.copy_within(self.whole..self.filled, 0);
        (self.filled, self.whole) = (self.filled - self.whole, 0);
    }

    /// Whether the connection is as it was after the last exchange. Asks the server nothing and waits for nothing: an end is noticed when
    /// it has reached this machine.
    pub(super) fn is_open(&mut self) -> bool {
        loop {
            match self.read().now_or_never() {
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

#[cfg(test)]
mod tests {
    use muster_common::random::SplitMix64;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    type Heard = Vec<(u8, Vec<u8>)>;

    fn connected(room: usize) -> (Frontend, DuplexStream) {
        let (stream, server) = duplex(room);
        (Frontend::new(Box::new(stream), Arc::default()), server)
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    async fn exchanged(frontend: &mut Frontend) -> (Result<(), Lost>, Heard) {
        let mut heard = Vec::new();
        let answered = frontend.exchange(|message| heard.push((message.tag, message.body.to_vec()))).await;
        (answered, heard)
    }

    #[tokio::test]
    async fn messages_are_heard_whole_however_they_come() {
        let answer =
            [message(b'2', b""), message(b'D', b"one"), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")];
        let answer = answer.concat();
        for part in 1..answer.len() {
            let (mut frontend, mut server) = connected(part);
            frontend.outgoing().extend_from_slice(b"ask");
            let reply = async {
                let mut asked = [0; 3];
                server.read_exact(&mut asked).await.unwrap();
                server.write_all(&answer).await.unwrap();
            };
            let ((answered, heard), ()) = tokio::join!(exchanged(&mut frontend), reply);
            answered.unwrap();
            let expected = [(b'2', &b""[..]), (b'D', b"one"), (b'C', b"SELECT 1\0"), (b'Z', b"I")];
            assert!(heard.iter().map(|(tag, body)| (*tag, &body[..])).eq(expected), "{part}: {heard:?}");
            assert!(frontend.is_open(), "{part}");
        }
    }

    #[tokio::test]
    async fn a_long_answer_is_not_kept_whole() {
        let row = message(DATA_ROW, &[7; 1 << 20]);
        let rows = limits::ANSWER_BYTES_KEPT / row.len() + 4;
        let (mut frontend, mut server) = connected(1 << 20);
        let reply = async {
            for _ in 0..rows {
                server.write_all(&row).await.unwrap();
            }
            server.write_all(&message(READY_FOR_QUERY, b"I")).await.unwrap();
        };
        let (mut heard, mut kept) = (0, 0);
        let (answered, ()) = tokio::join!(
            frontend.exchange(|message| {
                heard += 1;
                kept = message.body.len();
            }),
            reply
        );
        answered.unwrap();
        assert_eq!((heard, kept), (rows + 1, 1));
        assert!(frontend.incoming.capacity() <= KEPT_BYTES);
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_heard() {
        let (mut frontend, mut server) = connected(64);
        server.write_all(&message(ERROR_RESPONSE, b"SFATAL\0\0")).await.unwrap();
        drop(server);
        frontend.outgoing();
        let (answered, heard) = exchanged(&mut frontend).await;
        assert!(matches!(answered, Err(Lost::Closed)), "{answered:?}");
        assert_eq!(heard, [(ERROR_RESPONSE, b"SFATAL\0\0".to_vec())]);
    }

    #[tokio::test]
    async fn what_cannot_be_an_answer_ends_the_exchange() {
        for (bytes, expected) in [
            (message(b'G', b""), "a statement that copies"),
            (vec![b'D', 0, 0, 0, 3], "shorter than its own header"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "the server ended the connection"),
        ] {
            let (mut frontend, mut server) = connected(64);
            server.write_all(&bytes).await.unwrap();
            drop(server);
            let (answered, _) = exchanged(&mut frontend).await;
            let said = answered.unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[tokio::test]
    async fn an_end_is_noticed_between_exchanges_and_a_notice_is_none() {
        let (mut frontend, mut server) = connected(64);
        assert!(frontend.is_open(), "nothing came");
        server.write_all(&message(b'S', b"TimeZone\0UTC\0")).await.unwrap();
        let notice = message(b'N', b"SNOTICE\0\0");
        server.write_all(&notice[..3]).await.unwrap();
        assert!(frontend.is_open(), "one and a half messages that nobody waits for");
        server.write_all(&notice[3..]).await.unwrap();
        assert!(frontend.is_open());
        server.write_all(&message(ERROR_RESPONSE, b"SFATAL\0\0")).await.unwrap();
        assert!(!frontend.is_open(), "the last word");

        let (mut frontend, server) = connected(64);
        drop(server);
        assert!(!frontend.is_open(), "an end without a word");
    }

    #[tokio::test]
    async fn random_bytes_are_an_error_or_messages_and_never_a_panic() {
        let mut random = SplitMix64::new(1);
        for _ in 0..2_000 {
            let (mut frontend, mut server) = connected(256);
            // Few different bytes, so that lengths are short now and then.
            let bytes: Vec<u8> =
                (0..random.below(200)).map(|_| b"\0\0\0\x04\x05DEZ"[random.below(8) as usize]).collect();
            server.write_all(&bytes).await.unwrap();
            drop(server);
            let (answered, heard) = exchanged(&mut frontend).await;
            let found: usize = heard.iter().map(|(_, body)| HEADER_BYTES + body.len()).sum();
            assert!(
                found <= bytes.len() && (answered.is_err() || heard.last().unwrap().0 == READY_FOR_QUERY)
            );
        }
    }
}
