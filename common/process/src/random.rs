//! Random numbers that differ between processes. They are not suitable for cryptography.

use std::hash::{BuildHasher, RandomState};

/// Returns a different value in each process and at each call.
pub fn seed() -> u64 {
    RandomState::new().hash_one(0u8)
}
