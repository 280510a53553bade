//! \[pure\] A backend leg at rest: its one path is kept alive (RFC 7675) without an agent, which with its lists of candidates,
//! pairs and attempts takes ten times as much memory.
//!
//! It asks and answers as the agent did, with the same role, tie-breaker and passwords. It decides nothing: whatever is not
//! plain consent on the path (another address, a role conflict, an error, silence) is [`Heard::Unusual`], and an agent takes
//! over again. Nothing that is not authentic is unusual.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{BackendPath, Seed};
use crate::session::registration::Registration;
use crate::stun::{
    self, AttributeType, BINDING_RESPONSE_MAX, BindingRequest, Class, IceRole, Key, Message, TransactionId,
};

/// Time between two checks, times 0.8 to 1.2 so that those of many sessions do not meet. RFC 7675 §5.1 would have 5 s, for paths on
/// which a lost check is asked again at its next time only; here the agent asks again after [`PATIENCE`] and retransmits, so
/// the 30 s that consent lasts hold two such rounds, and a silent backend is noticed within them. Thousands of sessions would
/// spend a tenth of their processor time on checks otherwise.
const INTERVAL: Duration = Duration::from_secs(10);
/// A check without an answer for so long wakes the agent, which asks again and tries other ways. A backend is near.
const PATIENCE: Duration = Duration::from_secs(1);
/// PRIORITY of a check: a peer-reflexive candidate of the only component (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = (110 << 24) | (65535 << 8) | 255;
/// Two ufrags of at most 256 bytes and 100 bytes of everything else.
const REQUEST_MAX: usize = 768;

/// What keeps the path.
#[derive(Debug)]
pub(super) struct Consent {
    pub(super) path: BackendPath,
    pub(super) controlling: bool,
    seed: Seed,
    checks: u32,
    /// When the check that has no answer yet was sent.
    asked: Option<Instant>,
    next: Instant,
}

/// What a message of the backend is to a leg at rest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Not authentic, or nothing that was asked for.
    Foreign,
    /// Consent goes on; this is to be sent back by the path.
    Request(Vec<u8>),
    /// Consent goes on.
    Answer,
    /// Authentic, and the agent's business.
    Unusual,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Send this by the path.
    Check(Vec<u8>),
    /// The path is silent.
    Silence,
}

impl Consent {
    pub(super) fn new(now: Instant, seed: Seed, path: BackendPath, controlling: bool) -> Self {
        Consent { path, controlling, seed, checks: 0, asked: None, next: now }
    }

    /// Time passed.
    pub(super) fn handle_timeout(&mut self, now: Instant, of: &Registration) -> Due {
        if self.asked.is_some_and(|asked| now >= asked + PATIENCE) {
            return Due::Silence;
        }
        if now < self.next {
            return Due::Nothing;
        }
        self.checks = self.checks.wrapping_add(1);
        self.asked = Some(now);
        self.next = now + self.interval();
        Due::Check(self.check(of))
    }

    /// When [`Consent::handle_timeout`] wants to be called.
    pub(super) fn next_deadline(&self) -> Instant {
        self.asked.map_or(self.next, |asked| self.next.min(asked + PATIENCE))
    }

    /// STUN from `source` on the socket with this index.
    pub(super) fn handle_stun(
        &mut self,
        (socket, source): (u16, SocketAddr),
        message: &Message<'_>,
        of: &Registration,
    ) -> Heard {
        let on_path = socket == self.path.socket.index && source == self.path.remote;
        if message.is_binding(Class::Request) {
            return self.request(on_path, source, message, of);
        }
        let asked = on_path && self.asked.is_some() && message.transaction_id() == self.transaction();
        if !asked || message.verify(&Key::short_term(&of.backend.pwd)).is_err() {
            return Heard::Foreign;
        }
        if !message.is_binding(Class::Success) {
            return Heard::Unusual;
        }
        self.asked = None;
        Heard::Answer
    }

    fn request(&self, on_path: bool, source: SocketAddr, message: &Message<'_>, of: &Registration) -> Heard {
        let key = Key::short_term(&of.client.pwd);
        let for_us = message.ufrags() == Some((&*of.client.ufrag, &*of.backend.ufrag));
        if !for_us || message.verify(&key).is_err() {
            return Heard::Foreign;
        }
        let conflict =
            if self.controlling { message.ice_controlling() } else { message.ice_controlled() }.is_some();
        let unknown = message.unknown_required(AttributeType::KNOWN_TO_ICE).next().is_some();
        if !on_path || conflict || unknown {
            return Heard::Unusual;
        }
        let mut answer = vec![0; BINDING_RESPONSE_MAX];
        match stun::binding_success(&mut answer, message.transaction_id(), source, &key) {
            Ok(len) => answer.truncate(len),
            Err(_) => return Heard::Unusual,
        }
        Heard::Request(answer)
    }

    fn check(&self, of: &Registration) -> Vec<u8> {
        let tie_breaker = tie_breaker(&self.seed);
        let request = BindingRequest {
            receiver_ufrag: &of.backend.ufrag,
            sender_ufrag: &of.client.ufrag,
            priority: PRIORITY,
            role: if self.controlling {
                IceRole::Controlling(tie_breaker)
            } else {
                IceRole::Controlled(tie_breaker)
            },
            // As the agent: whoever nominated says so again with every check.
            use_candidate: self.controlling,
        };
        let mut bytes = [0; REQUEST_MAX];
        let key = Key::short_term(&of.backend.pwd);
        let len = stun::binding_request(&mut bytes, self.transaction(), &request, &key).unwrap_or_default();
        bytes[..len].to_vec()
    }

    /// Different for every check of a leg, and for every leg; what makes an answer genuine is its signature.
    fn transaction(&self) -> TransactionId {
        let mut id = TransactionId::default();
        id.copy_from_slice(&self.seed[8..]);
        for (byte, count) in id[8..].iter_mut().zip(self.checks.to_be_bytes()) {
            *byte ^= count;
        }
        id
    }

    fn interval(&self) -> Duration {
        let spread = u32::from(self.seed[8].wrapping_add((self.checks as u8).wrapping_mul(101)));
        INTERVAL * (800 + spread * 400 / 255) / 1000
    }
}

/// RFC 8445 §7.1.3: the same for all checks of a leg.
pub(super) fn tie_breaker(seed: &Seed) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&seed[..8]);
    u64::from_be_bytes(bytes)
}
