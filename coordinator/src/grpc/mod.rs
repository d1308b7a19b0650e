//! The gRPC edge: two streams per agent, turned into calls on the conductor and the keeper. Generated types stay in here.

mod access;
mod control;
mod guard;
mod in_process;
mod server;
mod tls;
mod visitor;
mod work;

pub(crate) use access::Access;
pub(crate) use in_process::channel as in_process;
pub(crate) use server::{Incoming, Listener, Server};
