//! Backend-facing sockets as the forwarder counts them: which is free for which address, which is used by nobody. The
//! shell opens and closes them; this only asks.

use std::net::SocketAddr;
use std::time::Instant;

use super::Forwarder;
use super::tables::{AddrKey, BackendEntry, Here, SessionKey, ThroughKey};
use crate::session::backend_leg::LocalSocket;
use crate::session::observe::Milestone;
use crate::session::registration::{BackendCandidate, CandidateTransport, EndReason};
use crate::session::through::Wanted;

/// A backend-facing socket, or a TCP connection to one backend address, and how many legs or flows use it.
pub(super) struct BackendSocket {
    pub(super) local: LocalSocket,
    users: u32,
    /// A TCP connection reaches this address only, and is never shared.
    tcp: Option<SocketAddr>,
}

/// Sockets that are asked whether an address is free on them, twice.
const PROBES: usize = 8;

/// A session needs another backend-facing socket: the shell opens one and calls [`Forwarder::socket_opened`], or
/// [`Forwarder::socket_failed`]. For [`CandidateTransport::TcpPassive`] it dials, without holding up anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRequest {
    pub(super) purpose: Purpose,
    /// The backend it must reach.
    pub toward: SocketAddr,
    /// By which transport.
    pub transport: CandidateTransport,
}

/// Who waits for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The backend legs of a session.
    Legs(SessionKey),
    /// One candidate of one generation's backend leg, over TCP.
    Connection { session: SessionKey, generation: u32, priority: u32 },
    /// A flow of a session in transparent mode.
    Flow(ThroughKey, Wanted),
}

impl Forwarder {
    /// The next socket that a session needs.
    pub fn poll_socket_request(&mut self) -> Option<SocketRequest> {
        self.socket_requests.pop_front()
    }

    /// A socket that was asked for is open.
    pub fn socket_opened(&mut self, now: Instant, request: SocketRequest, local: SocketAddr) -> LocalSocket {
        self.latest = None;
        let index = self.free_indices.pop().map_or(self.backend_sockets.len(), usize::from);
        if index == self.backend_sockets.len() {
            self.backend_sockets.push(None);
        }
        let socket = LocalSocket { index: index as u16, addr: local };
        let tcp = (request.transport == CandidateTransport::TcpPassive).then_some(request.toward);
        self.backend_sockets[index] = Some(BackendSocket { local: socket, users: 0, tcp });
        match request.purpose {
            Purpose::Legs(session) => {
                self.connect_backend(now, session);
                self.settle(now, session);
            }
            Purpose::Connection { session, generation, priority } => {
                let transport = request.transport;
                let candidate = BackendCandidate { transport, addr: request.toward, priority };
                self.leg_connected(now, session, generation, socket, &candidate);
            }
            Purpose::Flow(session, wanted) => self.through_opened(now, session, wanted, socket),
        }
        if self.backend_sockets[index].as_ref().is_some_and(|socket| socket.users == 0) {
            // Whoever wanted it is gone, or found another one.
            self.idle_sockets.push_back(socket.index);
        }
        socket
    }

    /// A socket that was asked for cannot be opened: refused, unreachable, or not in time.
    pub fn socket_failed(&mut self, now: Instant, request: SocketRequest) {
        self.latest = None;
        let here = match request.purpose {
            Purpose::Legs(session) | Purpose::Connection { session, .. } => Here::Half(session),
            Purpose::Flow(session, _) => Here::Through(session),
        };
        self.note(now, here, Milestone::BackendRefused);
        match request.purpose {
            Purpose::Legs(session) | Purpose::Connection { session, .. } => self.fall_back(now, session),
            Purpose::Flow(session, wanted) => {
                let through = self.tables.throughs.get(session.0);
                if through.and_then(|through| through.wants(wanted.slot)) == Some(wanted) {
                    self.skip_candidate(now, session, wanted.slot);
                }
            }
        }
    }

    /// A TCP connection to a backend closed. The shell has forgotten it already.
    pub fn socket_closed(&mut self, now: Instant, index: u16) {
        self.latest = None;
        let Some(socket) = self.backend_sockets.get_mut(usize::from(index)).and_then(Option::take) else {
            return;
        };
        self.free_indices.push(index);
        let Some(remote) = socket.tcp else { return };
        let entry = self.tables.by_backend.remove(&AddrKey::new(index, remote));
        match entry {
            Some(BackendEntry::Flow { session, slot }) => self.lose_path(now, session, slot),
            Some(BackendEntry::Session(session)) => self.leg_disconnected(now, session, index),
            None => {}
        }
    }

    /// The other transport towards the backend is tried at once.
    fn fall_back(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        let more =
            session.generations().filter_map(|generation| generation.fall_back().then_some(())).count();
        if more > 0 {
            self.connect_backend(now, key);
            self.settle(now, key);
        }
    }

    fn leg_connected(
        &mut self,
        now: Instant,
        key: SessionKey,
        generation: u32,
        socket: LocalSocket,
        candidate: &BackendCandidate,
    ) {
        let generation =
            self.tables.sessions.get_mut(key.0).and_then(|session| session.generation(generation));
        let Some(generation) = generation else { return };
        if generation.backend.add_connection(now, socket, candidate) {
            self.use_socket(socket.index);
            self.learn_backends(key);
            self.settle(now, key);
        }
    }

    fn leg_disconnected(&mut self, now: Instant, key: SessionKey, index: u16) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        for generation in session.generations() {
            generation.backend.connection_closed(now, index);
        }
        if session.current.backend.is_dead() && session.next.is_none() {
            return self.end(now, key, EndReason::BackendSilent);
        }
        self.settle(now, key);
    }

    /// The next backend-facing socket that nobody uses any more: the shell closes it. Its index may come again.
    pub fn poll_idle_socket(&mut self) -> Option<u16> {
        while let Some(index) = self.idle_sockets.pop_front() {
            let entry = self.backend_sockets.get_mut(usize::from(index))?;
            // A session may have taken it again in the meantime.
            if entry.as_ref().is_some_and(|socket| socket.users == 0) {
                *entry = None;
                self.free_indices.push(index);
                return Some(index);
            }
        }
        None
    }

    /// A shared UDP socket on which `addr` belongs to nobody, or to `but_for`.
    ///
    /// The first sockets are asked, one of which is free for a backend with a port per session; then a few more from where
    /// the search ended last time, which finds the next one where several backends mux. Never all of them: with a socket
    /// per session that would cost the more the more there are, and an additional socket costs little.
    pub(super) fn free_socket(
        &mut self,
        addr: SocketAddr,
        but_for: Option<SessionKey>,
    ) -> Option<LocalSocket> {
        let count = self.backend_sockets.len();
        let first = (0..count.min(PROBES)).find_map(|index| self.if_free(index, addr, but_for));
        if first.is_some() || count <= PROBES {
            return first;
        }
        for _ in 0..PROBES {
            self.probe = (self.probe + 1) % count;
            if let Some(socket) = self.if_free(self.probe, addr, but_for) {
                return Some(socket);
            }
        }
        None
    }

    fn if_free(&self, index: usize, addr: SocketAddr, but_for: Option<SessionKey>) -> Option<LocalSocket> {
        let socket = self.backend_sockets.get(index)?.as_ref()?;
        let same_kind = socket.tcp.is_none() && socket.local.addr.is_ipv4() == addr.is_ipv4();
        let free = || match self.tables.by_backend.get(&AddrKey::new(socket.local.index, addr)) {
            None => true,
            Some(BackendEntry::Session(other)) => Some(*other) == but_for,
            Some(BackendEntry::Flow { .. }) => false,
        };
        (same_kind && free()).then_some(socket.local)
    }

    pub(super) fn use_socket(&mut self, index: u16) {
        if let Some(Some(socket)) = self.backend_sockets.get_mut(usize::from(index)) {
            socket.users += 1;
        }
    }

    pub(super) fn release_socket(&mut self, index: u16) {
        let Some(Some(socket)) = self.backend_sockets.get_mut(usize::from(index)) else { return };
        socket.users = socket.users.saturating_sub(1);
        if socket.users == 0 {
            self.idle_sockets.push_back(index);
        }
    }
}
