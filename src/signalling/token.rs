//! \[pure\] A shared secret in the query of the upgrade, key `token`, for protocols that have no login.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::protocol::{Knock, Refusal};
use super::query;
use crate::config::Secret;

/// What clients must bring, if anything.
pub(super) struct Token(Option<[u8; 32]>);

impl Token {
    pub(super) fn new(token: Option<&Secret>) -> Self {
        Token(token.map(|token| digest(token.expose())))
    }

    /// Digests are compared, so that the time tells neither where two differ nor how long the secret is.
    pub(super) fn check(&self, knock: &Knock<'_>) -> Result<(), Refusal> {
        let Some(wanted) = &self.0 else { return Ok(()) };
        let brought = knock.query.and_then(|query| query::value(query, "token"));
        let is_right = brought.is_some_and(|brought| digest(&brought).ct_eq(wanted).into());
        if is_right { Ok(()) } else { Err(Refusal::Unauthorized) }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
