//! Finds the user whose process is at the other end of a TCP connection within this machine, from the kernel's table of sockets. A loopback
//! address alone does not identify the user: every user of the machine can connect to it and listen on it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};

/// The sockets of this process's network namespace.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The kernel does not produce the table atomically: an entry can be missed when other sockets are opened or closed during the read.
const ATTEMPTS: u32 = 3;

/// The kernel shows this id for every user that is unknown in this process's user namespace, so it can also be another user.
const OVERFLOW_UID: u32 = 65_534;

/// Returns true if the process at `peer`, connected to `local` of this process, runs as this process's effective user, and false if that is
/// unknown. Must be called after the peer has sent something: before its process has accepted the connection, the socket has no owner and
/// is shown as root's.
pub fn is_same_user(peer: SocketAddr, local: SocketAddr) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let owner = (0..ATTEMPTS).find_map(|_| TABLES.iter().find_map(|table| owner_in(table, peer, local)));
    own != OVERFLOW_UID && owner == Some(own)
}

fn owner_in(table: &str, peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let lines = BufReader::new(File::open(table).ok()?).lines();
    lines.map_while(Result::ok).find_map(|line| owner(&line, peer, local))
}

/// Returns the user of the socket that a line describes, if it is the established connection from `socket` to `other`.
fn owner(line: &str, socket: SocketAddr, other: SocketAddr) -> Option<u32> {
    const ESTABLISHED: &str = "01";
    // Number, local address, remote address, state, queues, timer, retransmits, user.
    let mut fields = line.split_ascii_whitespace().skip(1);
    let is = |field: &str, end: SocketAddr| address(field) == Some((end.ip().to_canonical(), end.port()));
    if !is(fields.next()?, socket) || !is(fields.next()?, other) || fields.next()? != ESTABLISHED {
        return None;
    }
    fields.nth(3)?.parse().ok()
}

/// Parses an address such as `0100007F:1F90`: each group of four bytes is a number in the machine's byte order. An IPv4-mapped IPv6 address
/// is returned as IPv4.
fn address(field: &str) -> Option<(IpAddr, u16)> {
    let (digits, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let group = |at: usize| Some(u32::from_str_radix(digits.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match digits.len() {
        8 => IpAddr::from(group(0)?),
        32 => {
            let mut octets = [0; 16];
            for (index, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&group(8 * index)?);
            }
            IpAddr::from(octets)
        }
        _ => return None,
    };
    Some((ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Lines of a little-endian machine.
    const V4: &str = "   7: 0100007F:C5B2 0100007F:C383 01 00000000:00000000 02:000005D5 00000000  1000        0 61214 2 0000000000000000 20 4 30 10 -1";
    const V6: &str = "   1: 00000000000000000000000001000000:C5B4 00000000000000000000000001000000:C383 01 00000000:00000000 02:000005D5 00000000  1001        0 61215 2 0000000000000000 20 4 30 10 -1";
    const MAPPED: &str = "   2: 0000000000000000FFFF00000100007F:C5B6 0000000000000000FFFF00000100007F:C383 01 00000000:00000000 00:00000000 00000000  1002        0 61216 1 0000000000000000 20 4 0 10 -1";

    fn check(line: &str, socket: &str, other: &str, expected: Option<u32>) {
        if cfg!(target_endian = "little") {
            assert_eq!(owner(line, socket.parse().unwrap(), other.parse().unwrap()), expected, "{line}");
        }
    }

    #[test]
    fn the_owner_is_that_of_the_socket_with_both_addresses() {
        check(V4, "127.0.0.1:50610", "127.0.0.1:50051", Some(1000));
        check(V6, "[::1]:50612", "[::1]:50051", Some(1001));
        check(MAPPED, "127.0.0.1:50614", "127.0.0.1:50051", Some(1002));
        check(MAPPED, "[::ffff:127.0.0.1]:50614", "[::ffff:127.0.0.1]:50051", Some(1002));
        check(V4, "[::ffff:127.0.0.1]:50610", "[::ffff:127.0.0.1]:50051", Some(1000));
        // The coordinator's own socket has the same two addresses in the other order.
        check(V4, "127.0.0.1:50051", "127.0.0.1:50610", None);
        check(V4, "127.0.0.1:50611", "127.0.0.1:50051", None);
        check(V4, "127.0.0.2:50610", "127.0.0.1:50051", None);
        check(V4, "127.0.0.1:50610", "127.0.0.1:50052", None);
    }

    #[test]
    fn a_socket_that_is_not_established_has_no_owner() {
        // Closed by its process, or not yet accepted, it would be shown as root's.
        for state in ["06", "05", "0A", "03"] {
            let line = V4.replace(" 01 ", &format!(" {state} "));
            check(&line, "127.0.0.1:50610", "127.0.0.1:50051", None);
        }
    }

    #[test]
    fn other_lines_are_ignored() {
        let heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        let cut = &V4[..40];
        for line in ["", heading, cut, "7: 0100007F C383 01", "7: 0100007F:C5B2 é:C383 01 0 0 0 0"] {
            check(line, "127.0.0.1:50610", "127.0.0.1:50051", None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_within_this_process_has_its_user_as_owner() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                eprintln_skipped(address);
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let target = if address == "[::1]:0" { "[::1]" } else { "127.0.0.1" };
            let client = TcpStream::connect(format!("{target}:{port}")).unwrap();
            let (served, peer) = listener.accept().unwrap();
            let local = served.local_addr().unwrap();
            let owner = TABLES.iter().find_map(|table| owner_in(table, peer, local));
            assert_eq!(owner, Some(rustix::process::geteuid().as_raw()), "{address}");
            assert_eq!(client.local_addr().unwrap().port(), peer.port());
            drop(client);
            assert!(!is_same_user(peer, local), "{address}: the peer has closed its socket");
        }
    }

    #[cfg(target_os = "linux")]
    fn eprintln_skipped(address: &str) {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: {address} cannot be bound here");
    }
}
