//! HTTP/2 frames as an attacker sends them, regardless of the other side's answers.

use std::net::SocketAddr;
use std::time::Duration;

use muster_proto::control::FromAgent;
use muster_proto::v1;
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::security::strangers::encrypted;
use muster_testing::hello::hello;

pub(crate) const CONTROL: &str = "/muster.v1.Muster/Control";
pub(crate) const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub(crate) const PAGE: &str = "/metrics";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// More bytes than settings and their acknowledgement.
const WELCOME_BYTES_MIN: usize = 150;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens a connection, with TLS if the port requires it.
pub(crate) async fn connect(address: SocketAddr, is_encrypted: bool) -> std::io::Result<Box<dyn Stream>> {
    Ok(match is_encrypted {
        true => Box::new(encrypted(address).await?),
        false => Box::new(TcpStream::connect(address).await?),
    })
}

/// Opens a connection and starts HTTP/2 on it.
pub(crate) async fn begin(address: SocketAddr, is_encrypted: bool) -> std::io::Result<Box<dyn Stream>> {
    let mut stream = connect(address, is_encrypted).await?;
    stream
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat())
        .await?;
    Ok(stream)
}

/// Opens a connection on which an agent has joined, so that the limits of connections that are not admitted do not apply.
pub(crate) async fn join(address: SocketAddr) -> std::io::Result<Box<dyn Stream>> {
    let hello = v1::AgentControl::from(FromAgent::Hello(hello())).encode_to_vec();
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let message = [&[0][..], &length, &hello].concat();
    let mut stream = begin(address, false).await?;
    let headers = frame(HEADERS, END_HEADERS, 1, &request(CONTROL));
    stream.write_all(&[headers, frame(DATA, 0, 1, &message)].concat()).await?;
    // Waits for the answer: the settings of both sides and a Welcome.
    let mut answered = 0;
    let mut block = [0; 1 << 10];
    while answered < WELCOME_BYTES_MIN {
        match stream.read(&mut block).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => answered += count,
        }
    }
    Ok(stream)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An HPACK header that is not added to the decoder's table.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [name, &[u8::try_from(value.len()).unwrap()], value].concat()
}

/// The headers of a gRPC call, or of a request for the metrics page.
fn request(path: &str) -> Vec<u8> {
    let method = if path == PAGE { 0x82 } else { 0x83 };
    [
        vec![method, 0x86],
        literal(&[0x04], path.as_bytes()),
        literal(&[0x01], b"x"),
        literal(&[0x0f, 0x10], b"application/grpc"),
        [&[0x00], literal(&[2, b't', b'e'], b"trailers").as_slice()].concat(),
    ]
    .concat()
}

/// The blocks of frames that an attacker sends, one after the other.
pub(crate) type Blocks = Box<dyn FnMut() -> Vec<u8> + Send>;

const STREAMS_PER_BLOCK: u32 = 100;
/// The first stream after that of an agent's Hello.
const FIRST_STREAM: u32 = 3;

fn on_each_stream(mut frames: impl FnMut(u32) -> Vec<u8> + Send + 'static) -> Blocks {
    let mut next = FIRST_STREAM;
    Box::new(move || {
        let block = (0..STREAMS_PER_BLOCK).flat_map(|number| frames(next + 2 * number)).collect();
        next += 2 * STREAMS_PER_BLOCK;
        block
    })
}

fn repeated(block: Vec<u8>) -> Blocks {
    Box::new(move || block.clone())
}

/// Calls that never end.
pub(crate) fn calls(path: &'static str) -> Blocks {
    let headers = request(path);
    on_each_stream(move |stream| frame(HEADERS, END_HEADERS, stream, &headers))
}

/// Calls with an empty message.
pub(crate) fn whole_calls(path: &'static str) -> Blocks {
    let headers = request(path);
    on_each_stream(move |stream| {
        [frame(HEADERS, END_HEADERS, stream, &headers), frame(DATA, END_STREAM, stream, &[0; 5])].concat()
    })
}

/// Calls that are reset immediately.
pub(crate) fn resets(path: &'static str) -> Blocks {
    let headers = request(path);
    on_each_stream(move |stream| {
        [frame(HEADERS, END_HEADERS, stream, &headers), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    })
}

/// The first bytes of messages of 8 MiB, on as many streams as are allowed.
pub(crate) fn large_messages(path: &'static str) -> Blocks {
    let headers = request(path);
    let mut has_begun = false;
    Box::new(move || {
        let part = [1; 16_000];
        let streams = [0, 2, 4, 6].map(|number| FIRST_STREAM + number);
        if has_begun {
            return streams.iter().flat_map(|stream| frame(DATA, 0, *stream, &part)).collect();
        }
        has_begun = true;
        let length = [0, 0, 0x7f, 0xff, 0xff];
        let begin = |stream: &u32| {
            [frame(HEADERS, END_HEADERS, *stream, &headers), frame(DATA, 0, *stream, &length)].concat()
        };
        streams.iter().flat_map(begin).collect()
    })
}

/// Headers without an end.
pub(crate) fn endless_headers(path: &'static str) -> Blocks {
    let mut first = Some(frame(HEADERS, 0, FIRST_STREAM, &request(path)));
    let header = [&[0x00, 1, b'a', 100][..], &[b'a'; 100]].concat();
    let more = frame(CONTINUATION, 0, FIRST_STREAM, &header.repeat(100));
    Box::new(move || first.take().unwrap_or_else(|| more.clone()))
}

/// Returns true if a request for the metrics page with about `kilobytes` KB of headers is served.
pub(crate) async fn is_served(address: SocketAddr, kilobytes: usize) -> std::io::Result<bool> {
    /// HPACK's number for `:status: 200`.
    const OK: u8 = 0x88;
    // 1,000 in HPACK's integer encoding with a prefix of seven bits.
    let remembered = [&[0x40, 1, b'a', 0x7f, 0xe9, 0x06][..], &[b'a'; 1_000]].concat();
    let headers = [request(PAGE), remembered, vec![0xbe; kilobytes - 1]].concat();
    let mut stream = begin(address, false).await?;
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, FIRST_STREAM, &headers)).await?;
    let payload = next_frame(&mut stream, HEADERS).await?;
    Ok(payload.first() == Some(&OK))
}

/// Starts this many calls that never end; returns true if the connection ends with GOAWAY.
pub(crate) async fn goes_away(address: SocketAddr, calls: u32) -> std::io::Result<bool> {
    const GOAWAY: u8 = 7;
    let headers = request(CONTROL);
    let mut stream = begin(address, false).await?;
    let all = (0..calls).flat_map(|call| frame(HEADERS, END_HEADERS, FIRST_STREAM + 2 * call, &headers));
    stream.write_all(&all.collect::<Vec<u8>>()).await?;
    let ended = next_frame(&mut stream, GOAWAY);
    Ok(timeout(Duration::from_secs(3), ended).await.is_ok_and(|frame| frame.is_ok()))
}

/// Answers pings and sends nothing else, until the other side closes the connection.
pub(crate) async fn wait_until_closed(stream: &mut Box<dyn Stream>) {
    const ACK: u8 = 1;
    while let Ok(payload) = next_frame(stream, PING).await {
        // Answering an acknowledgement does no harm.
        if stream.write_all(&frame(PING, ACK, 0, &payload)).await.is_err() {
            return;
        }
    }
}

/// Returns the payload of the next frame of this kind.
async fn next_frame(stream: &mut Box<dyn Stream>, kind: u8) -> std::io::Result<Vec<u8>> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if head[3] == kind {
            return Ok(payload);
        }
    }
}

/// Few bytes that decode to many: a header of 3,900 bytes that is added to the decoder's table, and then its index, thousands of times.
pub(crate) fn compressed_headers(path: &'static str) -> Blocks {
    let headers = request(path);
    // 3,900 in HPACK's integer encoding with a prefix of seven bits.
    let remembered = [&[0x40, 1, b'a', 0x7f, 0xbd, 0x1d][..], &[b'a'; 3_900]].concat();
    let bomb = [&headers[..], &remembered, &[0xbe; 8_000]].concat();
    on_each_stream(move |stream| frame(HEADERS, END_HEADERS, stream, &bomb))
}

pub(crate) fn pings() -> Blocks {
    repeated(frame(PING, 0, 0, &[0; 8]).repeat(1_000))
}

pub(crate) fn settings() -> Blocks {
    repeated(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(1_000))
}

pub(crate) fn window_updates() -> Blocks {
    repeated(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(1_000))
}

/// An HTTP/1 request whose headers never end.
pub(crate) fn endless_request() -> Blocks {
    let mut first = Some(b"GET /metrics HTTP/1.1\r\n".to_vec());
    Box::new(move || {
        first.take().unwrap_or_else(|| b"a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100))
    })
}

/// HTTP/1 requests without a pause.
pub(crate) fn requests() -> Blocks {
    repeated(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100))
}
