//! The server of the live page: `/` is the page, `/events` says when there is something new, `/body` is what the page then shows, and
//! `/result.html`, `/result.json` and `/result.csv` are the files of a finished run.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use muster_core::limits;
use muster_net::listen::{self, AcceptLimits, AcceptProblem, accept};
use muster_report::html;
use muster_report::result::RunResult;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;

use super::guard::WebAccess;
use super::page::{Finished, Pages};
use crate::run::{Live, RunPlan};

const HTML: &str = "text/html; charset=utf-8";
/// The time after which a browser connects again.
const RECONNECT_AFTER: Duration = Duration::from_millis(500);
/// All pages of one browser share an HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
const CLIENT_LIMITS: AcceptLimits = AcceptLimits {
    connections: limits::WEB_CONNECTIONS_MAX,
    accepts_per_second: limits::WEB_CONNECTIONS_PER_SECOND,
    timeout: limits::WEB_CONNECTION_AGE_MAX,
    bytes: limits::WEB_REQUEST_BYTES_FIRST,
    bytes_per_second: limits::WEB_REQUEST_BYTES_PER_SECOND,
};

/// The server, which runs until this is dropped.
pub(crate) struct WebServer {
    url: String,
    pages: Pages,
    _serving: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl WebServer {
    /// Binds the address and serves the run of `live`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn start(access: WebAccess, live: Live) -> Result<Self, io::Error> {
        let listener = TcpListener::bind(access.address).await?;
        let url = access.url(listener.local_addr()?);
        let connections = accept(listener, CLIENT_LIMITS, AcceptProblem::default());
        let pages = Pages::new(live);
        let server = listen::server()
            .max_concurrent_streams(STREAMS_MAX)
            .accept_http1(true)
            .add_routes(routes(access.clone(), pages.clone()));
        let serving = match access.tls {
            None => tokio::spawn(server.serve_with_incoming(connections.map(Ok::<_, io::Error>))),
            Some(config) => {
                let acceptor = TlsAcceptor::from(config);
                // A handshake that takes too long fails with its connection.
                let encrypted = connections
                    .map(move |stream| acceptor.accept(stream))
                    .buffer_unordered(limits::WEB_CONNECTIONS_MAX + 1)
                    .filter_map(|stream| std::future::ready(stream.ok().map(Ok::<_, io::Error>)));
                tokio::spawn(server.serve_with_incoming(encrypted))
            }
        };
        Ok(Self { url, pages, _serving: AbortOnDropHandle::new(serving) })
    }

    /// The URL to open, with its token.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn set_plan(&self, plan: Arc<RunPlan>) {
        self.pages.set_plan(plan);
    }

    /// Shows the report.
    pub(crate) fn finish(&self, result: &RunResult) {
        self.pages.finish(result);
    }

    /// Gives open pages some time to load the report and its files.
    pub(crate) async fn wait_for_pages(&self) {
        // A page whose connection was closed connects again after this time.
        if self.pages.waiting() == 0 && self.pages.was_seen().await {
            sleep(2 * RECONNECT_AFTER).await;
        }
        let all_have_it = async {
            while self.pages.waiting() > 0 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = timeout(limits::WEB_FINISH_TIMEOUT, all_have_it).await;
    }
}

fn routes(access: WebAccess, pages: Pages) -> Routes {
    let router = Router::new()
        .route("/", get(async || with_type(HTML, html::live_page().into())))
        .route("/body", get(async |State(pages): State<Pages>| with_type(HTML, pages.body().await)))
        .route("/events", get(events))
        .route("/result.html", get(async |State(pages): State<Pages>| file(&pages, HTML, |it| it.html)))
        .route(
            "/result.json",
            get(async |State(pages): State<Pages>| file(&pages, "application/json", |it| it.json)),
        )
        .route(
            "/result.csv",
            get(async |State(pages): State<Pages>| file(&pages, "text/csv; charset=utf-8", |it| it.csv)),
        )
        .layer(from_fn_with_state(access, check))
        .with_state(pages);
    Routes::from(router)
}

/// Refuses requests without the token, and what pages of other sites request.
async fn check(State(access): State<WebAccess>, request: Request, next: Next) -> Response {
    if !access.allows(request.uri(), request.headers()) {
        let why = "open the URL that the coordinator has printed, with its token\n";
        return (StatusCode::FORBIDDEN, why).into_response();
    }
    next.run(request).await
}

fn with_type(kind: &'static str, content: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // Not possible in the page itself.
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'")),
        // The URL contains the token.
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, content).into_response()
}

fn file(pages: &Pages, kind: &'static str, of: fn(Finished) -> Bytes) -> Response {
    match pages.finished() {
        Some(finished) => with_type(kind, of(finished)),
        None => (StatusCode::NOT_FOUND, "the run has not finished\n").into_response(),
    }
}

/// Says twice a second that there is something new, and finally that the run has finished. A page that is slow to ask for it misses
/// nothing: it asks for the newest body. The stream stays open until the page closes it, when it has all files.
async fn events(State(pages): State<Pages>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = stream::unfold((pages.finishing(), false), |(mut finishing, is_over)| async move {
        if is_over {
            std::future::pending::<()>().await;
        }
        if finishing.borrow_and_update().is_none() {
            let _ = timeout(limits::WEB_EVENT_EVERY, finishing.changed()).await;
        }
        let is_over = finishing.borrow().is_some();
        // Browsers ignore events without data.
        let name = if is_over { "finished" } else { "news" };
        let event = Event::default().event(name).data("1").retry(RECONNECT_AFTER);
        Some((Ok(event), (finishing, is_over)))
    });
    Sse::new(events)
}
