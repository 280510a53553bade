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
use super::story::BackendTry;

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

/// A socket that the agent uses.
#[derive(Clone, Copy, Debug)]
struct LegSocket {
    local: LocalSocket,
    /// A TCP connection: it reaches this address only.
    tcp: Option<SocketAddr>,
}

impl LegSocket {
    fn protocol(&self) -> Protocol {
        if self.tcp.is_some() { Protocol::Tcp } else { Protocol::Udp }
    }
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
    sockets: Vec<LegSocket>,
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

    /// Whether this leg already has a UDP socket of the family of `addr`, and which.
    pub fn socket_for(&self, addr: SocketAddr) -> Option<LocalSocket> {
        let fits =
            |socket: &&LegSocket| socket.tcp.is_none() && socket.local.addr.is_ipv4() == addr.is_ipv4();
        self.sockets.iter().find(fits).map(|socket| socket.local)
    }

    /// The sockets that the agent uses, by index.
    pub fn sockets(&self) -> impl Iterator<Item = u16> + '_ {
        self.sockets.iter().map(|socket| socket.local.index)
    }

    /// Lets the agent use a UDP socket.
    pub fn add_socket(&mut self, socket: LocalSocket) {
        let Ok(candidate) = Candidate::host(socket.addr, Protocol::Udp) else { return };
        self.sockets.push(LegSocket { local: socket, tcp: None });
        self.agent.add_local_candidate(candidate);
    }

    /// Lets the agent use a TCP connection to a passive candidate of the backend (RFC 6544).
    pub fn add_connection(
        &mut self,
        now: Instant,
        socket: LocalSocket,
        candidate: &BackendCandidate,
    ) -> bool {
        let (Ok(local), Ok(remote)) =
            (Candidate::host(socket.addr, Protocol::Tcp), parsed(candidate, self.remotes.len() + 1))
        else {
            return false;
        };
        self.sockets.push(LegSocket { local: socket, tcp: Some(candidate.addr) });
        self.remotes.push(Remote { socket: socket.index, addr: candidate.addr, proven: false });
        self.agent.add_local_candidate(local);
        self.agent.add_remote_candidate(remote);
        self.agent.handle_timeout(now);
        true
    }

    /// A TCP connection closed. Where media went by it, the leg lives on only if the agent has another pair.
    pub fn connection_closed(&mut self, now: Instant, index: u16) {
        let Some(at) = self.sockets.iter().position(|socket| socket.local.index == index) else { return };
        let lost = self.sockets.remove(at);
        self.remotes.retain(|remote| remote.socket != index);
        let was_selected = self.selected.is_some_and(|path| path.socket.index == index);
        if was_selected {
            self.selected = None;
        }
        if let Ok(candidate) = Candidate::host(lost.local.addr, lost.protocol()) {
            self.agent.invalidate_candidate(&candidate);
        }
        self.agent.handle_timeout(now);
        self.take_events();
        if was_selected && self.selected.is_none() {
            self.state = Liveness::Dead;
        }
    }

    /// Lets the agent try a candidate of the backend; `false` where it cannot be used.
    pub fn add_remote(&mut self, now: Instant, candidate: &BackendCandidate) -> bool {
        let Some(socket) = self.socket_for(candidate.addr) else { return false };
        if candidate.transport != CandidateTransport::Udp || self.remotes.len() >= MAX_REMOTES {
            return false;
        }
        if self.remotes.iter().any(|remote| remote.addr == candidate.addr && remote.socket == socket.index) {
            return false;
        }
        let Ok(parsed) = parsed(candidate, self.remotes.len() + 1) else { return false };
        self.remotes.push(Remote { socket: socket.index, addr: candidate.addr, proven: false });
        self.agent.add_remote_candidate(parsed);
        self.agent.handle_timeout(now);
        true
    }

    /// (socket, address) of every backend address in use, for the address table.
    pub fn remotes(&self) -> impl Iterator<Item = (u16, SocketAddr)> + '_ {
        self.remotes.iter().map(|remote| (remote.socket, remote.addr))
    }

    /// Every backend address that is tried, and what came of it.
    pub fn overview(&self) -> impl Iterator<Item = BackendTry> + '_ {
        self.remotes.iter().map(|remote| {
            let socket = self.sockets.iter().find(|socket| socket.local.index == remote.socket);
            let is_tcp = socket.is_some_and(|socket| socket.tcp.is_some());
            BackendTry {
                remote: remote.addr,
                transport: if is_tcp { CandidateTransport::TcpPassive } else { CandidateTransport::Udp },
                local: socket.map(|socket| socket.local.addr),
                answered: remote.proven,
                selected: self
                    .selected
                    .is_some_and(|path| path.remote == remote.addr && path.socket.index == remote.socket),
            }
        })
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
        let Some(proto) =
            self.sockets.iter().find(|own| own.local.index == socket.index).map(LegSocket::protocol)
        else {
            return false;
        };
        let packet = StunPacket { proto, source, destination: socket.addr, message };
        self.agent.handle_packet(now, packet);
        let from = |remote: &&mut Remote| remote.addr == source && remote.socket == socket.index;
        if let Some(remote) = self.remotes.iter_mut().find(from) {
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
        loop {
            let transmit = self.agent.poll_transmit()?;
            // A connection that closed takes nothing more, and one to another address never did.
            if let Some(socket) = self.socket_of(transmit.proto, transmit.source)
                && socket.tcp.is_none_or(|remote| remote == transmit.destination)
            {
                return Some((socket.local.index, transmit.destination, transmit.contents.into()));
            }
        }
    }

    /// The backend answers no more (RFC 7675), or never did.
    pub fn is_dead(&self) -> bool {
        self.state == Liveness::Dead
    }

    /// Where media to the backend goes: the nominated path.
    pub fn selected(&self) -> Option<BackendPath> {
        self.selected
    }

    fn socket_of(&self, proto: Protocol, addr: SocketAddr) -> Option<&LegSocket> {
        self.sockets.iter().find(|socket| socket.local.addr == addr && socket.protocol() == proto)
    }

    fn take_events(&mut self) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                IceAgentEvent::NominatedSend { proto, source, destination } => {
                    let Some(socket) = self.socket_of(proto, source) else { continue };
                    self.selected = Some(BackendPath { socket: socket.local, remote: destination });
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
    Candidate::from_sdp_string(&match candidate.transport {
        CandidateTransport::Udp => format!("candidate:{foundation} 1 udp {priority} {ip} {port} typ host"),
        CandidateTransport::TcpPassive => {
            format!("candidate:{foundation} 1 tcp {priority} {ip} {port} typ host tcptype passive")
        }
    })
}

fn creds(of: &Credentials) -> IceCreds {
    IceCreds { ufrag: of.ufrag.to_string(), pass: of.pwd.to_string() }
}
