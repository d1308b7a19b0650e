//! What people see of a run while it goes on: the live page of `--web` and the dashboard of `--tui`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use muster_core::limits;
use rustls::ServerConfig;

use super::Failure;
use super::access::ListenConfig;
use crate::grpc::Access;
use crate::identity::{self, Identity, IdentityError};
use crate::progress::ProgressDisplay;
use crate::run::{Live, RunPlan, SoFar};
use crate::web::{WebAccess, WebServer};

/// Updates the dashboard. Runs until the run ends.
pub(super) async fn show_so_far(plan: &RunPlan, display: &ProgressDisplay) -> Infallible {
    if !display.is_dashboard() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(limits::WEB_EVENT_EVERY).await;
        if let Some(SoFar { result, stage }) = plan.live.so_far(plan).await {
            display.so_far(&result, &stage);
        }
    }
}

/// Starts the server of the live page and prints its URL.
pub(super) async fn serve_page(
    address: SocketAddr,
    listen: &ListenConfig,
    live: Live,
    display: &ProgressDisplay,
) -> Result<WebServer, Failure> {
    let tls = if address.ip().is_loopback() { None } else { certificate(listen)? };
    let access = WebAccess::new(address, tls, listen.is_insecure).map_err(Failure::usage)?;
    let server = WebServer::start(access, live).await;
    let server = server
        .with_context(|| format!("cannot serve the page on {address}; choose another address for --web"));
    let server = server.map_err(Failure::usage)?;
    display.println(&format!("live page at {}", server.url()));
    Ok(server)
}

/// The certificate with which agents are served, or else that of the default identity; `None` if there is none.
fn certificate(listen: &ListenConfig) -> Result<Option<Arc<ServerConfig>>, Failure> {
    if let Some(config) = listen.access.for_browsers() {
        return Ok(Some(config));
    }
    if listen.is_insecure {
        return Ok(None);
    }
    match identity::place(None).and_then(|dir| Identity::load(&dir)) {
        Ok(identity) => {
            let access = Access::joined(Arc::new(identity)).map_err(Failure::usage)?;
            Ok(access.for_browsers())
        }
        Err(IdentityError::Missing(_) | IdentityError::NoHome) => Ok(None),
        Err(problem) => Err(Failure::usage(problem)),
    }
}
