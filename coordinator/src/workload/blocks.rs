//! Blocks of the file that all readers of a workload share. The workers of a run go through the file side by side, and each of a thousand
//! takes every thousandth row or so: what one of them has read is what the next ones need. A block of its own for each row costs more than
//! all else that is done to send it (docs/PERFORMANCE.md).

use std::sync::{Arc, Mutex, PoisonError};

use super::error::WorkloadError;
use super::source::Source;

/// A worker that is far from all others reads a block for a row, so it is no larger.
pub(super) const BLOCK_BYTES: u64 = 16 << 10;
/// 16 MiB: workers within so much of the file read it once.
const BLOCKS_KEPT: usize = 1 << 10;

/// Each block has one place, which it shares with those that are a multiple of [`BLOCKS_KEPT`] away: the last one that was read is there.
#[derive(Debug)]
pub(super) struct SharedBlocks(Vec<Mutex<Option<Block>>>);

/// A piece of the file; shorter than [`BLOCK_BYTES`] at its end only.
#[derive(Debug, Clone)]
pub(super) struct Block {
    number: u64,
    bytes: Arc<[u8]>,
}

impl SharedBlocks {
    pub(super) fn new() -> Self {
        Self((0..BLOCKS_KEPT).map(|_| Mutex::default()).collect())
    }

    /// The block that `offset` is in. Who asks for one that is just being read waits for it.
    pub(super) fn at(&self, offset: u64, source: &Source) -> Result<Block, WorkloadError> {
        let number = offset / BLOCK_BYTES;
        let place = &self.0[(number % BLOCKS_KEPT as u64) as usize];
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        match &*place {
            Some(block) if block.number == number => Ok(block.clone()),
            _ => Ok(place.insert(Block::read(number, source)?).clone()),
        }
    }
}

impl Block {
    fn read(number: u64, source: &Source) -> Result<Self, WorkloadError> {
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        let mut filled = 0;
        loop {
            let read = source.read_at(&mut bytes[filled..], number * BLOCK_BYTES + filled as u64)?;
            filled += read;
            if read == 0 {
                bytes.truncate(filled);
                return Ok(Self { number, bytes: bytes.into() });
            }
        }
    }

    pub(super) fn has(&self, offset: u64) -> bool {
        offset / BLOCK_BYTES == self.number
    }

    /// What there is from `offset`, which it [has](Self::has); nothing at the end of the file.
    pub(super) fn from(&self, offset: u64) -> &[u8] {
        self.bytes.get((offset % BLOCK_BYTES) as usize..).unwrap_or_default()
    }
}
