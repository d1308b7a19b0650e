use std::os::unix::net::UnixStream;
use std::thread;

use muster_stats::random::SplitMix64;

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
        assert!(received.iter().map(|(tag, body)| (*tag, &body[..])).eq(expected), "{part}: {received:?}");
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
    assert!(frontend.incoming.capacity() <= limits::ANSWER_BUFFER_BYTES_KEPT);
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
        assert!(found <= bytes.len() && (answered.is_err() || received.last().unwrap().0 == READY_FOR_QUERY));
    }
}
