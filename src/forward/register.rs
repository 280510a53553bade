//! What the signalling side tells: new sessions, restarts, candidates, ends. And the first check, which claims.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tables::{AddrKey, Known, SessionKey, TimerKey, backend_username, client_username};
use super::{BackendSocket, Forwarder, SocketRequest};
use crate::session::backend_leg::LocalSocket;
use crate::session::registration::{
    BackendCandidate, Command, EndReason, Registration, SessionEvent, SessionEventKind, SessionId, Traffic,
};
use crate::session::{Generation, Session};

/// A registration that no client uses (xrtc.md §8).
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(30);

impl Forwarder {
    /// Carries out one command of the signalling side.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Register(registration) => self.register(now, registration),
            Command::AddCandidates(id, candidates) => self.add_candidates(now, id, &candidates),
            Command::End(id, reason) => self.end_by_id(now, id, reason),
        }
    }

    /// Ends every session that this worker serves.
    pub fn end_all(&mut self, now: Instant, reason: EndReason) {
        let keys: Vec<_> = self.tables.sessions.iter().map(|(key, _)| SessionKey(key)).collect();
        for key in keys {
            self.end(now, key, reason);
        }
    }

    /// A socket that was asked for is open.
    pub fn socket_opened(&mut self, now: Instant, request: SocketRequest, local: SocketAddr) -> LocalSocket {
        let gap = self.backend_sockets.iter().position(Option::is_none);
        let index = gap.unwrap_or_else(|| {
            self.backend_sockets.push(None);
            self.backend_sockets.len() - 1
        });
        let socket = LocalSocket { index: index as u16, addr: local };
        self.backend_sockets[index] = Some(BackendSocket { local: socket, users: 0 });
        self.connect_backend(now, request.session);
        if self.backend_sockets[index].as_ref().is_some_and(|socket| socket.users == 0) {
            // Whoever wanted it is gone, or found another one.
            self.idle_sockets.push_back(socket.index);
        }
        self.settle(now, request.session);
        socket
    }

    fn register(&mut self, now: Instant, registration: Arc<Registration>) {
        let id = registration.session;
        let known = self.tables.known.contains_key(&id);
        if !known && self.tables.known.len() >= self.max_sessions {
            return self.refuse(now, &registration);
        }
        self.tables.registrations_by_username.insert(client_username(&registration), registration.clone());
        let entry = self.tables.known.entry(id).or_insert_with(|| Known {
            registrations: Vec::new(),
            since: now,
            here: None,
            elsewhere: Vec::new(),
        });
        entry.registrations.push(registration.clone());
        match entry.here {
            Some(key) => self.restart(now, key, registration),
            None => self.remind(now + REGISTRATION_TIMEOUT, id),
        }
    }

    fn refuse(&mut self, now: Instant, registration: &Registration) {
        if registration.owner.claim(self.worker) == self.worker {
            self.report_unclaimed(now, now, registration, EndReason::TooManySessions);
        }
    }

    fn restart(&mut self, now: Instant, key: SessionKey, registration: Arc<Registration>) {
        self.tables.sessions_by_backend_username.insert(backend_username(&registration), key);
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        if let Some(unfinished) = session.restart(now, registration) {
            self.forget_generation(key, &unfinished);
        }
        self.connect_backend(now, key);
        self.settle(now, key);
    }

    fn add_candidates(&mut self, now: Instant, id: SessionId, candidates: &Arc<[BackendCandidate]>) {
        let Some(known) = self.tables.known.get_mut(&id) else { return };
        let Some(key) = known.here else {
            return Self::remember_candidates(known, candidates, &mut self.tables.registrations_by_username);
        };
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        session.newest().waiting.extend_from_slice(candidates);
        self.connect_backend(now, key);
        self.settle(now, key);
    }

    /// Nobody has claimed the session yet: its registration grows.
    fn remember_candidates(
        known: &mut Known,
        candidates: &Arc<[BackendCandidate]>,
        by_username: &mut hashbrown::HashMap<Box<[u8]>, Arc<Registration>, foldhash::quality::RandomState>,
    ) {
        let Some(newest) = known.registrations.last_mut() else { return };
        let mut grown = Registration::clone(newest);
        grown.candidates.extend_from_slice(candidates);
        *newest = Arc::new(grown);
        by_username.insert(client_username(newest), newest.clone());
    }

    fn end_by_id(&mut self, now: Instant, id: SessionId, reason: EndReason) {
        let Some(known) = self.tables.known.get(&id) else { return };
        if let Some(key) = known.here {
            return self.end(now, key, reason);
        }
        self.forget_unclaimed(now, id, reason);
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
        let kind = SessionEventKind::Ended { reason, traffic: Traffic::default(), lasted };
        self.events.push_back(SessionEvent {
            session: registration.session,
            origin: registration.origin.clone(),
            kind,
        });
    }

    /// The first valid check of a session: it is ours, unless another worker was faster.
    pub(super) fn claim(
        &mut self,
        now: Instant,
        registration: &Arc<Registration>,
    ) -> Result<SessionKey, u32> {
        let owner = registration.owner.claim(self.worker);
        if owner != self.worker {
            return Err(owner);
        }
        let id = registration.session;
        let Some(known) = self.tables.known.get_mut(&id) else { return Err(owner) };
        let session = Session::new(now, known.since, registration.clone());
        let key = SessionKey(self.tables.sessions.insert(session));
        known.here = Some(key);
        let newer: Vec<_> = known
            .registrations
            .iter()
            .filter(|other| other.generation > registration.generation)
            .cloned()
            .collect();
        self.tables.sessions_by_backend_username.insert(backend_username(registration), key);
        self.connect_backend(now, key);
        for registration in newer {
            self.restart(now, key, registration);
        }
        Ok(key)
    }

    /// Gives waiting candidates to the agents that want them, each by a socket on which its address is free.
    fn connect_backend(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        let mut wanted = None;
        for generation in session.generations() {
            let waiting = std::mem::take(&mut generation.waiting);
            for candidate in waiting {
                let leg = &mut generation.backend;
                if leg.socket_for(candidate.addr).is_none() {
                    let taken = |socket: &LocalSocket| {
                        let entry =
                            self.tables.sessions_by_backend.get(&AddrKey::new(socket.index, candidate.addr));
                        entry.is_some_and(|other| *other != key)
                    };
                    let free = self.backend_sockets.iter_mut().flatten().find(|socket| {
                        socket.local.addr.is_ipv4() == candidate.addr.is_ipv4() && !taken(&socket.local)
                    });
                    match free {
                        Some(socket) => {
                            socket.users += 1;
                            leg.add_socket(socket.local);
                        }
                        None => {
                            wanted = wanted.or(Some(candidate.addr));
                            generation.waiting.push(candidate);
                            continue;
                        }
                    }
                }
                leg.add_remote(now, &candidate);
            }
        }
        self.learn_backends(key);
        if let Some(toward) = wanted {
            self.socket_requests.push_back(SocketRequest { session: key, toward });
        }
    }

    /// A backend leg is over: sockets that only it used are idle.
    pub(super) fn release(
        sockets: &mut [Option<BackendSocket>],
        idle: &mut std::collections::VecDeque<u16>,
        generation: &Generation,
    ) {
        for used in generation.backend.sockets() {
            let Some(Some(socket)) = sockets.get_mut(usize::from(used.index)) else { continue };
            socket.users -= 1;
            if socket.users == 0 {
                idle.push_back(used.index);
            }
        }
    }

    /// A generation is over: its credentials and the addresses only it used are forgotten.
    pub(super) fn forget_generation(&mut self, key: SessionKey, old: &Generation) {
        self.tables.registrations_by_username.remove(&client_username(&old.registration)[..]);
        let backend = backend_username(&old.registration);
        if self.tables.sessions_by_backend_username.get(&backend) == Some(&key) {
            self.tables.sessions_by_backend_username.remove(&backend);
        }
        for (socket, addr) in old.backend.remotes() {
            self.tables.sessions_by_backend.remove(&AddrKey::new(socket, addr));
        }
        Self::release(&mut self.backend_sockets, &mut self.idle_sockets, old);
        self.learn_backends(key);
        let Some(session) = self.tables.sessions.get(key.0) else { return };
        if let Some(known) = self.tables.known.get_mut(&session.id) {
            known.registrations.retain(|known| known.generation != old.registration.generation);
        }
    }
}
