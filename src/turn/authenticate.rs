//! The long-term credential mechanism (RFC 8489 §9.2.4), step by step. Decides whether a request comes from somebody who
//! knows a password; what he may do with it is decided elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::challenge::{ALGORITHMS, Realm};
use super::counters::AuthResult;
use super::nonce::{Checked, Nonces};
use super::wire::attribute;
use crate::auth::{Known, LongTermKeys, Rejection};
use crate::stun::{AttributeType, Builder, Message};

/// Who sent a request, and how to sign what he is told.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) username: Arc<str>,
    pub(super) keys: Arc<LongTermKeys>,
    with_sha256_key: bool,
    signs_sha256: bool,
}

impl Proof {
    /// Signs an answer the way its request was signed.
    pub(super) fn sign<'b>(&self, answer: Builder<'b>) -> Builder<'b> {
        match (self.signs_sha256, self.with_sha256_key) {
            (false, false) => answer.integrity(&self.keys.md5),
            (false, true) => answer.integrity(&self.keys.sha256),
            (true, false) => answer.integrity_sha256(&self.keys.md5_sha256),
            (true, true) => answer.integrity_sha256(&self.keys.sha256_sha256),
        }
    }

    fn holds(&self, request: &Message<'_>) -> bool {
        let verified = match (self.signs_sha256, self.with_sha256_key) {
            (false, false) => request.verify(&self.keys.md5),
            (false, true) => request.verify(&self.keys.sha256),
            (true, false) => request.verify_sha256(&self.keys.md5_sha256),
            (true, true) => request.verify_sha256(&self.keys.sha256_sha256),
        };
        verified.is_ok()
    }
}

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// 401.
    Unauthenticated(AuthResult),
    /// 400.
    Malformed,
    /// 438.
    Stale,
    /// The webhook knows; the request is to be looked at again then.
    Ask,
}

/// What a request is held against.
pub(super) struct Gate<'a> {
    pub(super) realm: &'a Realm,
    pub(super) nonces: &'a Nonces,
    pub(super) now: Instant,
    pub(super) client: SocketAddr,
    /// User and keys of the client's allocation: who came in stays in, though his credential may have expired since.
    pub(super) insider: Option<(&'a Arc<str>, &'a Arc<LongTermKeys>)>,
}

impl Gate<'_> {
    /// Checks in the order of RFC 8489 §9.2.4, what is cheap before what is dear, and nobody is looked up before he has shown
    /// by his nonce that he gets what is sent to his address.
    pub(super) fn pass(
        &self,
        request: &Message<'_>,
        known: impl FnOnce(&str) -> Known,
    ) -> Result<Proof, Doubt> {
        if !request.has_integrity() && !request.has_sha256_integrity() {
            return Err(Doubt::Unauthenticated(AuthResult::Challenged));
        }
        let (Some(username), Some(realm), Some(nonce)) =
            (request.username(), request.get(AttributeType::REALM), request.get(AttributeType::NONCE))
        else {
            return Err(Doubt::Malformed);
        };
        let Checked::Good { with_algorithms } = self.nonces.check(self.now, self.client, nonce) else {
            return Err(Doubt::Stale);
        };
        let with_sha256_key = uses_sha256(request, with_algorithms)?;
        let Some(realm) = self.realm.named(realm) else {
            return Err(Doubt::Unauthenticated(AuthResult::Challenged));
        };
        let signs_sha256 = request.has_sha256_integrity();
        let proof = |username: &Arc<str>, keys: Arc<LongTermKeys>| Proof {
            username: username.clone(),
            keys,
            with_sha256_key,
            signs_sha256,
        };
        if let Some((name, keys)) = self.insider.filter(|(name, _)| &***name == username) {
            let proof = proof(name, keys.clone());
            if proof.holds(request) {
                return Ok(proof);
            }
            // The other form of the realm, or a password that was changed since.
        }
        let passwords = match known(username) {
            Known::Passwords(passwords) => passwords,
            Known::Rejected(rejection) => return Err(Doubt::Unauthenticated(result_of(rejection))),
            Known::Ask => return Err(Doubt::Ask),
        };
        let name: Arc<str> = username.into();
        let keys = |password: &str| Arc::new(LongTermKeys::new(username, realm, password));
        let mut proofs = passwords.iter().map(|password| proof(&name, keys(password.expose())));
        let proven = proofs.find(|proof| proof.holds(request));
        proven.ok_or(Doubt::Unauthenticated(AuthResult::WrongPassword))
    }
}

/// Whether the key is made with SHA-256. A list of algorithms that is not the one we sent means that somebody on the way
/// has changed it.
fn uses_sha256(request: &Message<'_>, were_listed: bool) -> Result<bool, Doubt> {
    let chosen = request.get(attribute::PASSWORD_ALGORITHM);
    let listed = request.get(attribute::PASSWORD_ALGORITHMS);
    match (chosen, listed) {
        (None, None) => Ok(false),
        (Some([0, number @ (1 | 2), 0, 0]), Some(list)) if were_listed && list == ALGORITHMS => {
            Ok(*number == 2)
        }
        _ => Err(Doubt::Malformed),
    }
}

fn result_of(rejection: Rejection) -> AuthResult {
    match rejection {
        Rejection::UnknownUser => AuthResult::UnknownUser,
        Rejection::WrongPassword => AuthResult::WrongPassword,
        Rejection::Expired => AuthResult::Expired,
        Rejection::SourceFailed | Rejection::Busy => AuthResult::SourceFailed,
    }
}
