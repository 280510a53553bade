//! \[pure\] The client's side of a session: from which addresses it may speak, and to which one the edge answers.
//!
//! The edge is ICE-lite here: it answers checks. An address becomes a *path* with the first authenticated check from
//! it. The first path of a session is good at once; each further one must answer a check of the edge before media is
//! taken from it or sent to it (return routability), so a replayed check moves nothing. Integrity was verified before
//! this module is asked.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::slots::Slots;
use crate::stun::TransactionId;

/// Addresses per session. A browser uses one or two, a roaming phone a few; more would let one client fill the table.
pub const MAX_PATHS: usize = 8;
/// A path without packets for this long is forgotten (xrtc.md §8).
pub const PATH_TIMEOUT: Duration = Duration::from_secs(30);
/// First interval between the edge's own checks of a new path (xrtc.md §4.1).
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// The interval grows to age/2 from here on.
const PROBE_SLOWS_AFTER: Duration = Duration::from_secs(5);
/// A path that did not answer by now stays unverified until its next check.
const PROBE_GIVES_UP: Duration = Duration::from_secs(15);
/// Transactions remembered to recognise a replay. Browsers send about one check per 2.5 s on a settled path, so
/// this covers over a minute; an older replay gains an answer but no media (see the module's words).
const REMEMBERED: usize = 32;

/// Where a client is: the listener it came in by, its own address, and the address of ours that it sent to where the
/// listener is bound to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr {
    /// Index of the listener.
    pub listener: u16,
    /// The client's address.
    pub remote: SocketAddr,
    /// Our address that the client used, to answer from the same one.
    pub local: Option<IpAddr>,
}

/// Media to the client moved from one address to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where it went so far.
    pub from: SocketAddr,
    /// Where it goes now.
    pub to: SocketAddr,
}

/// What an authenticated check did.
#[derive(Debug, PartialEq, Eq)]
pub struct Checked {
    /// Slot of the path, stable until the path is evicted or expires.
    pub slot: u8,
    /// The path is new: the address table must learn it.
    pub new: bool,
    /// A path that had to make room.
    pub evicted: Option<ClientAddr>,
    /// The edge must check the path itself, with this transaction.
    pub probe: bool,
    /// Media moved.
    pub moved: Option<Moved>,
}

/// A check of the edge that is due.
#[derive(Clone, Copy, Debug)]
pub struct DueProbe {
    /// Where to.
    pub at: ClientAddr,
    /// Its transaction.
    pub transaction: TransactionId,
    /// The generation whose credentials it carries.
    pub generation: u32,
}

#[derive(Debug)]
struct Path {
    at: ClientAddr,
    generation: u32,
    seen: Instant,
    state: PathState,
    /// USE-CANDIDATE came before the path was verified.
    nominated: bool,
}

#[derive(Debug)]
enum PathState {
    Verified,
    Probing { transaction: TransactionId, started: Instant, next: Option<Instant> },
}

/// The client's paths.
#[derive(Debug, Default)]
// What each packet needs comes first.
#[repr(C)]
pub struct ClientLeg {
    egress: Option<u8>,
    /// Egress was chosen by USE-CANDIDATE or by media, not just by the latest check.
    firm: bool,
    paths: Slots<Path>,
    seen_transactions: Replays,
}

impl ClientLeg {
    /// An authenticated Binding request arrived. `None`: it is a replay from another address.
    pub fn check(
        &mut self,
        now: Instant,
        at: ClientAddr,
        generation: u32,
        transaction: TransactionId,
        use_candidate: bool,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Option<Checked> {
        if self.seen_transactions.is_replay(transaction, at.remote) {
            return None;
        }
        let (slot, evicted, new) = match self.slot_of(at) {
            Some(slot) => (slot, None, false),
            None => {
                let (slot, evicted) = self.make_room();
                let state = if self.any_verified() { PathState::unproven(now) } else { PathState::Verified };
                self.paths.put(slot, Path { at, generation, seen: now, state, nominated: false });
                (slot, evicted, true)
            }
        };
        let path = self.paths.get_mut(slot)?;
        path.seen = now;
        path.at = at;
        path.generation = path.generation.max(generation);
        path.nominated |= use_candidate;
        let probe = path.state.start_probe(now, random);
        let moved = match path.state {
            PathState::Verified if use_candidate => self.set_egress(slot, true),
            PathState::Verified if !self.firm => self.set_egress(slot, false),
            _ => None,
        };
        Some(Checked { slot: slot as u8, new, evicted, probe, moved })
    }

    /// The answer to the edge's own check arrived from the path in `slot`, authenticated. Whether it was expected.
    pub fn answered(&mut self, slot: u8, transaction: TransactionId) -> Option<Option<Moved>> {
        let path = self.paths.get_mut(usize::from(slot))?;
        let PathState::Probing { transaction: expected, .. } = path.state else { return None };
        if expected != transaction {
            return None;
        }
        path.state = PathState::Verified;
        let nominated = path.nominated;
        Some(if nominated || !self.firm { self.set_egress(usize::from(slot), nominated) } else { None })
    }

    /// Media (anything but STUN) arrived from the path in `slot`. `Err`: it has not proven its address.
    pub fn media(&mut self, now: Instant, slot: u8) -> Result<Option<Moved>, Unproven> {
        let Some(path) = self.paths.get_mut(usize::from(slot)) else { return Err(Unproven) };
        let PathState::Verified = path.state else { return Err(Unproven) };
        path.seen = now;
        if self.egress == Some(slot) && self.firm {
            return Ok(None);
        }
        Ok(self.set_egress(usize::from(slot), true))
    }

    /// Where media to the client goes.
    pub fn egress(&self) -> Option<ClientAddr> {
        Some(self.paths.get(usize::from(self.egress?))?.at)
    }

    /// The generation whose check the path in `slot` carried last.
    pub fn generation_of(&self, slot: u8) -> Option<u32> {
        Some(self.paths.get(usize::from(slot))?.generation)
    }

    /// After an ICE restart: media goes to the best path that the new generation has.
    pub fn prefer_generation(&mut self, generation: u32) -> Option<Moved> {
        let current = self.egress.and_then(|slot| self.paths.get(usize::from(slot)));
        if current.is_some_and(|path| path.generation >= generation) {
            return None;
        }
        let best = self
            .paths
            .iter()
            .filter(|(_, path)| path.generation >= generation && matches!(path.state, PathState::Verified))
            .max_by_key(|(_, path)| (path.nominated, path.seen))?
            .0;
        self.set_egress(best, true)
    }

    /// Whether some verified path belongs to `generation`.
    pub fn has_verified(&self, generation: u32) -> bool {
        let verified =
            |path: &Path| path.generation >= generation && matches!(path.state, PathState::Verified);
        self.paths.iter().any(|(_, path)| verified(path))
    }

    /// The edge's own checks that are due now; each is counted as sent.
    pub fn due_probes(&mut self, now: Instant, mut send: impl FnMut(DueProbe)) {
        for path in self.paths.values_mut() {
            let PathState::Probing { transaction, started, next } = &mut path.state else { continue };
            if next.is_none_or(|at| at > now) {
                continue;
            }
            let age = now.saturating_duration_since(*started);
            *next = if age >= PROBE_GIVES_UP {
                None
            } else if age >= PROBE_SLOWS_AFTER {
                Some(now + age / 2)
            } else {
                Some(now + PROBE_INTERVAL)
            };
            send(DueProbe { at: path.at, transaction: *transaction, generation: path.generation });
        }
    }

    /// Forgets silent paths and tells which.
    pub fn expire(&mut self, now: Instant, mut gone: impl FnMut(ClientAddr)) {
        for slot in 0..MAX_PATHS {
            let Some(path) = self.paths.get(slot) else { continue };
            if now.saturating_duration_since(path.seen) < PATH_TIMEOUT {
                continue;
            }
            gone(path.at);
            self.clear(slot);
        }
    }

    /// The client's connection closed: its path is gone at once. Whether there was one.
    pub fn leave(&mut self, listener: u16, remote: SocketAddr) -> bool {
        let same = |path: &Path| path.at.listener == listener && path.at.remote == remote;
        let Some(slot) = self.paths.position(same) else { return false };
        self.clear(slot);
        true
    }

    /// Every path's address.
    pub fn addresses(&self) -> impl Iterator<Item = ClientAddr> + '_ {
        self.paths.iter().map(|(_, path)| path.at)
    }

    /// Every path: its address, whether it may carry media, and whether media goes there.
    pub fn overview(&self) -> impl Iterator<Item = (ClientAddr, bool, bool)> + '_ {
        self.paths.iter().map(|(slot, path)| {
            let selected = self.egress.map(usize::from) == Some(slot);
            (path.at, matches!(path.state, PathState::Verified), selected)
        })
    }

    /// No path is left.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// When [`ClientLeg::due_probes`] or [`ClientLeg::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.paths
            .iter()
            .map(|(_, path)| match path.state {
                PathState::Probing { next: Some(next), .. } => next.min(path.seen + PATH_TIMEOUT),
                _ => path.seen + PATH_TIMEOUT,
            })
            .min()
    }

    fn clear(&mut self, slot: usize) {
        self.paths.take(slot);
        if self.egress == Some(slot as u8) {
            self.egress = None;
            self.firm = false;
        }
    }

    fn slot_of(&self, at: ClientAddr) -> Option<usize> {
        self.paths.position(|path| path.at.remote == at.remote && path.at.listener == at.listener)
    }

    fn any_verified(&self) -> bool {
        self.paths.iter().any(|(_, path)| matches!(path.state, PathState::Verified))
    }

    /// A free slot; when all are taken, the one that was silent longest, but never the one media goes to.
    fn make_room(&mut self) -> (usize, Option<ClientAddr>) {
        if let Some(free) = self.paths.free(MAX_PATHS) {
            return (free, None);
        }
        let oldest = (0..MAX_PATHS)
            .filter(|slot| self.egress != Some(*slot as u8))
            .min_by_key(|slot| self.paths.get(*slot).map(|path| path.seen))
            .unwrap_or(0);
        (oldest, self.paths.take(oldest).map(|path| path.at))
    }

    fn set_egress(&mut self, slot: usize, firm: bool) -> Option<Moved> {
        let from = self.egress().map(|at| at.remote);
        self.egress = Some(slot as u8);
        self.firm |= firm;
        let to = self.egress()?.remote;
        from.filter(|from| *from != to).map(|from| Moved { from, to })
    }
}

/// Media came from a path that has not answered the edge's check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unproven;

impl PathState {
    /// A path that must prove itself; the first probe starts with its check.
    fn unproven(now: Instant) -> Self {
        PathState::Probing { transaction: TransactionId::default(), started: now, next: None }
    }

    /// Starts a round of the edge's checks unless one is under way; whether it did.
    fn start_probe(&mut self, now: Instant, random: &mut dyn FnMut(&mut [u8])) -> bool {
        let PathState::Probing { transaction, started, next } = self else { return false };
        if next.is_some() {
            return false;
        }
        random(transaction);
        *started = now;
        *next = Some(now);
        true
    }
}

/// The latest transactions with the address each came from.
#[derive(Debug, Default)]
pub(super) struct Replays {
    ring: Vec<(u64, u64)>,
    next: usize,
}

impl Replays {
    /// Remembers the transaction; says whether it is known from another address.
    pub(super) fn is_replay(&mut self, transaction: TransactionId, from: SocketAddr) -> bool {
        let (id, from) = (fold(transaction), fingerprint(from));
        if let Some((_, known)) = self.ring.iter().find(|(known, _)| *known == id) {
            return *known != from;
        }
        if self.ring.len() < REMEMBERED {
            self.ring.push((id, from));
        } else {
            self.ring[self.next] = (id, from);
        }
        self.next = (self.next + 1) % REMEMBERED;
        false
    }
}

fn fold(transaction: TransactionId) -> u64 {
    let mut low = [0; 8];
    low.copy_from_slice(&transaction[4..]);
    let mut high = [0; 4];
    high.copy_from_slice(&transaction[..4]);
    u64::from_be_bytes(low) ^ (u64::from(u32::from_be_bytes(high)) << 17)
}

/// Collision-free for IPv4; for IPv6 good enough, because a collision only costs the recognition of one replay.
fn fingerprint(addr: SocketAddr) -> u64 {
    let ip = match addr.ip().to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            (bits >> 64) as u64 ^ (bits as u64).rotate_left(29)
        }
    };
    (ip << 16) ^ u64::from(addr.port()) ^ (ip >> 48)
}

#[cfg(test)]
#[path = "client_leg_tests.rs"]
mod tests;
