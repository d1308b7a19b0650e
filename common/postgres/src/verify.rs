//! Verifies a server's certificate: not at all, its chain, or its chain and its name. The signature of the handshake is always verified, so
//! the peer has at least the private key of its certificate.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) trust: Trust,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// Accepts any certificate: modes up to `require` without a root certificate. Encrypted but not authenticated.
    Anyone,
    /// Verifies the chain: `verify-ca`, and every weaker mode with a root certificate.
    Chain(Roots),
    /// Verifies the chain and the name: `verify-full`.
    ChainAndName(Roots),
}

#[derive(Debug, Clone)]
pub(crate) struct Roots {
    pub(crate) store: RootCertStore,
    /// The same certificates, to recognise one that a server uses itself.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Verifies the chain. OpenSSL trusts a server whose self-signed certificate was copied into the root file, as PostgreSQL's manual
    /// suggests, but webpki rejects every CA certificate as a server certificate. Therefore this error is ignored if the root file contains
    /// the certificate. Its dates have been checked before.
    fn verify(
        &self,
        shown: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        match verify_server_cert_signed_by_trust_anchor(
            parsed,
            &self.store,
            intermediates,
            now,
            algorithms.all,
        ) {
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.certificates.contains(shown) =>
            {
                Ok(())
            }
            verdict => verdict,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (roots, name) = match &self.trust {
            Trust::Anyone => return Ok(ServerCertVerified::assertion()),
            Trust::Chain(roots) => (roots, None),
            Trust::ChainAndName(roots) => (roots, Some(server_name)),
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        roots.verify(end_entity, &parsed, intermediates, now, &self.algorithms)?;
        if let Some(name) = name {
            verify_server_name(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// Creates a self-signed certificate for `db` that is also a CA, like those of `openssl req -x509`.
    fn self_signed(until: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["db".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn roots(certificate: &CertificateDer<'static>) -> Roots {
        let mut store = RootCertStore::empty();
        store.add(certificate.clone()).unwrap();
        Roots { store, certificates: vec![certificate.clone()] }
    }

    fn verdict(trust: Trust, shown: &CertificateDer<'static>, name: &str) -> Result<(), Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let verifier = Verifier { trust, algorithms };
        let verdict = verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now());
        verdict.map(|_| ())
    }

    #[test]
    fn a_self_signed_certificate_in_the_root_file_is_trusted_for_its_name() {
        let server = self_signed(4000);
        let full = || Trust::ChainAndName(roots(&server));
        assert_eq!(verdict(full(), &server, "db"), Ok(()));
        assert!(verdict(full(), &server, "other").is_err());
        assert_eq!(verdict(Trust::Chain(roots(&server)), &server, "other"), Ok(()));
    }

    #[test]
    fn another_certificate_with_the_same_name_is_not_trusted() {
        let (root, server) = (self_signed(4000), self_signed(4000));
        assert!(verdict(Trust::Chain(roots(&root)), &server, "db").is_err());
        assert_eq!(verdict(Trust::Anyone, &server, "db"), Ok(()));
    }

    #[test]
    fn an_expired_certificate_is_rejected_even_in_the_root_file() {
        let server = self_signed(2001);
        let error = verdict(Trust::Chain(roots(&server)), &server, "db").unwrap_err();
        assert!(error.to_string().contains("expired"), "{error}");
    }
}
