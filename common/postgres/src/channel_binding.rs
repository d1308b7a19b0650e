//! Channel binding of the type tls-server-end-point (RFC 5929, section 4.1): a hash of the server's certificate, which SCRAM includes in
//! the proof of the password.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

/// Returns the hash of the certificate, computed with the hash function of the certificate's signature, or with SHA-256 in place of SHA-1.
/// `None` for signatures without a separate hash function, such as Ed25519, for which the type is not defined.
pub(crate) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    Some(match parsed.signature_algorithm.oid {
        SHA_1_WITH_RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => {
            Sha256::digest(certificate).to_vec()
        }
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => Sha384::digest(certificate).to_vec(),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
        SignatureAlgorithm,
    };

    use super::*;

    fn check(algorithm: &'static SignatureAlgorithm, expected: Option<usize>) {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["db".to_owned()]).unwrap().self_signed(&key).unwrap();
        assert_eq!(server_end_point(certificate.der()).map(|hash| hash.len()), expected);
    }

    #[test]
    fn the_hash_function_is_that_of_the_certificates_signature() {
        check(&PKCS_ECDSA_P256_SHA256, Some(32));
        check(&PKCS_ECDSA_P384_SHA384, Some(48));
        check(&PKCS_ED25519, None);
    }
}
