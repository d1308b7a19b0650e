//! Who may see the page. On loopback everyone on this machine, but no page of another site (DNS rebinding). Elsewhere those who have the
//! token of the URL, over TLS unless `--insecure` was given.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};
use muster_net::security::pki::provider;
use rustls::ServerConfig;
use subtle::ConstantTimeEq;

const TOKEN_BYTES: usize = 16;

/// How a page is reached.
#[derive(Clone)]
pub(crate) struct WebAccess {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// `None` on loopback.
    token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error(
        "--web {0} shows the run to other machines, which requires TLS: run `coordinator token` once to create an identity, use --tls-cert and \
         --tls-key, or --insecure on a network that you trust"
    )]
    NotEncrypted(SocketAddr),
    #[error("cannot read random numbers from the system")]
    Random,
}

impl WebAccess {
    /// `tls` is used for addresses other than loopback; `is_insecure` allows them without it.
    pub(crate) fn new(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        is_insecure: bool,
    ) -> Result<Self, WebError> {
        if address.ip().is_loopback() {
            return Ok(Self { address, tls: None, token: None });
        }
        if tls.is_none() && !is_insecure {
            return Err(WebError::NotEncrypted(address));
        }
        let mut random = [0; TOKEN_BYTES];
        provider().secure_random.fill(&mut random).map_err(|_| WebError::Random)?;
        let token = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { address, tls, token: Some(token) })
    }

    /// The URL for a browser. `bound` is the address that was bound.
    pub(super) fn url(&self, bound: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        // A browser cannot reach an address that stands for all.
        let shown = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], bound.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => {
                SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], bound.port()))
            }
            _ => bound,
        };
        let token = self.token.as_ref().map_or(String::new(), |token| format!("?token={token}"));
        format!("{scheme}://{shown}/{token}")
    }

    /// Returns true if a request may be answered.
    pub(super) fn allows(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        // A link to the page is no danger, but another site must not load parts of it.
        let is_from_other_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        if is_from_other_site && uri.path() != "/" {
            return false;
        }
        match &self.token {
            Some(token) => {
                let given =
                    uri.query().unwrap_or_default().split('&').find_map(|part| part.strip_prefix("token="));
                given.is_some_and(|given| given.as_bytes().ct_eq(token.as_bytes()).into())
            }
            None => {
                // HTTP/2 has the host in the URI.
                let host = uri.host().or_else(|| headers.get(HOST)?.to_str().ok());
                host.is_some_and(is_local)
            }
        }
    }
}

/// Returns true if the host of a URL is this machine. A page of another site whose name was made to resolve to this machine sends its own
/// name.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str) -> HeaderMap {
        HeaderMap::from_iter([(HOST, host.parse().unwrap())])
    }

    #[test]
    fn on_loopback_only_local_hosts_are_served() {
        let access = WebAccess::new("127.0.0.1:8089".parse().unwrap(), None, false).unwrap();
        let check = |host: &str, expected: bool| {
            assert_eq!(access.allows(&"/".parse().unwrap(), &headers(host)), expected, "{host}");
        };
        check("127.0.0.1:8089", true);
        check("localhost:8089", true);
        check("[::1]:8089", true);
        check("evil.example:8089", false);
        check("localhost.evil.example", false);
        assert!(!access.allows(&"/".parse().unwrap(), &HeaderMap::new()));
        let mut other_site = headers("localhost");
        other_site.insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert!(access.allows(&"/".parse().unwrap(), &other_site));
        assert!(!access.allows(&"/events".parse().unwrap(), &other_site));
        assert_eq!(access.url(access.address), "http://127.0.0.1:8089/");
    }

    #[test]
    fn elsewhere_a_token_and_tls_are_required() {
        let address = "0.0.0.0:8089".parse().unwrap();
        let refused = WebAccess::new(address, None, false).err().unwrap().to_string();
        assert!(refused.starts_with("--web 0.0.0.0:8089 shows the run to other machines"), "{refused}");
        let access = WebAccess::new(address, None, true).unwrap();
        let url = access.url(address);
        let token = url.strip_prefix("http://127.0.0.1:8089/?token=").unwrap().to_owned();
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        let check = |uri: String, expected: bool| {
            assert_eq!(access.allows(&uri.parse().unwrap(), &headers("any")), expected, "{uri}");
        };
        check(format!("/body?token={token}"), true);
        check(format!("/body?a=b&token={token}"), true);
        check("/body".to_owned(), false);
        check(format!("/body?token={}", &token[1..]), false);
        check(format!("/body?xtoken={token}"), false);
    }
}
