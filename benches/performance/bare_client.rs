//! A minimal client as a separate process: this program, called with `bare`. Each connection has a thread and a blocking unix socket, and
//! executes a prepared statement. The service time covers one write and the reads of its result.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use crate::figures::{ascending, quantile};

/// The argument that runs this program as the minimal client.
pub(crate) const WORD: &str = "bare";

/// `bare SOCKET STATEMENT ROWS.csv CONNECTIONS`: each row has a host `w…` and two values. Prints the median in ns and queries per second.
pub(crate) fn main(words: &[String]) {
    let [socket, statement, rows, connections] = words else {
        panic!("usage: {WORD} SOCKET STATEMENT ROWS.csv CONNECTIONS")
    };
    let (connections, statement): (usize, _) =
        (connections.parse().unwrap(), std::fs::read_to_string(statement).unwrap());
    let rows = std::fs::read_to_string(rows).unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().skip(1).map(|line| line.split(',').skip(1).collect()).collect();
    let has_values = statement.contains(":h");
    let mut clients: Vec<Client> = (0..connections)
        .map(|_| Client::connect(socket, &statement.replace(":h", "$1").replace(":m", "$2")))
        .collect();
    let began = Instant::now();
    let times = thread::scope(|scope| {
        let mut threads = Vec::with_capacity(connections);
        for (own, client) in clients.iter_mut().enumerate() {
            let rows = rows.iter().skip(own).step_by(connections);
            threads.push(scope.spawn(move || {
                rows.map(|values| client.execute(if has_values { values } else { &[] })).collect::<Vec<f64>>()
            }));
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<f64>>()
    });
    let queries_per_s = rows.len() as f64 / began.elapsed().as_secs_f64();
    let median = quantile(&ascending(times), 500);
    // Not `println!`, which panics if the reader has exited.
    let _ = writeln!(std::io::stdout(), "{median} {queries_per_s}");
}

struct Client {
    stream: UnixStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Client {
    fn connect(socket: &str, statement: &str) -> Self {
        let mut client = Self {
            stream: UnixStream::connect(socket).unwrap(),
            outgoing: Vec::new(),
            incoming: vec![0; 64 << 10],
        };
        let startup = b"\0\x03\0\0user\0postgres\0database\0postgres\0TimeZone\0UTC\0\0";
        let length = u32::try_from(startup.len() + 4).unwrap().to_be_bytes();
        client.stream.write_all(&[&length[..], startup].concat()).unwrap();
        client.until_ready();
        client.message(b'P', &[b"s\0", statement.as_bytes(), &[0; 3]]);
        client.message(b'S', &[]);
        client.exchange();
        client
    }

    /// Executes the statement once and returns the service time in nanoseconds.
    fn execute(&mut self, values: &[&str]) -> f64 {
        let mut bind = vec![0, b's', 0, 0, 0];
        bind.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            bind.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            bind.extend(value.as_bytes());
        }
        // Results in binary.
        bind.extend([0, 1, 0, 1]);
        self.message(b'B', &[&bind]);
        self.message(b'E', &[&[0; 5]]);
        self.message(b'S', &[]);
        self.exchange()
    }

    fn message(&mut self, kind: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.outgoing.push(kind);
        self.outgoing.extend(u32::try_from(length + 4).unwrap().to_be_bytes());
        parts.iter().for_each(|part| self.outgoing.extend_from_slice(part));
    }

    fn exchange(&mut self) -> f64 {
        let start = Instant::now();
        self.stream.write_all(&self.outgoing).unwrap();
        self.until_ready();
        let time = start.elapsed().as_nanos() as f64;
        self.outgoing.clear();
        time
    }

    fn until_ready(&mut self) {
        let (mut filled, mut at) = (0, 0);
        loop {
            if filled == self.incoming.len() {
                self.incoming.resize(2 * filled, 0);
            }
            let count = self.stream.read(&mut self.incoming[filled..]).unwrap();
            assert!(count > 0, "the server closed the connection");
            filled += count;
            while let Some(&[kind, a, b, c, d]) = self.incoming[at..filled].first_chunk() {
                assert!(kind != b'E', "{}", String::from_utf8_lossy(&self.incoming[at..filled]));
                let end = at + 1 + u32::from_be_bytes([a, b, c, d]) as usize;
                if end > filled {
                    break;
                }
                at = end;
                if kind == b'Z' {
                    return;
                }
            }
        }
    }
}
