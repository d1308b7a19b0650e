//! The gRPC edge: two streams per agent, turned into calls on the conductor and the keeper. Generated types stay in here.

mod control;
mod server;
mod work;

pub(crate) use server::{Incoming, Listener, Server};
