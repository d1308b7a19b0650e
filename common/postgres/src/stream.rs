//! The socket of a connection on a worker's thread. Reads and writes block.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use rustls::{ClientConnection, StreamOwned};

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Shuts down a connection from another thread.
#[derive(Debug)]
pub(crate) struct ShutdownHandle(OwnedFd);

impl ShutdownHandle {
    /// Shuts down both directions, so that a blocked read or write returns.
    pub(crate) fn shut_down(&self) {
        // Fails only if the connection has already ended.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

impl Stream {
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// # Errors
    /// When this process has too many open files.
    pub(crate) fn shutdown_handle(&self) -> io::Result<ShutdownHandle> {
        self.as_fd().try_clone_to_owned().map(ShutdownHandle)
    }

    /// Sets the time after which each read and write fails. `None` is no limit.
    ///
    /// # Errors
    /// The errors of the system call.
    pub(crate) fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(self, Timeout::Recv, limit)?;
        set_socket_timeout(self, Timeout::Send, limit)?;
        Ok(())
    }

    /// # Errors
    /// The errors of the system call.
    pub(crate) fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        rustix::io::ioctl_fionbio(self, is_nonblocking)?;
        Ok(())
    }

    /// Returns true if the connection is open and no bytes are available. Takes one system call and does not block.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0; 1];
        recv(self, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)
            .is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // The server closed the socket without TLS close_notify, as PostgreSQL does.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            // These streams have no buffer.
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
