//! What checks may cost before they are proven: looking at a signature takes longer than anything else that a stranger can
//! ask for.
//!
//! A source address on UDP is whatever its sender wrote, so a budget per source alone would be a weapon: whoever forges the
//! address of others would use it up for them. A check is therefore left unlooked-at only where its source **and** the
//! session that it names have both used up what may fail. An address that belongs to the session is always heard, so a valid
//! check of a session under way never suffers; and a stranger who knows no session's name costs no signature at all.

use std::net::IpAddr;
use std::time::Instant;

use super::tables::Known;
use super::{DropReason, Forwarder};
use crate::budget::{Meter, Rate, Sources};
use crate::config::{IpNet, Limits};
use crate::session::client_leg::ClientAddr;
use crate::session::meter::Allowance;
use crate::session::registration::SessionId;

/// Checks of a session that may fail. Honest ones do so during an ICE restart alone, by the dozen at most.
const PER_SESSION: Rate = Rate { per_second: 10, burst: 50 };

/// The budgets for checks that fail.
pub(super) struct Unproven {
    sources: Sources,
    rate: Rate,
    capacity: usize,
    sessions: Meter,
    exempt: Vec<IpNet>,
}

impl Forwarder {
    /// Changes the limits; nobody who is served loses anything.
    pub fn set_limits(&mut self, now: Instant, limits: &Limits) {
        self.max_sessions = limits.sessions;
        self.allowance = Allowance { packets: limits.session_packets, bytes: limits.session_bytes as u64 };
        let Some(rate) = limits.stun else {
            self.unproven = None;
            return;
        };
        let capacity = limits.tracked_sources;
        match self.unproven.as_mut().filter(|it| it.capacity == capacity) {
            Some(unproven) => unproven.renew(rate, &limits.exempt),
            None => {
                let mut seed = [0; 8];
                (self.random)(&mut seed);
                self.unproven = Some(Unproven {
                    sources: Sources::new(rate, capacity, u64::from_ne_bytes(seed), now),
                    rate,
                    capacity,
                    sessions: Meter::new(PER_SESSION, now),
                    exempt: limits.exempt.clone(),
                });
            }
        }
    }

    /// The reason for dropping a check that names no session; a flood has one of its own.
    pub(super) fn unknown_username(&mut self, now: Instant, from: IpAddr) -> DropReason {
        if self.may_ask(now, from) { DropReason::UnknownUsername } else { DropReason::SourceOverBudget }
    }

    /// Whether a source that proves nothing has anything left; takes one of it.
    pub(super) fn may_ask(&mut self, now: Instant, from: IpAddr) -> bool {
        self.unproven.as_mut().is_none_or(|unproven| unproven.take(now, from))
    }

    /// Whether a check is worth looking at.
    pub(super) fn may_be_valid(&self, now: Instant, at: ClientAddr, session: SessionId) -> bool {
        let Some(unproven) = &self.unproven else { return true };
        let ip = at.remote.ip();
        unproven.has_left(now, ip)
            || self
                .tables
                .known
                .get(&session)
                .is_none_or(|known| unproven.sessions.has_left(now, known.failed))
            || self.tables.client(at.listener, at.remote).is_some()
    }

    /// A check was looked at for nothing.
    pub(super) fn check_failed(&mut self, now: Instant, from: IpAddr, session: SessionId) {
        let Some(unproven) = &mut self.unproven else { return };
        unproven.take(now, from);
        if let Some(Known { failed, .. }) = self.tables.known.get_mut(&session) {
            unproven.sessions.charge(now, failed);
        }
    }
}

impl Unproven {
    fn renew(&mut self, rate: Rate, exempt: &[IpNet]) {
        if self.rate != rate {
            self.sources.set_rate(rate);
            self.rate = rate;
        }
        self.exempt = exempt.to_vec();
    }

    fn has_left(&self, now: Instant, ip: IpAddr) -> bool {
        self.sources.has_left(now, ip) || self.is_exempt(ip)
    }

    fn take(&mut self, now: Instant, ip: IpAddr) -> bool {
        self.is_exempt(ip) || self.sources.take(now, ip).is_ok()
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(ip))
    }
}
