//! The gRPC server. Each agent opens two streams, whose messages become calls to the controller and the keeper. Generated types stay in
//! this module.

mod access;
mod admission;
mod control;
mod guard;
mod in_process;
mod server;
mod tls;
mod work;

pub(crate) use access::Access;
pub(crate) use in_process::channel as in_process;
pub(crate) use server::{Incoming, Listener, Server};
