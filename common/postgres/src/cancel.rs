//! Cancels a query on the server.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::CancelToken;
use tokio_postgres::config::SslMode as Negotiation;

use crate::address::Address;
use crate::failure::with_causes;
use crate::settings::Settings;
use crate::transport::{Encrypted, Transport, Wire};

#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    #[error("cancel the query: no response within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("cancel the query: {0}")]
    Failed(String),
}

/// Asks the server to cancel the query in flight. The server does not report whether it did: the query itself ends with 57014, or with its
/// result. The caller must close the connection afterwards, because a delayed cancel request may reach the next query.
pub async fn cancel(
    settings: &Settings,
    address: &Address,
    is_encrypted: bool,
    token: &CancelToken,
) -> Result<(), CancelError> {
    let negotiation = if is_encrypted { Negotiation::Require } else { Negotiation::Disable };
    let cancelling = async {
        let transport = Transport::open(settings, address, negotiation).await;
        let transport = transport.map_err(|problem| CancelError::Failed(problem.to_string()))?;
        let cancelled = token.cancel_query_raw(Wire::new(transport), Encrypted).await;
        cancelled.map_err(|error| CancelError::Failed(with_causes(&error)))
    };
    let wait = settings.connect_timeout;
    timeout(wait, cancelling).await.unwrap_or(Err(CancelError::Timeout(wait)))
}
