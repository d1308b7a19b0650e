//! A minimal client: blocking sockets, one thread per connection, and nothing but the bytes of the protocol. It shows the best that any
//! client can measure on this machine: its times exceed the fake server's own clock only by the round trip.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use muster_testing::fake_postgres::QUERY;

use super::figures::ms;

/// Service times in milliseconds of rows `(host, script)`. The hosts are divided among the connections; each runs its rows in order.
pub(crate) fn measure(url: &str, rows: &[(usize, String)], connections: usize) -> Vec<f64> {
    let address =
        url.split('@').nth(1).and_then(|rest| rest.strip_suffix("/db")).expect("the fake server's URL");
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|own| {
                scope.spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    let rows = rows.iter().filter(|(host, _)| host % connections == own);
                    rows.map(|(host, script)| client.execute(&format!("h{host}"), script).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

struct Client {
    stream: TcpStream,
    inbound: Vec<u8>,
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, inbound: Vec::new() };
        let startup = [&196_608_u32.to_be_bytes()[..], b"user\0u\0database\0db\0\0"].concat();
        client.stream.write_all(&[&length(&startup)[..], &startup].concat())?;
        client.until_ready()?;
        let sql = QUERY.replace(":hostname", "$1").replace(":script", "$2");
        let parse = message(b'P', &[b"s\0", sql.as_bytes(), &[0; 3]]);
        client.stream.write_all(&[parse, message(b'D', &[b"Ss\0"]), message(b'S', &[])].concat())?;
        client.until_ready()?;
        Ok(client)
    }

    fn execute(&mut self, host: &str, script: &str) -> io::Result<f64> {
        let value =
            |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
        // No portal, statement `s`, parameters as text, results in binary.
        let bind = message(b'B', &[b"\0s\0", &[0, 0, 0, 2], &value(host), &value(script), &[0, 1, 0, 1]]);
        let outgoing = [bind, message(b'E', &[&[0; 5]]), message(b'S', &[])].concat();
        let start = Instant::now();
        self.stream.write_all(&outgoing)?;
        self.until_ready()?;
        Ok(ms(start.elapsed()))
    }

    fn until_ready(&mut self) -> io::Result<()> {
        loop {
            while let Some(end) = self.message_end() {
                let is_ready = self.inbound[0] == b'Z';
                self.inbound.drain(..end);
                if is_ready {
                    return Ok(());
                }
            }
            let mut chunk = [0; 8192];
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.inbound.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// The end of the first message, if it has been received completely.
    fn message_end(&self) -> Option<usize> {
        let length = self.inbound.get(1..5)?.try_into().ok()?;
        let end = 1 + usize::try_from(u32::from_be_bytes(length)).ok()?;
        (self.inbound.len() >= end).then_some(end)
    }
}

fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&[kind][..], &length(&body), &body].concat()
}

/// The length field of a message, which includes itself.
fn length(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).expect("messages are short").to_be_bytes()
}
