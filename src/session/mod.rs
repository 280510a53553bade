//! \[pure\] Sessions: what one ICE transport through the edge is made of.
//!
//! A session has a client leg, and per generation of credentials (one more with every ICE restart) a backend leg. The
//! old generation carries media until both legs of the new one are validated. This module never sends: checks that
//! are due are handed to the caller.

pub mod backend_leg;
pub mod client_leg;
pub mod diagnosis;
pub mod meter;
pub mod observe;
pub mod registration;
mod slots;
pub mod story;
pub mod through;
pub mod timers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stun;
use backend_leg::{BackendLeg, BackendPath, Seed};
use client_leg::{ClientAddr, ClientLeg, DueProbe, Moved};
use meter::Meter;
use observe::{Observed, Tick};
use registration::{
    BackendCandidate, CandidateTransport, EndReason, Origin, Registration, SessionId, Traffic,
};
use story::BackendTry;

/// How long the preferred transport towards the backend is tried alone: a dozen checks.
const FALLBACK_AFTER: Duration = Duration::from_secs(3);
/// The same where the backend has no candidate of it: time for one to trickle in.
const FALLBACK_AT_ONCE: Duration = Duration::from_millis(250);
/// A restart that no client follows is forgotten after this time; the old generation goes on.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// One generation of credentials: what both sides were told, and the agent that speaks to the backend.
// What each packet needs comes first.
#[repr(C)]
pub struct Generation {
    /// The backend leg.
    pub backend: BackendLeg,
    /// What was registered.
    pub registration: Arc<Registration>,
    /// pE: verifies and signs on the client leg.
    pub edge_key: stun::Key,
    /// Candidates that wait for a socket.
    pub waiting: Vec<BackendCandidate>,
    /// Candidates of the transport that is tried only if the other one gets no answer.
    fallback: Vec<BackendCandidate>,
    /// A valid check of the client with these credentials was seen.
    checked: bool,
    since: Instant,
}

impl Generation {
    fn new(now: Instant, seed: Seed, registration: Arc<Registration>) -> Self {
        Generation {
            edge_key: stun::Key::short_term(&registration.edge.pwd),
            backend: BackendLeg::new(now, seed, registration.clone()),
            waiting: Vec::new(),
            fallback: Vec::new(),
            checked: false,
            since: now,
            registration: registration.clone(),
        }
        .with(&registration.candidates)
    }

    /// pC: verifies what the client answers to the edge's own checks, and signs these. Made when it is needed, because that
    /// is a few times in a session's life.
    pub fn client_key(&self) -> stun::Key {
        stun::Key::short_term(&self.registration.client.pwd)
    }

    fn with(mut self, candidates: &[BackendCandidate]) -> Self {
        self.add_candidates(candidates);
        self
    }

    /// Sorts candidates into those to try now and those to try when the first get no answer: TCP waits for UDP, or with
    /// `icetcp` the other way round. A backend that has only one of the two is not kept waiting.
    pub fn add_candidates(&mut self, candidates: &[BackendCandidate]) {
        let prefer_tcp = self.registration.prefer_tcp;
        let preferred =
            |it: &BackendCandidate| (it.transport == CandidateTransport::TcpPassive) == prefer_tcp;
        for candidate in candidates {
            let list = if preferred(candidate) { &mut self.waiting } else { &mut self.fallback };
            list.reserve_exact(1);
            list.push(candidate.clone());
        }
    }

    /// The preferred transport gets no answer, or is not there at all: the other one is tried as well.
    pub fn fall_back(&mut self) -> bool {
        self.waiting.append(&mut self.fallback);
        !self.waiting.is_empty()
    }

    /// Every backend address of this generation, those that wait for their turn included.
    pub fn overview(&self) -> impl Iterator<Item = BackendTry> + '_ {
        let untried = self.waiting.iter().chain(&self.fallback).map(|candidate| BackendTry {
            remote: candidate.addr,
            transport: candidate.transport,
            local: None,
            answered: false,
            selected: false,
        });
        self.backend.overview().chain(untried)
    }

    /// When [`Generation::fall_back`] is due.
    fn falls_back_at(&self) -> Option<Instant> {
        let waits = !self.fallback.is_empty() && self.backend.selected().is_none();
        let patience =
            if self.backend.remotes().next().is_none() { FALLBACK_AT_ONCE } else { FALLBACK_AFTER };
        waits.then_some(self.since + patience)
    }
}

/// One ICE transport through the edge.
// In this order what each packet needs comes first, and lies together: nothing of it is in a cache when the next burst comes.
#[repr(C)]
pub struct Session {
    /// Its addresses on the client's side.
    pub client: ClientLeg,
    /// What was forwarded.
    pub traffic: Traffic,
    /// What its client sent lately.
    pub meter: Meter,
    /// What happened when, and how media arrives.
    pub observed: Observed,
    /// The generation that carries media.
    pub current: Generation,
    /// The generation of an ICE restart that is not complete yet.
    pub next: Option<Box<Generation>>,
    /// Its name.
    pub id: SessionId,
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// When it was registered.
    pub registered: Instant,
    /// When the timer wheel wakes this session.
    pub armed: Option<Instant>,
    /// Both legs of some generation were complete once.
    pub connected: bool,
}

/// What a session reports after something happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing worth a word.
    Nothing,
    /// Both legs of the current generation are complete for the first time, or a restart completed; the replaced
    /// generation is handed back by [`Session::advance`].
    Connected {
        /// The generation that now carries media.
        generation: u32,
    },
    /// The session is over.
    Over(EndReason),
}

impl Session {
    /// A session that a valid check just claimed.
    pub fn new(
        now: Instant,
        registered: Instant,
        born: Tick,
        seed: Seed,
        registration: Arc<Registration>,
    ) -> Self {
        Session {
            id: registration.session,
            origin: registration.origin.clone(),
            client: ClientLeg::default(),
            traffic: Traffic::default(),
            meter: Meter::default(),
            current: Generation::new(now, seed, registration),
            next: None,
            registered,
            armed: None,
            connected: false,
            observed: Observed::new(born),
        }
    }

    /// A new generation. The previous unfinished restart, if any, is handed back to be forgotten.
    pub fn restart(
        &mut self,
        now: Instant,
        seed: Seed,
        registration: Arc<Registration>,
    ) -> Option<Generation> {
        self.next.replace(Box::new(Generation::new(now, seed, registration))).map(|next| *next)
    }

    /// The generation with this number.
    pub fn generation(&mut self, number: u32) -> Option<&mut Generation> {
        self.generations().find(|generation| generation.registration.generation == number)
    }

    /// Current and next.
    pub fn generations(&mut self) -> impl Iterator<Item = &mut Generation> {
        std::iter::once(&mut self.current).chain(self.next.as_deref_mut())
    }

    /// The newest generation, which trickled candidates belong to.
    pub fn newest(&mut self) -> &mut Generation {
        self.next.as_deref_mut().unwrap_or(&mut self.current)
    }

    /// A valid check with the credentials of generation `number` was seen.
    pub fn client_checked(&mut self, number: u32) {
        if let Some(generation) = self.generation(number) {
            generation.checked = true;
        }
    }

    /// Where media to the backend goes.
    pub fn backend_path(&self) -> Option<BackendPath> {
        self.current.backend.selected()
    }

    /// Takes stock after something happened on a leg: completes a restart, or notices the first connection. Hands back
    /// a generation that was replaced, and where media to the client moved.
    pub fn advance(&mut self) -> (Progress, Option<Generation>, Option<Moved>) {
        if self.next_is_complete()
            && let Some(next) = self.next.take()
        {
            let generation = next.registration.generation;
            let old = std::mem::replace(&mut self.current, *next);
            let moved = self.client.prefer_generation(generation);
            self.connected = true;
            return (Progress::Connected { generation }, Some(old), moved);
        }
        if !self.connected && self.current.checked && self.current.backend.selected().is_some() {
            self.connected = true;
            return (Progress::Connected { generation: self.current.registration.generation }, None, None);
        }
        (Progress::Nothing, None, None)
    }

    /// Media to the client may flow: the restart's own client path is proven, and its backend leg is up.
    fn next_is_complete(&self) -> bool {
        self.next.as_ref().is_some_and(|next| {
            next.checked
                && next.backend.selected().is_some()
                && self.client.has_verified(next.registration.generation)
        })
    }

    /// Time passed: runs the agents, the edge's own checks and the expiry of paths.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        mut probe: impl FnMut(DueProbe),
        gone: impl FnMut(ClientAddr),
    ) -> (Progress, Option<Generation>) {
        let mut forgotten = None;
        self.current.backend.handle_timeout(now);
        if let Some(next) = &mut self.next {
            next.backend.handle_timeout(now);
            if now.saturating_duration_since(next.since) >= RESTART_TIMEOUT {
                forgotten = self.next.take().map(|next| *next);
            }
        }
        self.client.due_probes(now, &mut probe);
        self.client.expire(now, gone);
        if self.client.is_empty() {
            return (Progress::Over(EndReason::ClientSilent), forgotten);
        }
        if self.current.backend.is_dead() && self.next.is_none() {
            return (Progress::Over(EndReason::BackendSilent), forgotten);
        }
        (Progress::Nothing, forgotten)
    }

    /// Lets every generation whose time has come try its other transport; whether one does.
    pub fn fall_back(&mut self, now: Instant) -> bool {
        let due = |generation: &&mut Generation| generation.falls_back_at().is_some_and(|at| at <= now);
        self.generations().filter(due).filter_map(|generation| generation.fall_back().then_some(())).count()
            > 0
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let legs = self
            .generations()
            .filter_map(|generation| {
                [generation.backend.next_deadline(), generation.falls_back_at()].into_iter().flatten().min()
            })
            .min();
        [legs, self.client.next_deadline()].into_iter().flatten().min()
    }

    /// Whether media from this backend address may pass to the client.
    pub fn accepts_backend(&self, socket: u16, source: SocketAddr) -> bool {
        self.current.backend.is_proven(socket, source)
            || self.next.as_ref().is_some_and(|next| next.backend.is_proven(socket, source))
    }
}
