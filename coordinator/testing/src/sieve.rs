//! Holds the data that an agent sends on its Work stream and forwards everything else, such as heartbeats and the Control stream. The
//! streams are divided into HTTP/2 frames (RFC 9113, section 4.1); Control is the first stream that an agent opens, Work the second.

/// The client's connection preface.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
/// The id of the Work stream: a client's streams have odd ids.
const WORK: [u8; 4] = [0, 0, 0, 3];

/// For one connection, in the direction to the coordinator.
pub(crate) struct Sieve {
    preface_left: usize,
    /// A frame that has not been received in full.
    incomplete: Vec<u8>,
    held: Vec<u8>,
}

impl Sieve {
    pub(crate) fn new() -> Self {
        Self { preface_left: PREFACE_BYTES, incomplete: Vec::new(), held: Vec::new() }
    }

    /// Returns the bytes to forward. If nothing is to be held any more, the bytes that were held come first.
    pub(crate) fn pass(&mut self, bytes: &[u8], holds: bool) -> Vec<u8> {
        let mut passed = if holds { Vec::new() } else { std::mem::take(&mut self.held) };
        let (preface, bytes) = bytes.split_at(self.preface_left.min(bytes.len()));
        self.preface_left -= preface.len();
        passed.extend(preface);
        self.incomplete.extend(bytes);
        while let Some(frame) = self.next_frame() {
            let is_of_work = frame[3] == DATA && frame[5..HEAD_BYTES] == WORK;
            if holds && is_of_work { &mut self.held } else { &mut passed }.extend(frame);
        }
        passed
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let &[a, b, c, ..] = self.incomplete.as_slice() else { return None };
        let length = HEAD_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
        (self.incomplete.len() >= length).then(|| self.incomplete.drain(..length).collect())
    }
}
