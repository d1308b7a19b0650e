//! Extracts the payloads of HTTP/2 DATA frames (RFC 9113, section 4.1) from one direction of a connection: the protocol's messages and
//! nothing else. Other frames are skipped because headers contain the machine's real date, which differs between two runs of a seed.

/// The length of the connection preface, which the client sends first.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;

pub(super) struct Frames {
    /// Bytes of the preface that have not arrived yet.
    preface_left: usize,
    head: Vec<u8>,
    payload_left: usize,
}

impl Frames {
    pub(super) fn of_client() -> Self {
        Self { preface_left: PREFACE_BYTES, ..Self::of_server() }
    }

    pub(super) fn of_server() -> Self {
        Self { preface_left: 0, head: Vec::with_capacity(HEAD_BYTES), payload_left: 0 }
    }

    /// Reads the next bytes of the connection and passes the data in them to `see`.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut see: impl FnMut(&[u8])) {
        self.preface_left -= split_front(&mut bytes, self.preface_left).len();
        while !bytes.is_empty() {
            if self.payload_left == 0 && self.head.len() == HEAD_BYTES {
                self.head.clear();
            }
            if self.head.len() < HEAD_BYTES {
                self.head.extend(split_front(&mut bytes, HEAD_BYTES - self.head.len()));
                if let &[a, b, c, _, _, _, _, _, _] = self.head.as_slice() {
                    self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
                }
                continue;
            }
            let payload = split_front(&mut bytes, self.payload_left);
            self.payload_left -= payload.len();
            if self.head[3] == DATA {
                see(payload);
            }
        }
    }
}

/// Takes at most `count` bytes from the front.
fn split_front<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    front
}

#[test]
fn data_is_found_however_the_bytes_are_split() {
    let whole = [
        &[b'P'; PREFACE_BYTES][..],
        &[0, 0, 2, 1, 4, 0, 0, 0, 1, 7, 7],
        &[0, 0, 3, 0, 0, 0, 0, 0, 1, 1, 2, 3],
    ]
    .concat();
    for size in 1..=whole.len() {
        let mut data = Vec::new();
        let mut frames = Frames::of_client();
        for piece in whole.chunks(size) {
            frames.take(piece, |payload| data.extend_from_slice(payload));
        }
        assert_eq!(data, [1, 2, 3], "in pieces of {size}");
    }
}
