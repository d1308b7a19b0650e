//! Mutual TLS with certificates of an own authority.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use crate::site::Site;
use crate::support::files::Files;
use crate::support::processes::{address, agent, complete};

/// Of agents, nobody asks for the name.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// An authority, with its certificate as a file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: String,
}

impl Authority {
    pub(crate) fn new(files: &Files, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = files.write(&format!("{name}.ca.pem"), params.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Its certificate.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The options that name a certificate for a host that is valid until this year, and its key; of the other side, this authority's
    /// certificates are taken.
    pub(crate) fn certify(&self, files: &Files, name: &str, until: i32, host: IpAddr) -> Vec<String> {
        let mut params = CertificateParams::new([host.to_string()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let certificate = files.write(&format!("{name}.pem"), certificate);
        let key = files.secret(&format!("{name}.key"), key.serialize_pem());
        ["--tls-cert", &certificate, "--tls-key", &key, "--tls-ca", &self.file].map(str::to_owned).to_vec()
    }
}

pub(crate) fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn certificates_of_one_authority_let_in_and_no_others_do() {
    let address = address();
    let files = Files::new();
    let (own, other) = (Authority::new(&files, "own"), Authority::new(&files, "other"));
    let for_coordinator = own.certify(&files, "coordinator", 4000, address.ip());
    let honest = own.certify(&files, "agent", 4000, ANYWHERE);
    let expired = own.certify(&files, "expired", 2001, ANYWHERE);
    // It trusts the right authority and is of another one.
    let mut stranger = other.certify(&files, "stranger", 4000, ANYWHERE);
    *stranger.last_mut().unwrap() = own.file.clone();
    let Some(mut site) =
        Site::start("security_certificates", address, files, 1, &words(&for_coordinator)).await
    else {
        return;
    };
    for refused in [expired, stranger] {
        let mut agent = site.agent(&words(&refused));
        agent.wait_for("certificate").await;
        agent.signal("TERM");
        let ended = agent.end().await.expect(0);
        assert!(!ended.stderr.contains("joined run"), "{}", ended.stderr);
        site.hears(&ended);
    }
    let agents = vec![site.agent(&[&["--once"], &*words(&honest)].concat())];
    site.end(agents).await;
}

#[tokio::test]
async fn an_agent_trusts_no_coordinator_whose_certificate_is_expired_of_another_authority_or_of_another_name()
{
    let check = async |name: &str, until: i32, host: Option<IpAddr>, is_own: bool, says: &str| {
        let address = address();
        let files = Files::new();
        let (own, other) = (Authority::new(&files, "own"), Authority::new(&files, "other"));
        let authority = if is_own { &own } else { &other };
        let for_coordinator = authority.certify(&files, "coordinator", until, host.unwrap_or(address.ip()));
        let honest = own.certify(&files, "agent", 4000, ANYWHERE);
        let Some(site) = Site::start(name, address, files, 1, &words(&for_coordinator)).await else { return };
        let mut agent = site.agent(&words(&honest));
        let said = agent.wait_for("waiting for a coordinator").await;
        assert!(said.contains(says), "{said}");
        agent.signal("TERM");
        agent.end().await.expect(0);
    };
    check("security_expired", 2001, None, true, "expired").await;
    check("security_authority", 4000, None, false, "UnknownIssuer").await;
    check("security_name", 4000, Some(ANYWHERE), true, "not valid for name").await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let files = Files::new();
    let own = Authority::new(&files, "own");
    let (good, other) =
        (own.certify(&files, "good", 4000, ANYWHERE), own.certify(&files, "other", 4000, ANYWHERE));
    let nobody = address();
    let fails = async |cert: &str, key: &str, says: &[&str]| {
        let words = ["--tls-cert", cert, "--tls-key", key, "--tls-ca", &own.file];
        let ended = complete(agent(nobody, &words)).await.expect(2);
        for word in says {
            assert!(ended.stderr.contains(word), "{}", ended.stderr);
        }
    };
    fails(&good[1], &other[3], &["do not go together", "good.pem"]).await;
    fails(&good[3], &good[3], &["--tls-cert", "no PEM certificate"]).await;
    fails(&good[1], "/nowhere/key", &["--tls-key", "/nowhere/key"]).await;
    let half = ["--tls-cert", &*good[1]];
    complete(agent(nobody, &half)).await.expect(2).says("--tls-key");
}
