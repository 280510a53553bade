//! Answers to those who have not proven anything. Decides how much they are told, so that nobody can use the server to send
//! a victim more than he sends himself: no such answer over UDP is larger than [`allowance`](crate::stun::allowance) says. What
//! does not fit is shortened, and what still does not fit is not sent.

use std::net::SocketAddr;
use std::time::Instant;

use super::nonce::{LONGEST, Nonces};
use super::wire::attribute;
use crate::stun::{AttributeType, Builder, Class, ErrorCode, Message, closed};

/// A realm that is longer is cut where every byte counts: 28 bytes of question (Chromium's first Allocate) pay for 56 of
/// answer, of which header, ERROR-CODE, REALM and NONCE take 44 besides the realm.
pub const SHORT_REALM: usize = 12;
/// MD5 and SHA-256, without parameters (RFC 8489 §18.5).
pub(super) const ALGORITHMS: [u8; 8] = [0, 1, 0, 0, 0, 2, 0, 0];

/// The realm, and what is told of it where every byte counts. Clients sign with the one that they were told.
#[derive(Clone, Debug)]
pub struct Realm {
    /// As configured.
    pub full: Box<str>,
    /// Its start.
    pub short: Box<str>,
}

impl Realm {
    /// A realm of at most 127 characters (RFC 8489 §14.9).
    pub fn new(realm: &str) -> Realm {
        let end = (0..=realm.len().min(SHORT_REALM)).rev().find(|end| realm.is_char_boundary(*end));
        Realm { full: realm.into(), short: realm[..end.unwrap_or(0)].into() }
    }

    /// The realm that a client names, if it is ours.
    pub(super) fn named(&self, realm: &[u8]) -> Option<&str> {
        [&self.full, &self.short].into_iter().find(|own| own.as_bytes() == realm).map(|own| &**own)
    }
}

/// 401 or 438: what it takes to come again. `None` where no form of it is small enough.
pub(super) fn challenge(
    reply: &mut [u8],
    request: &Message<'_>,
    code: ErrorCode,
    realm: &Realm,
    nonces: &Nonces,
    (now, client): (Instant, SocketAddr),
    allowance: usize,
) -> Option<usize> {
    let forms = [(true, &realm.full), (false, &realm.full), (false, &realm.short)];
    forms.into_iter().find_map(|(is_full, realm)| {
        let mut nonce = [0; LONGEST];
        let len = nonces.issue(now, client, is_full, &mut nonce);
        let error = Builder::new(reply, Class::Error, request.method(), request.transaction_id());
        let error =
            if allowance == usize::MAX { error.error_code(code) } else { error.bare_error_code(code) };
        let mut error = error
            .attribute(AttributeType::REALM, realm.as_bytes())
            .attribute(AttributeType::NONCE, &nonce[..len]);
        if is_full {
            error = error.attribute(attribute::PASSWORD_ALGORITHMS, &ALGORITHMS);
        }
        closed(error, request).filter(|len| *len <= allowance)
    })
}

/// Any other error without a credential.
pub(super) fn refuse(
    reply: &mut [u8],
    request: &Message<'_>,
    code: ErrorCode,
    allowance: usize,
) -> Option<usize> {
    let error =
        Builder::new(reply, Class::Error, request.method(), request.transaction_id()).bare_error_code(code);
    closed(error, request).filter(|len| *len <= allowance)
}
