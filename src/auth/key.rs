//! From a password to the keys of the long-term mechanism (RFC 8489 §9.2.2): MD5, as every client has it, and SHA-256.

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::stun::{Key, Sha256Key};

/// Ready for use: what the password itself was is forgotten.
#[derive(Clone, Debug)]
pub struct LongTermKeys {
    /// From MD5, for MESSAGE-INTEGRITY.
    pub md5: Key,
    /// From MD5, for MESSAGE-INTEGRITY-SHA256.
    pub md5_sha256: Sha256Key,
    /// From SHA-256, for MESSAGE-INTEGRITY.
    pub sha256: Key,
    /// From SHA-256, for MESSAGE-INTEGRITY-SHA256.
    pub sha256_sha256: Sha256Key,
}

impl LongTermKeys {
    /// The keys of `username` in `realm`.
    pub fn new(username: &str, realm: &str, password: &str) -> LongTermKeys {
        let text = format!("{username}:{realm}:{password}");
        let (md5, sha256) = (Md5::digest(&text), Sha256::digest(&text));
        LongTermKeys {
            md5: Key::from_bytes(&md5),
            md5_sha256: Sha256Key::from_bytes(&md5),
            sha256: Key::from_bytes(&sha256),
            sha256_sha256: Sha256Key::from_bytes(&sha256),
        }
    }
}
