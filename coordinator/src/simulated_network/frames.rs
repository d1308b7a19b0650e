//! The data in what one end says or hears: every message of the protocol, and nothing else. In HTTP/2 (RFC 9113, section 4.1) these are
//! frames among others. Headers have the machine's own date in them, so that the same run has other bytes the next time.

/// The client says this first.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;

pub(super) struct Frames {
    /// Still to come of the preface.
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

    /// Gives `see` the data as it comes.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut see: impl FnMut(&[u8])) {
        self.preface_left -= cut(&mut bytes, self.preface_left).len();
        while !bytes.is_empty() {
            if self.payload_left == 0 && self.head.len() == HEAD_BYTES {
                self.head.clear();
            }
            if self.head.len() < HEAD_BYTES {
                self.head.extend(cut(&mut bytes, HEAD_BYTES - self.head.len()));
                if let &[a, b, c, _, _, _, _, _, _] = self.head.as_slice() {
                    self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
                }
                continue;
            }
            let payload = cut(&mut bytes, self.payload_left);
            self.payload_left -= payload.len();
            if self.head[3] == DATA {
                see(payload);
            }
        }
    }
}

/// Takes at most so many bytes from the front.
fn cut<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    front
}

#[test]
fn data_is_found_however_it_is_cut() {
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
