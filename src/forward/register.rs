//! What the signalling side tells: new sessions, restarts, candidates, ends. And the first check, which claims.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shards::Shards;
use super::story::story_without_client;
use super::tables::{
    AddrKey, BackendEntry, ClientEntry, Here, Known, SessionKey, ThroughKey, TimerKey, backend_username,
    client_username,
};
use super::{Forwarder, Purpose, SocketRequest};
use crate::budget::Spent;
use crate::session::backend_leg::Seed;
use crate::session::observe::Milestone;
use crate::session::registration::{
    BackendCandidate, CandidateTransport, Command, EndReason, Mode, Registration, SessionEvent,
    SessionEventKind, SessionId, Traffic,
};
use crate::session::{Generation, Session};

/// A registration that no client uses (xrtc.md §8).
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(30);

impl Forwarder {
    /// Carries out one command of the signalling side.
    pub fn command(&mut self, now: Instant, command: Command) {
        self.latest = None;
        match command {
            Command::Register(registration) => self.register(now, registration),
            Command::AddCandidates(id, candidates) => self.add_candidates(now, id, &candidates),
            Command::End(id, reason) => self.end_by_id(now, id, reason),
        }
    }

    /// Ends every session that this worker serves.
    pub fn end_all(&mut self, now: Instant, reason: EndReason) {
        self.latest = None;
        let keys: Vec<_> = self.tables.sessions.keys().map(SessionKey).collect();
        for key in keys {
            self.end(now, key, reason);
        }
        let keys: Vec<_> = self.tables.throughs.keys().map(ThroughKey).collect();
        for key in keys {
            self.end_through(now, key, reason);
        }
    }

    fn register(&mut self, now: Instant, registration: Arc<Registration>) {
        let id = registration.session;
        let known = self.tables.known.contains_key(&id);
        if !known && self.tables.known.len() >= self.max_sessions {
            return self.refuse(now, &registration, EndReason::TooManySessions);
        }
        let named = self.tables.registrations_by_username.get(&client_username(&registration)[..]);
        if named.is_some_and(|named| named.session != id && named.owner.get().is_some()) {
            // A running call must not lose its name to whoever registers the same pair.
            return self.refuse(now, &registration, EndReason::PairInUse);
        }
        let entry = self.tables.known.get_or_insert_with(id, || Known {
            registrations: Vec::new(),
            since: now,
            here: None,
            failed: Spent::default(),
            elsewhere: Vec::new(),
        });
        let same = entry.registrations.iter().position(|known| known.generation == registration.generation);
        match (same, entry.here) {
            // Told again while nobody uses it: the last one counts. A running session is not changed by it.
            (Some(_), Some(_)) => return,
            (Some(known), None) => {
                entry.registrations[known] = registration.clone();
                entry.since = now;
            }
            (None, _) => {
                entry.registrations.reserve_exact(1);
                entry.registrations.push(registration.clone());
            }
        }
        let here = entry.here;
        self.tables.registrations_by_username.insert(client_username(&registration), registration.clone());
        match here {
            Some(Here::Half(key)) => self.restart(now, key, registration),
            Some(Here::Through(key)) => self.through_restart(now, key, registration),
            None => self.remind(now + REGISTRATION_TIMEOUT, id),
        }
    }

    fn refuse(&mut self, now: Instant, registration: &Registration, reason: EndReason) {
        if registration.owner.claim(self.worker) == self.worker {
            self.report_unclaimed(now, now, registration, reason);
        }
    }

    fn restart(&mut self, now: Instant, key: SessionKey, registration: Arc<Registration>) {
        self.tables.sessions_by_backend_username.insert(backend_username(&registration), key);
        let seed = self.seed();
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        if let Some(unfinished) = session.restart(now, seed, registration) {
            self.forget_generation(key, &unfinished);
        }
        self.note(now, Here::Half(key), Milestone::Restarted);
        self.connect_backend(now, key);
        self.settle(now, key);
    }

    fn add_candidates(&mut self, now: Instant, id: SessionId, candidates: &Arc<[BackendCandidate]>) {
        let Some(known) = self.tables.known.get_mut(&id) else { return };
        let key = match known.here {
            Some(Here::Half(key)) => key,
            Some(Here::Through(key)) => return self.through_candidates(now, key, candidates),
            None => {
                return Self::remember_candidates(
                    known,
                    candidates,
                    &mut self.tables.registrations_by_username,
                );
            }
        };
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        session.newest().add_candidates(candidates);
        self.connect_backend(now, key);
        self.settle(now, key);
    }

    /// Nobody has claimed the session yet: its registration grows.
    fn remember_candidates(
        known: &mut Known,
        candidates: &Arc<[BackendCandidate]>,
        by_username: &mut Shards<Box<[u8]>, Arc<Registration>>,
    ) {
        let Some(newest) = known.registrations.last_mut() else { return };
        let mut grown = Registration::clone(newest);
        grown.candidates.extend_from_slice(candidates);
        *newest = Arc::new(grown);
        by_username.insert(client_username(newest), newest.clone());
    }

    fn end_by_id(&mut self, now: Instant, id: SessionId, reason: EndReason) {
        let Some(known) = self.tables.known.get(&id) else { return };
        match known.here {
            Some(Here::Half(key)) => self.end(now, key, reason),
            Some(Here::Through(key)) => self.end_through(now, key, reason),
            None => self.forget_unclaimed(now, id, reason),
        }
    }

    /// The wheel reminds of a registration; whoever claims it reports that nobody came.
    pub(super) fn registration_timeout(&mut self, now: Instant, id: SessionId) {
        let Some(known) = self.tables.known.get(&id) else { return };
        if known.here.is_some() || known.registrations.iter().any(|known| known.owner.get().is_some()) {
            return;
        }
        let due = known.since + REGISTRATION_TIMEOUT;
        if due > now {
            return self.remind(due, id);
        }
        self.forget_unclaimed(now, id, EndReason::NeverConnected);
    }

    fn remind(&mut self, at: Instant, id: SessionId) {
        self.timers.set(at, TimerKey::Registration(id));
    }

    fn forget_unclaimed(&mut self, now: Instant, id: SessionId, reason: EndReason) {
        let Some(known) = self.tables.remove_known(id) else { return };
        let Some(registration) = known.registrations.last() else { return };
        let unclaimed = registration.owner.get().is_none();
        if unclaimed && registration.owner.claim(self.worker) == self.worker {
            self.report_unclaimed(now, known.since, registration, reason);
        }
    }

    fn report_unclaimed(
        &mut self,
        now: Instant,
        since: Instant,
        registration: &Registration,
        reason: EndReason,
    ) {
        let lasted = now.saturating_duration_since(since);
        let story = Some(Box::new(story_without_client(registration, since, now)));
        let kind = SessionEventKind::Ended { reason, traffic: Traffic::default(), lasted, story };
        self.events.push_back(SessionEvent {
            session: registration.session,
            origin: registration.origin.clone(),
            kind,
        });
    }

    /// The first valid check of a session: it is ours, unless another worker was faster.
    pub(super) fn claim(&mut self, now: Instant, registration: &Arc<Registration>) -> Result<Here, u32> {
        let owner = registration.owner.claim(self.worker);
        if owner != self.worker {
            return Err(owner);
        }
        let id = registration.session;
        let Some(known) = self.tables.known.get(&id) else { return Err(owner) };
        let newer: Vec<_> = known
            .registrations
            .iter()
            .filter(|other| other.generation > registration.generation)
            .cloned()
            .collect();
        let since = known.since;
        let here = match registration.mode {
            Mode::HalfProxy => Here::Half(self.claim_half(now, since, registration)),
            Mode::Transparent => Here::Through(self.claim_through(now, since, registration, newer.clone())),
        };
        if let Some(known) = self.tables.known.get_mut(&id) {
            known.here = Some(here);
        }
        if let Here::Half(key) = here {
            for registration in newer {
                self.restart(now, key, registration);
            }
        }
        Ok(here)
    }

    fn claim_half(&mut self, now: Instant, since: Instant, registration: &Arc<Registration>) -> SessionKey {
        let seed = self.seed();
        let session = Session::new(now, since, self.clock.at(since), seed, registration.clone());
        let key = SessionKey(self.tables.sessions.insert(session));
        self.tables.sessions_by_backend_username.insert(backend_username(registration), key);
        self.connect_backend(now, key);
        key
    }

    fn seed(&mut self) -> Seed {
        let mut seed = Seed::default();
        (self.random)(&mut seed);
        seed
    }

    /// Gives waiting candidates to the agents that want them, each by a socket on which its address is free.
    pub(super) fn connect_backend(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        let waiting: Vec<(u32, Vec<BackendCandidate>)> = session
            .generations()
            .map(|generation| (generation.registration.generation, std::mem::take(&mut generation.waiting)))
            .collect();
        let mut wanted = None;
        for (number, candidates) in waiting {
            for candidate in candidates {
                if candidate.transport == CandidateTransport::TcpPassive {
                    self.dial(key, number, &candidate);
                    continue;
                }
                let free = self.free_socket(candidate.addr, Some(key));
                let Some(generation) =
                    self.tables.sessions.get_mut(key.0).and_then(|session| session.generation(number))
                else {
                    continue;
                };
                if generation.backend.socket_for(candidate.addr).is_none() {
                    let Some(socket) = free else {
                        wanted = wanted.or(Some(candidate.addr));
                        generation.waiting.push(candidate);
                        continue;
                    };
                    generation.backend.add_socket(now, socket);
                    self.use_socket(socket.index);
                }
                if let Some(session) = self.tables.sessions.get_mut(key.0)
                    && let Some(generation) = session.generation(number)
                {
                    generation.backend.add_remote(now, &candidate);
                }
            }
        }
        self.learn_backends(key);
        if let Some(toward) = wanted {
            self.socket_requests.push_back(SocketRequest {
                purpose: Purpose::Legs(key),
                toward,
                transport: CandidateTransport::Udp,
            });
        }
    }

    fn dial(&mut self, session: SessionKey, generation: u32, candidate: &BackendCandidate) {
        self.socket_requests.push_back(SocketRequest {
            purpose: Purpose::Connection { session, generation, priority: candidate.priority },
            toward: candidate.addr,
            transport: candidate.transport,
        });
    }

    /// A backend leg is over: sockets that only it used are idle.
    pub(super) fn release_sockets(&mut self, generation: &Generation) {
        for index in generation.backend.sockets() {
            self.release_socket(index);
        }
    }

    /// A generation is over: its credentials and the addresses only it used are forgotten.
    pub(super) fn forget_generation(&mut self, key: SessionKey, old: &Generation) {
        self.tables.forget_registration(&old.registration);
        let backend = backend_username(&old.registration);
        if self.tables.sessions_by_backend_username.get(&backend) == Some(&key) {
            self.tables.sessions_by_backend_username.remove(&backend);
        }
        for (socket, addr) in old.backend.remotes() {
            let address = AddrKey::new(socket, addr);
            if self.tables.by_backend.get(&address) == Some(&BackendEntry::Session(key)) {
                self.tables.by_backend.remove(&address);
            }
        }
        self.release_sockets(old);
        self.learn_backends(key);
    }

    /// The TCP connection of a client closed: its address is gone at once, and its session with the last one.
    pub fn client_gone(&mut self, now: Instant, listener: u16, remote: std::net::SocketAddr) {
        self.latest = None;
        match self.tables.client(listener, remote) {
            Some(ClientEntry::Here { session, .. }) => {
                let Some(state) = self.tables.sessions.get_mut(session.0) else { return };
                state.client.leave(listener, remote);
                let empty = state.client.is_empty();
                self.tables.clients_by_addr.remove(&AddrKey::new(listener, remote));
                if empty {
                    self.end(now, session, EndReason::ClientClosed);
                }
            }
            Some(ClientEntry::Through { session, .. }) => {
                self.through_client_gone(now, session, listener, remote)
            }
            Some(ClientEntry::Elsewhere { .. }) => {
                self.tables.clients_by_addr.remove(&AddrKey::new(listener, remote));
            }
            None => {}
        }
    }
}
