//! Nonces that the server need not remember: a keyed hash of who got one and when. A nonce proves that its sender sees what
//! is sent to its address; it is no credential.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A nonce is good for one to two of these.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Tells that the server knows password algorithms (RFC 8489 §9.2): the cookie, and a bit set with the first bit set.
pub(super) const COOKIE: &[u8; 13] = b"obMatJos2gAAA";
/// Characters of a nonce behind the cookie: one for the time, seven (42 bits) for the hash. A forged one is worth nothing
/// without a password, and the answer to a stranger must stay small.
pub(super) const CORE: usize = 8;
/// The longest nonce.
pub(super) const LONGEST: usize = COOKIE.len() + CORE;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Issues and checks nonces. All workers have the same secret.
#[derive(Clone)]
pub struct Nonces {
    hmac: Hmac<Sha256>,
    origin: Instant,
}

/// What a nonce says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// Issued to this client not long ago.
    Good {
        /// Together with a list of password algorithms.
        with_algorithms: bool,
    },
    /// Too old, another client's, or made up.
    Stale,
}

impl Nonces {
    /// `secret` is random; `origin` is the same for all that share it, and lies in the past.
    pub fn new(secret: [u8; 32], origin: Instant) -> Nonces {
        let hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(&secret);
        Nonces { hmac: hmac.expect("HMAC takes keys of any length (RFC 2104 §2)"), origin }
    }

    /// Writes a nonce for `client`; returns its length.
    pub(super) fn issue(
        &self,
        now: Instant,
        client: SocketAddr,
        with_algorithms: bool,
        out: &mut [u8; LONGEST],
    ) -> usize {
        let core = self.core(self.window(now), client, with_algorithms);
        let start = if with_algorithms { COOKIE.len() } else { 0 };
        out[..start].copy_from_slice(&COOKIE[..start]);
        out[start..start + CORE].copy_from_slice(&core);
        start + CORE
    }

    /// Whether `nonce` was issued to `client` in this or the last window.
    pub(super) fn check(&self, now: Instant, client: SocketAddr, nonce: &[u8]) -> Checked {
        let (with_algorithms, core) = match nonce.strip_prefix(COOKIE) {
            Some(core) => (true, core),
            None => (false, nonce),
        };
        let window = self.window(now);
        let issued = [window, window.wrapping_sub(1)];
        let is_ours = |window| self.core(window, client, with_algorithms).ct_eq(core).into();
        if issued.into_iter().any(is_ours) { Checked::Good { with_algorithms } } else { Checked::Stale }
    }

    fn window(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_secs() / WINDOW.as_secs()
    }

    fn core(&self, window: u64, client: SocketAddr, with_algorithms: bool) -> [u8; CORE] {
        let mut hmac = self.hmac.clone();
        hmac.update(&window.to_be_bytes());
        hmac.update(&[u8::from(with_algorithms)]);
        match client.ip().to_canonical() {
            IpAddr::V4(ip) => hmac.update(&ip.octets()),
            IpAddr::V6(ip) => hmac.update(&ip.octets()),
        }
        hmac.update(&client.port().to_be_bytes());
        let hash: [u8; 32] = hmac.finalize().into_bytes().into();
        let mut core = [0; CORE];
        core[0] = ALPHABET[(window % 64) as usize];
        for (out, byte) in core[1..].iter_mut().zip(hash) {
            *out = ALPHABET[usize::from(byte % 64)];
        }
        core
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_nonce_is_good_for_its_client_until_it_is_old() {
        let start = Instant::now();
        let nonces = Nonces::new([7; 32], start);
        let (ours, port, ip) = (client("192.0.2.1:1000"), client("192.0.2.1:1001"), client("192.0.2.2:1000"));
        for with_algorithms in [false, true] {
            let mut out = [0; LONGEST];
            let len = nonces.issue(start, ours, with_algorithms, &mut out);
            let nonce = &out[..len];
            let good = Checked::Good { with_algorithms };
            assert_eq!(nonces.check(start, ours, nonce), good);
            assert_eq!(nonces.check(start + WINDOW, ours, nonce), good);
            assert_eq!(nonces.check(start + 2 * WINDOW, ours, nonce), Checked::Stale);
            assert_eq!(nonces.check(start, port, nonce), Checked::Stale);
            assert_eq!(nonces.check(start, ip, nonce), Checked::Stale);
            assert_eq!(Nonces::new([8; 32], start).check(start, ours, nonce), Checked::Stale);
            for at in 0..len {
                let mut forged = nonce.to_vec();
                forged[at] ^= 1;
                assert_eq!(nonces.check(start, ours, &forged), Checked::Stale);
                assert_eq!(nonces.check(start, ours, &nonce[..at]), Checked::Stale);
            }
        }
    }

    #[test]
    fn the_list_of_algorithms_cannot_be_taken_away_unseen() {
        let (start, ours) = (Instant::now(), client("[2001:db8::1]:5"));
        let nonces = Nonces::new([7; 32], start);
        let mut out = [0; LONGEST];
        let len = nonces.issue(start, ours, true, &mut out);
        assert_eq!(nonces.check(start, ours, &out[COOKIE.len()..len]), Checked::Stale);
    }
}
