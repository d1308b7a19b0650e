//! The servers that a run's connections reached, and the connections that broke.

mod broken;
mod reached;
#[cfg(test)]
mod tests;

pub(crate) use broken::{Broken, broken, was_connected};
pub(crate) use reached::{Change, changes, describe, same_twice};
