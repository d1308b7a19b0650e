//! PostgreSQL's messages over a blocking socket, with pgwire's codecs. Blocking, because a thread is woken and timed more exactly than a
//! task: tokio's timers have a resolution of milliseconds.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use bytes::{BufMut, BytesMut};
use pgwire::error::ErrorInfo;
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};
use pgwire::messages::response::{CommandComplete, ReadyForQuery, TransactionStatus};
use pgwire::messages::{
    DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, SslNegotiationMetaMessage,
};

pub(super) const TEXT: u32 = 25;
pub(super) const INT8: u32 = 20;

pub(super) struct Wire {
    stream: TcpStream,
    inbound: BytesMut,
    outbound: BytesMut,
    context: DecodeContext,
    /// When bytes were last received.
    pub(super) last_received: Instant,
    /// When bytes were last sent.
    pub(super) last_sent: Instant,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let now = Instant::now();
        Ok(Self {
            stream,
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
            context: DecodeContext::default(),
            last_received: now,
            last_sent: now,
        })
    }

    /// Returns Startup or CancelRequest; declines TLS.
    pub(super) fn first(&mut self) -> io::Result<Option<PgWireFrontendMessage>> {
        loop {
            match self.next()? {
                Some(PgWireFrontendMessage::SslNegotiation(SslNegotiationMetaMessage::None)) => {
                    self.context.awaiting_frontend_ssl = false;
                }
                Some(PgWireFrontendMessage::SslNegotiation(_)) => self.stream.write_all(b"N")?,
                first => {
                    self.context.awaiting_frontend_startup = false;
                    return Ok(first);
                }
            }
        }
    }

    /// Returns the next message; `None` once the client has disconnected.
    pub(super) fn next(&mut self) -> io::Result<Option<PgWireFrontendMessage>> {
        loop {
            let message = PgWireFrontendMessage::decode(&mut self.inbound, &self.context);
            if let Some(message) = message.map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            let mut chunk = [0; 8192];
            let count = self.stream.read(&mut chunk);
            self.last_received = Instant::now();
            match count? {
                0 => return Ok(None),
                count => self.inbound.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Buffers a message until [`Wire::flush`].
    pub(super) fn put(&mut self, message: &PgWireBackendMessage) -> io::Result<()> {
        message.encode(&mut self.outbound).map_err(io::Error::other)
    }

    /// Reads the clock before the bytes are sent, because the client cannot receive them earlier.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.last_sent = Instant::now();
        self.stream.write_all(&self.outbound.split())
    }
}

pub(super) fn ready() -> PgWireBackendMessage {
    PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(TransactionStatus::Idle))
}

pub(super) fn complete(tag: &str) -> PgWireBackendMessage {
    PgWireBackendMessage::CommandComplete(CommandComplete::new(tag.to_owned()))
}

/// `position` counts characters from 1.
pub(super) fn error(
    severity: &str,
    sqlstate: &str,
    message: &str,
    position: Option<usize>,
) -> PgWireBackendMessage {
    let mut error = ErrorInfo::new(severity.to_owned(), sqlstate.to_owned(), message.to_owned());
    error.severity_nonlocalized = Some(severity.to_owned());
    error.position = position.map(|position| position.to_string());
    PgWireBackendMessage::ErrorResponse(error.into())
}

/// Columns of one type, in the given format.
pub(super) fn columns(names: &[&str], type_id: u32, format_code: i16) -> PgWireBackendMessage {
    let field = |name: &&str| FieldDescription::new((*name).to_owned(), 0, 0, type_id, -1, -1, format_code);
    PgWireBackendMessage::RowDescription(RowDescription::new(names.iter().map(field).collect()))
}

pub(super) fn row(values: &[&[u8]]) -> PgWireBackendMessage {
    let mut data = BytesMut::new();
    for value in values {
        data.put_i32(i32::try_from(value.len()).expect("the fake's values are short"));
        data.extend_from_slice(value);
    }
    let count = i16::try_from(values.len()).expect("the fake has few columns");
    PgWireBackendMessage::DataRow(DataRow::new(data, count))
}
