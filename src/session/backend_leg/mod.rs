//! \[pure\] The backend's side of a session: a full ICE agent that speaks with the client's own credentials.
//!
//! The agent is the crate `is`; this module owns what surrounds it: which local socket reaches which backend address,
//! which of them were authenticated, and where media goes. When the agent goes and comes again is decided in `agent`; in between,
//! `consent` keeps the path. It opens no socket and sends nothing: what is to be sent is drained by the caller.

mod agent;
mod consent;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, IceAgent, Protocol};

use super::registration::{BackendCandidate, CandidateTransport, Registration, Role};
use super::story::BackendTry;
use crate::stun::{Class, Key, Message};
use agent::{new_agent, parsed};
use consent::{Consent, Heard};

/// Remote candidates per generation. Janus has one per interface; a bound keeps a hostile description cheap.
pub const MAX_REMOTES: usize = 16;
/// A backend leg that has no path by then will not get one: Janus itself waits 45 s for candidates, and the client's
/// own ICE fails after 15–30 s.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a leg's tie-breaker and transactions are made of: random bytes.
pub type Seed = [u8; 20];

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
    priority: u32,
    /// Something authenticated came from there.
    proven: bool,
    /// It answered a check of the agent that is awake.
    answered: bool,
}

impl Remote {
    fn of(candidate: &BackendCandidate, socket: u16) -> Self {
        Remote { socket, addr: candidate.addr, priority: candidate.priority, proven: false, answered: false }
    }
}

/// One generation's ICE towards the backend.
#[derive(Debug)]
// What each packet needs comes first.
#[repr(C)]
pub struct BackendLeg {
    selected: Option<BackendPath>,
    registration: Arc<Registration>,
    seed: Seed,
    keeper: Keeper,
    /// When the agent came, or the leg came to rest.
    since: Instant,
    /// (socket index, destination, bytes) that neither agent nor consent will tell again.
    unsent: Vec<(u16, SocketAddr, Vec<u8>)>,
    sockets: Vec<LegSocket>,
    remotes: Vec<Remote>,
    started: Instant,
    state: Liveness,
}

/// What a message was to a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Not authentic, or not this leg's.
    No,
    /// It keeps the path of a leg at rest, and changes nothing.
    Kept,
    /// There may be something to send, or another path.
    News,
}

/// What speaks to the backend.
#[derive(Debug)]
enum Keeper {
    Agent(Box<IceAgent>),
    Rest(Consent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Liveness {
    Connecting,
    Alive,
    Dead,
}

impl BackendLeg {
    /// An agent for this registration, without candidates yet.
    pub fn new(now: Instant, seed: Seed, registration: Arc<Registration>) -> Self {
        let controlling = registration.role == Role::Controlling;
        let mut agent = new_agent(&registration, &seed, controlling);
        agent.handle_timeout(now);
        BackendLeg {
            registration,
            seed,
            keeper: Keeper::Agent(agent),
            since: now,
            unsent: Vec::new(),
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
    pub fn add_socket(&mut self, now: Instant, socket: LocalSocket) {
        let Ok(candidate) = Candidate::host(socket.addr, Protocol::Udp) else { return };
        self.wake(now).add_local_candidate(candidate);
        push(&mut self.sockets, LegSocket { local: socket, tcp: None });
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
        let agent = self.wake(now);
        agent.add_local_candidate(local);
        agent.add_remote_candidate(remote);
        agent.handle_timeout(now);
        push(&mut self.sockets, LegSocket { local: socket, tcp: Some(candidate.addr) });
        push(&mut self.remotes, Remote::of(candidate, socket.index));
        true
    }

    /// A TCP connection closed. Where media went by it, the leg lives on only if the agent has another pair.
    pub fn connection_closed(&mut self, now: Instant, index: u16) {
        let Some(at) = self.sockets.iter().position(|socket| socket.local.index == index) else { return };
        let lost = self.sockets.remove(at);
        self.wake(now);
        self.remotes.retain(|remote| remote.socket != index);
        let was_selected = self.selected.is_some_and(|path| path.socket.index == index);
        if was_selected {
            self.selected = None;
        }
        if let Ok(candidate) = Candidate::host(lost.local.addr, lost.protocol()) {
            self.wake(now).invalidate_candidate(&candidate);
        }
        self.wake(now).handle_timeout(now);
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
        let agent = self.wake(now);
        agent.add_remote_candidate(parsed);
        agent.handle_timeout(now);
        push(&mut self.remotes, Remote::of(candidate, socket.index));
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

    /// A STUN message from the backend.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        socket: LocalSocket,
        source: SocketAddr,
        message: &Message<'_>,
    ) -> Taken {
        if let Keeper::Rest(consent) = &mut self.keeper {
            match consent.handle_stun((socket.index, source), message, &self.registration) {
                Heard::Foreign if self.is_late(message) => return Taken::Kept,
                Heard::Foreign => return Taken::No,
                Heard::Answer => return Taken::Kept,
                Heard::Request(answer) => {
                    self.unsent.push((socket.index, source, answer));
                    return Taken::News;
                }
                Heard::Unusual => {}
            }
            self.wake(now);
            if !message.is_binding(Class::Request) {
                return Taken::News;
            }
        }
        let taken = self.agent_stun(now, socket, source, message.as_bytes()) || self.is_late(message);
        if taken { Taken::News } else { Taken::No }
    }

    /// An answer of the backend to a check that was over already, such as one that was sent twice. It changes nothing.
    fn is_late(&self, message: &Message<'_>) -> bool {
        !message.is_binding(Class::Request)
            && message.verify(&Key::short_term(&self.registration.backend.pwd)).is_ok()
    }

    fn agent_stun(&mut self, now: Instant, socket: LocalSocket, source: SocketAddr, bytes: &[u8]) -> bool {
        let Keeper::Agent(agent) = &mut self.keeper else { return false };
        let Ok(message) = StunMessage::parse(bytes) else { return false };
        if !agent.accepts_message(&message) {
            return false;
        }
        let (answers, priority) = (!message.is_binding_request(), message.prio());
        let Some(proto) =
            self.sockets.iter().find(|own| own.local.index == socket.index).map(LegSocket::protocol)
        else {
            return false;
        };
        let packet = StunPacket { proto, source, destination: socket.addr, message };
        agent.handle_packet(now, packet);
        let from = |remote: &&mut Remote| remote.addr == source && remote.socket == socket.index;
        if let Some(remote) = self.remotes.iter_mut().find(from) {
            remote.proven = true;
            remote.answered |= answers;
        } else if self.remotes.len() < MAX_REMOTES {
            let (socket, priority) = (socket.index, priority.unwrap_or_default());
            push(
                &mut self.remotes,
                Remote { socket, addr: source, priority, proven: true, answered: answers },
            );
        } else {
            return false;
        }
        // A triggered check goes out at once instead of at the next pacing step.
        agent.handle_timeout(now);
        self.take_events();
        self.rest(now);
        true
    }

    /// Media from `source` may be passed on. Mostly it is where media goes.
    #[inline]
    pub fn is_proven(&self, socket: u16, source: SocketAddr) -> bool {
        self.selected.is_some_and(|path| path.remote == source && path.socket.index == socket)
            || self.was_authentic(socket, source)
    }

    fn was_authentic(&self, socket: u16, source: SocketAddr) -> bool {
        self.remotes.iter().any(|remote| remote.addr == source && remote.socket == socket && remote.proven)
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.keeper {
            Keeper::Agent(agent) => {
                agent.handle_timeout(now);
                self.take_events();
                self.rest(now);
            }
            Keeper::Rest(_) => self.ask(now),
        }
        let late = now.saturating_duration_since(self.started) >= CONNECT_TIMEOUT;
        if late && self.state == Liveness::Connecting {
            self.state = Liveness::Dead;
        }
    }

    /// When [`BackendLeg::handle_timeout`] wants to be called.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let agent = match &mut self.keeper {
            Keeper::Agent(agent) => agent.poll_timeout(),
            Keeper::Rest(consent) => Some(consent.next_deadline()),
        };
        match self.state {
            Liveness::Connecting => Some(
                agent.map_or(self.started + CONNECT_TIMEOUT, |at| at.min(self.started + CONNECT_TIMEOUT)),
            ),
            Liveness::Alive | Liveness::Dead => agent,
        }
    }

    /// What is to be sent: (socket index, destination, bytes).
    pub fn poll_transmit(&mut self) -> Option<(u16, SocketAddr, Vec<u8>)> {
        if let Some(unsent) = self.unsent.pop() {
            return Some(unsent);
        }
        self.unsent = Vec::new();
        loop {
            let Keeper::Agent(agent) = &mut self.keeper else { return None };
            let transmit = agent.poll_transmit()?;
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

    /// Whether the agent is gone, because there is nothing left to find.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.keeper, Keeper::Rest(_))
    }

    /// Where media to the backend goes: the nominated path.
    pub fn selected(&self) -> Option<BackendPath> {
        self.selected
    }

    fn socket_of(&self, proto: Protocol, addr: SocketAddr) -> Option<&LegSocket> {
        self.sockets.iter().find(|socket| socket.local.addr == addr && socket.protocol() == proto)
    }
}

/// Most lists of a leg have one entry for good.
fn push<T>(list: &mut Vec<T>, entry: T) {
    list.reserve_exact(1);
    list.push(entry);
}
