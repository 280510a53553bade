//! \[pure\] The backend's side of a session: a full ICE agent that speaks with the client's own credentials.
//!
//! The agent is the crate `is`; this module owns what surrounds it: which local socket reaches which backend address,
//! which of them were authenticated, and where media goes. It opens no socket and sends nothing: what the agent wants
//! to send is drained by the caller.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, Protocol};

use super::registration::{BackendCandidate, CandidateTransport, Credentials, Registration, Role};

/// Remote candidates per generation. Janus has one per interface; a bound keeps a hostile description cheap.
pub const MAX_REMOTES: usize = 16;
/// A backend leg that has no path by then will not get one: Janus itself waits 45 s for candidates, and the client's
/// own ICE fails after 15–30 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A backend-facing socket as this module needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    /// Index of the socket in its worker.
    pub index: u16,
    /// Its address as the backend sees it.
    pub addr: SocketAddr,
}

/// A way to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendPath {
    /// The edge's socket.
    pub socket: LocalSocket,
    /// The backend's address.
    pub remote: SocketAddr,
}

#[derive(Debug)]
struct Remote {
    socket: u16,
    addr: SocketAddr,
    /// Something authenticated came from there.
    proven: bool,
}

/// One generation's ICE towards the backend.
#[derive(Debug)]
pub struct BackendLeg {
    agent: IceAgent,
    sockets: Vec<LocalSocket>,
    remotes: Vec<Remote>,
    selected: Option<BackendPath>,
    started: Instant,
    state: Liveness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Liveness {
    Connecting,
    Alive,
    Dead,
}

impl BackendLeg {
    /// An agent for this registration, without candidates yet.
    pub fn new(now: Instant, registration: &Registration) -> Self {
        let mut agent = IceAgent::new(creds(&registration.client));
        agent.set_remote_credentials(creds(&registration.backend));
        agent.set_controlling(registration.role == Role::Controlling);
        agent.handle_timeout(now);
        BackendLeg {
            agent,
            sockets: Vec::new(),
            remotes: Vec::new(),
            selected: None,
            started: now,
            state: Liveness::Connecting,
        }
    }

    /// Whether this leg already has a socket of the family of `addr`, and which.
    pub fn socket_for(&self, addr: SocketAddr) -> Option<LocalSocket> {
        self.sockets.iter().copied().find(|socket| socket.addr.is_ipv4() == addr.is_ipv4())
    }

    /// The sockets that the agent uses.
    pub fn sockets(&self) -> &[LocalSocket] {
        &self.sockets
    }

    /// Lets the agent use a socket.
    pub fn add_socket(&mut self, socket: LocalSocket) {
        let Ok(candidate) = Candidate::host(socket.addr, Protocol::Udp) else { return };
        self.sockets.push(socket);
        self.agent.add_local_candidate(candidate);
    }

    /// Lets the agent try a candidate of the backend; `false` where it cannot be used.
    pub fn add_remote(&mut self, now: Instant, candidate: &BackendCandidate) -> bool {
        let Some(socket) = self.socket_for(candidate.addr) else { return false };
        if candidate.transport != CandidateTransport::Udp || self.remotes.len() >= MAX_REMOTES {
            return false;
        }
        if self.knows(candidate.addr) {
            return false;
        }
        let Ok(parsed) = parsed(candidate, self.remotes.len() + 1) else { return false };
        self.remotes.push(Remote { socket: socket.index, addr: candidate.addr, proven: false });
        self.agent.add_remote_candidate(parsed);
        self.agent.handle_timeout(now);
        true
    }

    /// Whether `addr` is one of this leg's backend addresses.
    pub fn knows(&self, addr: SocketAddr) -> bool {
        self.remotes.iter().any(|remote| remote.addr == addr)
    }

    /// (socket, address) of every backend address in use, for the address table.
    pub fn remotes(&self) -> impl Iterator<Item = (u16, SocketAddr)> + '_ {
        self.remotes.iter().map(|remote| (remote.socket, remote.addr))
    }

    /// A STUN message from the backend. `false`: it is not for this agent, or not authentic.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        socket: LocalSocket,
        source: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let Ok(message) = StunMessage::parse(bytes) else { return false };
        if !self.agent.accepts_message(&message) {
            return false;
        }
        let packet = StunPacket { proto: Protocol::Udp, source, destination: socket.addr, message };
        self.agent.handle_packet(now, packet);
        if let Some(remote) = self.remotes.iter_mut().find(|remote| remote.addr == source) {
            remote.proven = true;
        } else if self.remotes.len() < MAX_REMOTES {
            self.remotes.push(Remote { socket: socket.index, addr: source, proven: true });
        } else {
            return false;
        }
        // A triggered check goes out at once instead of at the next pacing step.
        self.agent.handle_timeout(now);
        self.take_events();
        true
    }

    /// Media from `source` may be passed on.
    pub fn is_proven(&self, socket: u16, source: SocketAddr) -> bool {
        self.remotes.iter().any(|remote| remote.addr == source && remote.socket == socket && remote.proven)
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
        self.take_events();
        let late = now.saturating_duration_since(self.started) >= CONNECT_TIMEOUT;
        if late && self.state == Liveness::Connecting {
            self.state = Liveness::Dead;
        }
    }

    /// When [`BackendLeg::handle_timeout`] wants to be called.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let agent = self.agent.poll_timeout();
        match self.state {
            Liveness::Connecting => Some(
                agent.map_or(self.started + CONNECT_TIMEOUT, |at| at.min(self.started + CONNECT_TIMEOUT)),
            ),
            Liveness::Alive | Liveness::Dead => agent,
        }
    }

    /// What the agent wants to send: (socket index, destination, bytes).
    pub fn poll_transmit(&mut self) -> Option<(u16, SocketAddr, Vec<u8>)> {
        let transmit = self.agent.poll_transmit()?;
        let socket = self.sockets.iter().find(|socket| socket.addr == transmit.source)?;
        Some((socket.index, transmit.destination, transmit.contents.into()))
    }

    /// The backend answers no more (RFC 7675), or never did.
    pub fn is_dead(&self) -> bool {
        self.state == Liveness::Dead
    }

    /// Where media to the backend goes: the nominated path.
    pub fn selected(&self) -> Option<BackendPath> {
        self.selected
    }

    fn take_events(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { source, destination, .. } => {
                    let Some(socket) = self.sockets.iter().find(|socket| socket.addr == source) else {
                        continue;
                    };
                    self.selected = Some(BackendPath { socket: *socket, remote: destination });
                    self.state = Liveness::Alive;
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected)
                    if self.state == Liveness::Alive =>
                {
                    self.state = Liveness::Dead;
                }
                _ => {}
            }
        }
    }
}

/// The agent's own form of a candidate. What kind it is does not matter to the edge, its priority does.
fn parsed(candidate: &BackendCandidate, foundation: usize) -> Result<Candidate, is::IceError> {
    let (ip, port, priority) = (candidate.addr.ip(), candidate.addr.port(), candidate.priority);
    Candidate::from_sdp_string(&format!("candidate:{foundation} 1 udp {priority} {ip} {port} typ host"))
}

fn creds(of: &Credentials) -> IceCreds {
    IceCreds { ufrag: of.ufrag.to_string(), pass: of.pwd.to_string() }
}
