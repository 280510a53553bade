//! MESSAGE-INTEGRITY (RFC 8489 §14.5), MESSAGE-INTEGRITY-SHA256 (§14.6) and FINGERPRINT (§14.7). Decides whether they hold; never says why one does
//! not, and never shows a key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{HEADER_LEN, Message};

/// Bytes of an HMAC-SHA1.
pub(super) const HMAC_LEN: usize = 20;

/// Bytes of a whole HMAC-SHA256.
pub(super) const SHA256_LEN: usize = 32;

/// Bytes that MESSAGE-INTEGRITY takes, header included.
const INTEGRITY_SIZE: usize = 4 + HMAC_LEN;

/// XORed to the CRC so that it differs from one that an application protocol may put there.
const FINGERPRINT_MASK: u32 = 0x5354_554E;

/// A password, ready for use: the two hash states that depend on nothing but the password are computed once.
#[derive(Clone)]
pub struct Key {
    hmac: Hmac<Sha1>,
}

impl Key {
    /// Short-term credential: the ICE password itself (RFC 8489 §9.1.1).
    pub fn short_term(password: &str) -> Key {
        Key::from_bytes(password.as_bytes())
    }

    /// Any key, such as the hash of a long-term credential (RFC 8489 §9.2.2).
    pub fn from_bytes(key: &[u8]) -> Key {
        let hmac = <Hmac<Sha1> as KeyInit>::new_from_slice(key);
        Key { hmac: hmac.expect("HMAC takes keys of any length (RFC 2104 §2)") }
    }

    /// The HMAC of a message up to `end`, with the length field as it was when MESSAGE-INTEGRITY was the last
    /// attribute.
    pub(super) fn sign(&self, message: &[u8], end: usize) -> [u8; HMAC_LEN] {
        // Lossless: no message is longer than its 16 bit length field says.
        let length = (end + INTEGRITY_SIZE - HEADER_LEN) as u16;
        let mut hmac = self.hmac.clone();
        hmac.update(&message[..2]);
        hmac.update(&length.to_be_bytes());
        hmac.update(&message[4..end]);
        hmac.finalize().into_bytes().into()
    }
}

/// A key for MESSAGE-INTEGRITY-SHA256. A type of its own, because ICE, which has a key per session, does not need it.
#[derive(Clone)]
pub struct Sha256Key {
    hmac: Hmac<Sha256>,
}

impl Sha256Key {
    /// From a hash of a long-term credential (RFC 8489 §9.2.2).
    pub fn from_bytes(key: &[u8]) -> Sha256Key {
        let hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(key);
        Sha256Key { hmac: hmac.expect("HMAC takes keys of any length (RFC 2104 §2)") }
    }

    /// The HMAC of a message up to `end`, with the length field as it was when an integrity of `len` bytes was the last
    /// attribute.
    pub(super) fn sign(&self, message: &[u8], end: usize, len: usize) -> [u8; SHA256_LEN] {
        let length = (end + 4 + len - HEADER_LEN) as u16;
        let mut hmac = self.hmac.clone();
        hmac.update(&message[..2]);
        hmac.update(&length.to_be_bytes());
        hmac.update(&message[4..end]);
        hmac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Sha256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256Key(…)")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Why a message is not proven to come from who knows the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntegrityError {
    /// There is no MESSAGE-INTEGRITY.
    #[error("stun message: no message-integrity, expected one")]
    Missing,
    /// There is a wrong one.
    #[error("stun message: message-integrity does not fit message and key")]
    Bad,
}

/// What FINGERPRINT says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {
    /// There is none.
    Absent,
    /// It fits.
    Good,
    /// It does not: damaged, or not STUN at all.
    Bad,
}

impl Message<'_> {
    /// Proves that the sender knows `key`, in constant time.
    pub fn verify(&self, key: &Key) -> Result<(), IntegrityError> {
        let at = self.integrity_at.ok_or(IntegrityError::Missing)?;
        let received = &self.bytes[at + 4..at + INTEGRITY_SIZE];
        let expected = key.sign(self.bytes, at);
        if expected.ct_eq(received).into() { Ok(()) } else { Err(IntegrityError::Bad) }
    }

    /// The same for MESSAGE-INTEGRITY-SHA256, which may be cut down to 16 bytes.
    pub fn verify_sha256(&self, key: &Sha256Key) -> Result<(), IntegrityError> {
        let (at, len) = self.sha256_at.ok_or(IntegrityError::Missing)?;
        let received = &self.bytes[at + 4..at + 4 + len];
        let expected = key.sign(self.bytes, at, len);
        if expected[..len].ct_eq(received).into() { Ok(()) } else { Err(IntegrityError::Bad) }
    }

    /// Compares FINGERPRINT with the bytes in front of it.
    pub fn check_fingerprint(&self) -> Fingerprint {
        let Some(at) = self.fingerprint_at else {
            return Fingerprint::Absent;
        };
        if self.bytes[at + 4..at + 8] == fingerprint(&self.bytes[..at]) {
            Fingerprint::Good
        } else {
            Fingerprint::Bad
        }
    }
}

/// The value of FINGERPRINT behind `message`, whose length field counts it already.
pub(super) fn fingerprint(message: &[u8]) -> [u8; 4] {
    (crc32fast::hash(message) ^ FINGERPRINT_MASK).to_be_bytes()
}
