//! The join string authenticates an agent and a coordinator on different machines to each other: `muster1.PIN.SECRET`. The pin is the
//! SHA-256 of the coordinator's certificate and authenticates the coordinator; the secret authenticates the agents.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Format version, so that the format can change later.
const PREFIX: &str = "muster1";
const SECRET_BYTES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinString {
    pub pin: Pin,
    pub secret: Secret,
}

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// 256 random bits. Printed only by [`Secret::expose`].
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

// The error does not contain the input, because even a malformed join string may contain the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join string, which has the form muster1.PIN.SECRET; `coordinator token` prints it on the coordinator's machine"
)]
pub struct InvalidJoinString;

impl Pin {
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl Secret {
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// # Errors
    /// Fails unless the text is 256 bits in base64, as written by [`expose`](Self::expose).
    pub fn parse(text: &str) -> Result<Self, InvalidJoinString> {
        Ok(Self(decode(text)?))
    }

    /// Returns the secret in URL-safe base64: letters, digits, `-` and `_`.
    pub fn expose(&self) -> String {
        BASE64.encode(self.0)
    }
}

impl JoinString {
    /// Returns the full join string, which includes the secret.
    pub fn expose(&self) -> String {
        format!("{PREFIX}.{}.{}", BASE64.encode(self.pin.0), self.secret.expose())
    }
}

impl FromStr for JoinString {
    type Err = InvalidJoinString;

    fn from_str(text: &str) -> Result<Self, InvalidJoinString> {
        let rest = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.'));
        let (pin, secret) = rest.and_then(|rest| rest.split_once('.')).ok_or(InvalidJoinString)?;
        Ok(Self { pin: Pin(decode(pin)?), secret: Secret::parse(secret)? })
    }
}

fn decode(text: &str) -> Result<[u8; 32], InvalidJoinString> {
    BASE64.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidJoinString)
}

/// Compares in constant time, so that the duration does not reveal where two secrets differ.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({})", BASE64.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join_string() -> JoinString {
        JoinString { pin: Pin::of(b"a certificate"), secret: Secret::new([7; SECRET_BYTES]) }
    }

    #[test]
    fn a_join_string_round_trips() {
        let text = join_string().expose();
        assert_eq!(text.parse(), Ok(join_string()));
        assert_eq!(format!("{text}\n").parse(), Ok(join_string()), "with a line break, as in a file");
        let cut = &text[..text.len() - 1];
        for wrong in
            ["", "muster1", "muster1..", &text[1..], cut, &text.replace('.', ":"), &format!("{text}A")]
        {
            assert_eq!(wrong.parse::<JoinString>(), Err(InvalidJoinString), "{wrong}");
        }
    }

    #[test]
    fn neither_debug_output_nor_an_error_contains_the_secret() {
        let (join_string, secret) = (join_string(), Secret::new([7; SECRET_BYTES]).expose());
        assert!(!format!("{join_string:?}").contains(&secret));
        let error = format!("muster1.{secret}").parse::<JoinString>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&secret));
    }

    #[test]
    fn secrets_that_differ_in_one_bit_are_not_equal() {
        let mut other = [7; SECRET_BYTES];
        other[SECRET_BYTES - 1] ^= 1;
        assert_ne!(Secret::new(other), Secret::new([7; SECRET_BYTES]));
    }
}
