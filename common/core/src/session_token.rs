//! Tokens that prove that a process was granted a session. Slots and epochs can be guessed; the token that is issued with them cannot.
//! Pure: the key is passed in.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::ids::SessionId;

pub const TOKEN_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const BLOCK_BYTES: usize = 64;

/// A session and its token. Only the coordinator and the agent of this session know the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedSession {
    pub id: SessionId,
    pub token: SessionToken,
}

/// A token of 128 bits that cannot be guessed.
#[derive(Clone, Copy)]
pub struct SessionToken([u8; TOKEN_BYTES]);

/// The secret of a run, from which the tokens of its sessions are derived. It is stored with the run, so that a resumed run recognizes the
/// sessions of the previous coordinator process.
#[derive(Clone)]
pub struct SessionKey([u8; KEY_BYTES]);

impl SessionKey {
    pub fn new(random: [u8; KEY_BYTES]) -> Self {
        Self(random)
    }

    /// Parses the output of [`expose`](Self::expose). Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        BASE64.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// Returns the secret in base64.
    pub fn expose(&self) -> String {
        BASE64.encode(self.0)
    }

    pub fn grant(&self, id: SessionId) -> GrantedSession {
        GrantedSession { token: self.token(&id), id }
    }

    /// Returns true if this key issued the session's token.
    pub fn has_issued(&self, session: &GrantedSession) -> bool {
        self.token(&session.id) == session.token
    }

    /// Returns the first half of HMAC-SHA-256 (RFC 2104) of the session's name. The name is unambiguous because a run id contains no colon.
    fn token(&self, id: &SessionId) -> SessionToken {
        // HMAC pads a key that is shorter than the hash's block with zeros.
        let mut block = [0; BLOCK_BYTES];
        block[..KEY_BYTES].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(id.application_name().as_bytes());
        let mac: [u8; 2 * TOKEN_BYTES] = mac.finalize().into_bytes().into();
        SessionToken(std::array::from_fn(|index| mac[index]))
    }
}

impl SessionToken {
    /// Returns `None` unless there are exactly [`TOKEN_BYTES`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Compares in constant time, so that the duration does not reveal where two tokens differ.
impl PartialEq for SessionToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SessionToken {}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, RunId, SlotId};

    fn session(run: &str, slot: u16, epoch: u64) -> SessionId {
        let run = RunId::try_new(run).unwrap();
        SessionId { run, slot: SlotId::new(slot), epoch: Epoch::new(epoch) }
    }

    #[test]
    fn a_token_proves_only_its_own_session() {
        let key = SessionKey::new([7; KEY_BYTES]);
        let granted = key.grant(session("run", 0, 1));
        assert!(key.has_issued(&granted));
        for other in
            [session("run", 1, 1), session("run", 0, 2), session("run-2", 0, 1), session("run", 0, 11)]
        {
            assert!(!key.has_issued(&GrantedSession { id: other, token: granted.token }));
        }
        let guessed = SessionToken::from_bytes(&[0; TOKEN_BYTES]).unwrap();
        assert!(!key.has_issued(&GrantedSession { token: guessed, ..granted.clone() }));
        assert!(!SessionKey::new([8; KEY_BYTES]).has_issued(&granted), "the key of another run");
    }

    #[test]
    fn a_key_round_trips_and_debug_output_hides_it() {
        let key = SessionKey::new([7; KEY_BYTES]);
        let read = SessionKey::parse(&format!("{}\n", key.expose())).unwrap();
        let granted = key.grant(session("run", 0, 1));
        assert!(read.has_issued(&granted));
        assert!(SessionKey::parse("").is_none() && SessionKey::parse("AAAA").is_none());
        assert_eq!(format!("{key:?} {:?}", granted.token), "SessionKey(…) SessionToken(…)");
    }
}
