//! Issues credentials that carry their own expiry (TURN REST API, draft-uberti-behave-turn-rest): the name is
//! `<unix expiry>:<id>`, the password an HMAC of it, so nothing has to be remembered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::config::Secret;

/// A credential for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// `<unix expiry>:<id>`.
    pub username: String,
    /// What goes with it.
    pub password: Secret,
}

/// A credential for `id` that is good until `unix_expiry`, by a secret that the TURN service knows too.
pub fn mint(secret: &Secret, id: &str, unix_expiry: u64) -> Minted {
    let username = format!("{unix_expiry}:{id}");
    Minted { password: sign(secret, &username), username }
}

/// base64(HMAC-SHA1(secret, username)).
pub(super) fn sign(secret: &Secret, username: &str) -> Secret {
    let hmac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.expose().as_bytes());
    let mut hmac = hmac.expect("HMAC takes keys of any length (RFC 2104 §2)");
    hmac.update(username.as_bytes());
    Secret::new(STANDARD.encode(hmac.finalize().into_bytes()))
}
