//! Mutual TLS with certificates of a private authority.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use crate::security::site::Site;
use muster_testing::files::Files;
use muster_testing::processes::{address, agent, complete};

/// The host in agents' certificates, which is not verified.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// A certificate authority, with its certificate in a file.
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

    /// The path of its certificate.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Returns the options for a certificate that is valid for a host until the given year, for its key, and for this authority as the one
    /// that is trusted.
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

pub(crate) fn args(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn only_valid_certificates_of_the_authority_are_accepted() {
    let address = address();
    let files = Files::new();
    let (own, other) = (Authority::new(&files, "own"), Authority::new(&files, "other"));
    let for_coordinator = own.certify(&files, "coordinator", 4000, address.ip());
    let honest = own.certify(&files, "agent", 4000, ANYWHERE);
    let expired = own.certify(&files, "expired", 2001, ANYWHERE);
    // This agent trusts the right authority, but its certificate is from another one.
    let mut foreign = other.certify(&files, "foreign", 4000, ANYWHERE);
    *foreign.last_mut().unwrap() = own.file.clone();
    let Some(mut site) =
        Site::start("security_certificates", address, files, 1, &args(&for_coordinator)).await
    else {
        return;
    };
    for refused in [expired, foreign] {
        let mut agent = site.agent(&args(&refused));
        agent.wait_for("certificate").await;
        agent.signal("TERM");
        let ended = agent.end().await.expect(0);
        assert!(!ended.stderr.contains("joined run"), "{}", ended.stderr);
        site.record_output(&ended);
    }
    let agents = vec![site.agent(&[&["--once"], &*args(&honest)].concat())];
    site.end(agents).await;
}

#[tokio::test]
async fn an_agent_rejects_a_coordinator_whose_certificate_is_expired_or_has_another_authority_or_name() {
    let check = async |name: &str, until: i32, host: Option<IpAddr>, is_own: bool, expected: &str| {
        let address = address();
        let files = Files::new();
        let (own, other) = (Authority::new(&files, "own"), Authority::new(&files, "other"));
        let authority = if is_own { &own } else { &other };
        let for_coordinator = authority.certify(&files, "coordinator", until, host.unwrap_or(address.ip()));
        let honest = own.certify(&files, "agent", 4000, ANYWHERE);
        let Some(site) = Site::start(name, address, files, 1, &args(&for_coordinator)).await else { return };
        let mut agent = site.agent(&args(&honest));
        let stderr = agent.wait_for("waiting for a coordinator").await;
        assert!(stderr.contains(expected), "{stderr}");
        agent.signal("TERM");
        agent.end().await.expect(0);
    };
    check("security_expired", 2001, None, true, "expired").await;
    check("security_authority", 4000, None, false, "UnknownIssuer").await;
    check("security_name", 4000, Some(ANYWHERE), true, "not valid for name").await;
}

#[tokio::test]
async fn unusable_files_are_named_in_the_error() {
    let files = Files::new();
    let own = Authority::new(&files, "own");
    let (good, other) =
        (own.certify(&files, "good", 4000, ANYWHERE), own.certify(&files, "other", 4000, ANYWHERE));
    let unused = address();
    let fails = async |cert: &str, key: &str, expected: &[&str]| {
        let args = ["--tls-cert", cert, "--tls-key", key, "--tls-ca", &own.file];
        let ended = complete(agent(unused, &args)).await.expect(2);
        for word in expected {
            assert!(ended.stderr.contains(word), "{}", ended.stderr);
        }
    };
    fails(&good[1], &other[3], &["do not go together", "good.pem"]).await;
    fails(&good[3], &good[3], &["--tls-cert", "no PEM certificate"]).await;
    fails(&good[1], "/nowhere/key", &["--tls-key", "/nowhere/key"]).await;
    let half = ["--tls-cert", &*good[1]];
    complete(agent(unused, &half)).await.expect(2).expect_stderr("--tls-key");
}
