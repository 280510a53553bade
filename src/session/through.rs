//! \[pure\] A session in transparent mode: every packet passes, STUN included, and each address of the client has a
//! backend-facing address of its own, so that what the backend sees stays meaningful (xrtc.md §3).
//!
//! The edge ends no transaction here; it only looks on. A check is verified before it makes a flow; the first flow
//! may carry media at once, each further one after the client answered a check of the backend from there. A
//! candidate of the backend counts as reached when an authenticated answer came from it; one that stays silent makes room
//! for the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend_leg::{BackendPath, CONNECT_TIMEOUT, MAX_REMOTES};
use super::client_leg::{ClientAddr, MAX_PATHS, PATH_TIMEOUT, Replays};
use super::meter::Meter;
use super::observe::{Observed, Tick};
use super::registration::{
    BackendCandidate, CandidateTransport, EndReason, Origin, Registration, SessionId, Traffic,
};
use super::slots::Slots;
use super::story::BackendTry;
use crate::stun::{Key, TransactionId};

/// A UDP candidate that has not answered the client's checks by then is left for the next one. Browsers repeat an
/// unanswered check within 50 to 500 ms, so it had at least two chances.
const UDP_PATIENCE: Duration = Duration::from_secs(1);
/// The same for TCP, whose dialling takes a round trip more and is bounded by the shell.
const TCP_PATIENCE: Duration = Duration::from_secs(6);
/// Credentials that are good at a time: those before and those after an ICE restart.
const GENERATIONS: usize = 2;

/// Keys of one generation.
pub struct Keys {
    /// What was registered.
    pub registration: Arc<Registration>,
    /// The backend's password: signs the client's checks and the backend's answers.
    pub backend: Key,
    /// The client's password: signs the backend's checks and the client's answers.
    pub client: Key,
}

impl Keys {
    fn new(registration: Arc<Registration>) -> Self {
        Keys {
            backend: Key::short_term(&registration.backend.pwd),
            client: Key::short_term(&registration.client.pwd),
            registration,
        }
    }
}

/// One address of the client and its way to the backend.
#[derive(Debug)]
// In this order what each packet needs comes first.
#[repr(C)]
pub struct Flow {
    /// The client.
    pub at: ClientAddr,
    /// The way to the backend, once its socket is open.
    pub path: Option<BackendPath>,
    seen: Instant,
    /// An authenticated answer of the backend came this way.
    answered: bool,
    /// Media may pass: the first flow, or one from which the client answered a check.
    proven: bool,
    /// The latest check that has no answer yet: it goes out again as soon as the way to a candidate is open.
    held: Vec<u8>,
    /// Index of the candidate that is tried or used.
    candidate: usize,
    since: Instant,
}

impl Flow {
    /// Whether media may pass.
    pub fn may_carry(&self) -> bool {
        self.proven
    }

    /// Keeps a check until the backend has answered one.
    pub fn hold(&mut self, check: &[u8]) {
        if !self.answered {
            self.held.clear();
            self.held.extend_from_slice(check);
        }
    }
}

/// A session in transparent mode.
// In this order what each packet needs comes first, and lies together: nothing of it is in a cache when the next burst comes.
#[repr(C)]
pub struct Through {
    flows: Slots<Flow>,
    /// What was forwarded.
    pub traffic: Traffic,
    /// What the client sent lately.
    pub meter: Meter,
    /// What happened when, and how media arrives.
    pub observed: Observed,
    /// Its name.
    pub id: SessionId,
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// Newest last.
    generations: Vec<Keys>,
    candidates: Vec<BackendCandidate>,
    /// The candidate that answered last: further flows start with it.
    good: usize,
    replays: Replays,
    /// When it was registered.
    pub registered: Instant,
    claimed: Instant,
    /// When the timer wheel wakes this session.
    pub armed: Option<Instant>,
    /// The newest generation in which the backend answered.
    connected: Option<u32>,
}

/// What a check did.
#[derive(Debug, PartialEq, Eq)]
pub struct Entered {
    /// Slot of the flow.
    pub slot: u8,
    /// The flow is new.
    pub new: bool,
    /// A flow that had to make room.
    pub evicted: Option<(ClientAddr, Option<BackendPath>)>,
}

/// What a flow needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The flow.
    pub slot: u8,
    /// The candidate to reach.
    pub toward: SocketAddr,
    /// How.
    pub transport: CandidateTransport,
}

impl Through {
    /// A session that a valid check just claimed.
    pub fn new(now: Instant, registered: Instant, born: Tick, registration: Arc<Registration>) -> Self {
        let mut through = Through {
            id: registration.session,
            origin: registration.origin.clone(),
            generations: Vec::new(),
            candidates: Vec::new(),
            flows: Slots::default(),
            good: 0,
            replays: Replays::default(),
            traffic: Traffic::default(),
            meter: Meter::default(),
            registered,
            claimed: now,
            armed: None,
            observed: Observed::new(born),
            connected: None,
        };
        through.restart(registration);
        through
    }

    /// New credentials. The flows stay; keys that are too old are handed back.
    pub fn restart(&mut self, registration: Arc<Registration>) -> Option<Keys> {
        self.add_candidates(&registration.candidates, registration.prefer_tcp);
        self.generations.reserve_exact(1);
        self.generations.push(Keys::new(registration));
        (self.generations.len() > GENERATIONS).then(|| self.generations.remove(0))
    }

    /// Further candidates, such as trickled ones. TCP stands first or last as the route says.
    pub fn add_candidates(&mut self, candidates: &[BackendCandidate], prefer_tcp: bool) {
        let used = self.candidates.get(self.good).map(|candidate| candidate.addr);
        for candidate in candidates {
            let known = self
                .candidates
                .iter()
                .any(|known| known.addr == candidate.addr && known.transport == candidate.transport);
            if !known && self.candidates.len() < MAX_REMOTES {
                self.candidates.reserve_exact(1);
                self.candidates.push(candidate.clone());
            }
        }
        // Flows without an answer start over with the new order; the others keep their path whatever its index.
        self.candidates
            .sort_by_key(|candidate| (candidate.transport == CandidateTransport::Udp) == prefer_tcp);
        self.good = self.candidates.iter().position(|candidate| Some(candidate.addr) == used).unwrap_or(0);
    }

    /// The newest registration.
    pub fn registration(&self) -> Option<&Arc<Registration>> {
        self.generations.last().map(|keys| &keys.registration)
    }

    /// Keys of every generation, newest first.
    pub fn keys(&self) -> impl Iterator<Item = &Keys> {
        self.generations.iter().rev()
    }

    /// Keys of one generation.
    pub fn keys_of(&self, generation: u32) -> Option<&Keys> {
        self.generations.iter().find(|keys| keys.registration.generation == generation)
    }

    /// An authenticated check of the client. `None`: a replay from another address.
    pub fn enter(&mut self, now: Instant, at: ClientAddr, transaction: TransactionId) -> Option<Entered> {
        if self.replays.is_replay(transaction, at.remote) {
            return None;
        }
        let same = |flow: &Flow| flow.at.remote == at.remote && flow.at.listener == at.listener;
        if let Some(slot) = self.flows.position(same) {
            if let Some(flow) = self.flows.get_mut(slot) {
                (flow.seen, flow.at) = (now, at);
            }
            return Some(Entered { slot: slot as u8, new: false, evicted: None });
        }
        let (slot, evicted) = self.make_room();
        let proven = self.flows.is_empty();
        let flow = Flow {
            at,
            path: None,
            held: Vec::new(),
            candidate: self.good,
            since: now,
            seen: now,
            answered: false,
            proven,
        };
        self.flows.put(slot, flow);
        Some(Entered { slot: slot as u8, new: true, evicted: evicted.map(|flow| (flow.at, flow.path)) })
    }

    /// The flow in a slot.
    #[inline]
    pub fn flow(&self, slot: u8) -> Option<&Flow> {
        self.flows.get(usize::from(slot))
    }

    /// The same, to change it.
    #[inline]
    pub fn flow_mut(&mut self, slot: u8) -> Option<&mut Flow> {
        self.flows.get_mut(usize::from(slot))
    }

    /// Whether the backend has answered a check.
    pub fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Every candidate of the backend, and what came of it.
    pub fn overview(&self) -> Vec<BackendTry> {
        let told = |(index, candidate): (usize, &BackendCandidate)| {
            let mut flows = self.flows().map(|(_, flow)| flow).filter(|flow| flow.candidate == index);
            let flow = flows.clone().find(|flow| flow.answered).or_else(|| flows.next());
            BackendTry {
                remote: candidate.addr,
                transport: candidate.transport,
                local: flow.and_then(|flow| flow.path).map(|path| path.socket.addr),
                answered: flow.is_some_and(|flow| flow.answered),
                selected: flow.is_some_and(|flow| flow.answered && flow.proven),
            }
        };
        self.candidates.iter().enumerate().map(told).collect()
    }

    /// Every flow with its slot.
    pub fn flows(&self) -> impl Iterator<Item = (u8, &Flow)> + Clone {
        self.flows.iter().map(|(slot, flow)| (slot as u8, flow))
    }

    /// Something of the client came by this flow.
    #[inline]
    pub fn heard(&mut self, now: Instant, slot: u8) {
        if let Some(flow) = self.flow_mut(slot) {
            flow.seen = now;
        }
    }

    /// The client answered a check of the backend from there, authenticated.
    pub fn prove(&mut self, slot: u8) {
        if let Some(flow) = self.flow_mut(slot) {
            flow.proven = true;
        }
    }

    /// An answer of the backend came by this flow, authentic in `generation`. Whether it is the first in a generation.
    pub fn answered(&mut self, slot: u8, generation: u32) -> bool {
        let Some(flow) = self.flow_mut(slot) else { return false };
        flow.answered = true;
        flow.held = Vec::new();
        self.good = flow.candidate;
        let first = self.connected.is_none_or(|newest| newest < generation);
        self.connected = self.connected.max(Some(generation));
        first
    }

    /// The candidate that a flow without a path wants to reach.
    pub fn wants(&self, slot: u8) -> Option<Wanted> {
        let flow = self.flow(slot).filter(|flow| flow.path.is_none())?;
        let candidate = self.candidates.get(flow.candidate % self.candidates.len().max(1))?;
        Some(Wanted { slot, toward: candidate.addr, transport: candidate.transport })
    }

    /// Whether a check may look for a way again: the last one was lost, and not just now.
    pub fn may_open(&self, now: Instant, slot: u8) -> bool {
        let waited = |flow: &Flow| now.saturating_duration_since(flow.since) >= self.patience(flow);
        self.flow(slot).is_some_and(|flow| flow.path.is_none() && waited(flow))
    }

    /// Whether the candidate of this flow is the last of the list.
    pub fn at_last_candidate(&self, slot: u8) -> bool {
        self.flow(slot).is_none_or(|flow| flow.candidate + 1 >= self.candidates.len())
    }

    /// The way to the candidate that `wanted` named is open. Hands back the check that waited for it.
    pub fn opened(&mut self, now: Instant, wanted: Wanted, path: BackendPath) -> Option<Vec<u8>> {
        if self.wants(wanted.slot) != Some(wanted) {
            return None;
        }
        let flow = self.flow_mut(wanted.slot)?;
        flow.path = Some(path);
        flow.since = now;
        Some(flow.held.clone())
    }

    /// The way in use broke, or the candidate stayed silent: the next one is tried. Hands back the path that is free now.
    pub fn next_candidate(&mut self, now: Instant, slot: u8) -> Option<BackendPath> {
        let count = self.candidates.len().max(1);
        let flow = self.flow_mut(slot)?;
        flow.candidate = (flow.candidate + 1) % count;
        flow.answered = false;
        flow.since = now;
        flow.path.take()
    }

    /// Flows whose candidate stayed silent for too long, while there is another one to try.
    pub fn silent(&self, now: Instant) -> Vec<u8> {
        if self.candidates.len() < 2 {
            return Vec::new();
        }
        let late =
            |flow: &Flow| !flow.answered && now.saturating_duration_since(flow.since) >= self.patience(flow);
        self.flows().filter(|(_, flow)| late(flow)).map(|(slot, _)| slot).collect()
    }

    /// Takes out flows that the client left.
    pub fn expire(&mut self, now: Instant, mut gone: impl FnMut(Flow)) {
        let late = |flow: &Flow| now.saturating_duration_since(flow.seen) >= PATH_TIMEOUT;
        while let Some(flow) = self.flows.position(late).and_then(|slot| self.flows.take(slot)) {
            gone(flow);
        }
    }

    /// Takes out the flow of a client connection that closed.
    pub fn leave(&mut self, listener: u16, remote: SocketAddr) -> Option<Flow> {
        let same = |flow: &Flow| flow.at.listener == listener && flow.at.remote == remote;
        self.flows.take(self.flows.position(same)?)
    }

    /// Whether the session is over, and why.
    pub fn over(&self, now: Instant) -> Option<EndReason> {
        if self.flows.is_empty() {
            return Some(EndReason::ClientSilent);
        }
        let late = now.saturating_duration_since(self.claimed) >= CONNECT_TIMEOUT;
        (late && self.connected.is_none()).then_some(EndReason::BackendSilent)
    }

    /// When the session wants to be looked at.
    pub fn next_deadline(&self) -> Option<Instant> {
        let retry = self.candidates.len() > 1;
        let of_flows = self.flows().map(|(_, flow)| {
            let expires = flow.seen + PATH_TIMEOUT;
            if retry && !flow.answered { expires.min(flow.since + self.patience(flow)) } else { expires }
        });
        let connects = self.connected.is_none().then_some(self.claimed + CONNECT_TIMEOUT);
        of_flows.chain(connects).min()
    }

    fn patience(&self, flow: &Flow) -> Duration {
        match self.candidates.get(flow.candidate).map(|candidate| candidate.transport) {
            Some(CandidateTransport::TcpPassive) => TCP_PATIENCE,
            _ => UDP_PATIENCE,
        }
    }

    /// A free slot, or that of the flow that was silent longest.
    fn make_room(&mut self) -> (usize, Option<Flow>) {
        let oldest = |slot: &usize| self.flows.get(*slot).map(|flow| flow.seen);
        let slot = (0..MAX_PATHS).min_by_key(oldest).unwrap_or(0);
        (slot, self.flows.take(slot))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn what_each_packet_needs_comes_first() {
        assert!(offset_of!(Flow, proven) < 3 * 64, "{}", offset_of!(Flow, proven));
        assert!(offset_of!(Through, observed) < 5 * 64, "{}", offset_of!(Through, observed));
    }
}
