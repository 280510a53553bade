//! \[pure\] What becomes of a packet: forwarded as it is, answered, handed to the worker that has its session, or dropped
//! for a reason that has a name.
//!
//! A [`Forwarder`] belongs to one worker and holds all of its state. It does no I/O, reads no clock and draws no
//! randomness; on the way of a media packet it neither allocates nor copies. Rare effects (checks of the agents,
//! events, a request for another socket) wait in queues that the shell drains after each turn.

mod backend;
mod client;
mod counters;
mod flow;
mod pages;
mod plain;
mod register;
mod settle;
mod shards;
mod sockets;
mod story;
mod tables;
#[cfg(test)]
mod tests;
mod through;
mod unproven;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::classify::{self, Kind};
use crate::session::meter::{Allowance, Turn};
use crate::session::observe::Clock;
use crate::session::registration::SessionEvent;
use crate::session::timers::Wheel;
pub use counters::{Counters, DropReason, StunKind, Wire, WirePlace};
use flow::{Latest, Packet};
pub use sockets::SocketRequest;
use sockets::{BackendSocket, Purpose};
pub use story::story_without_client;
use tables::{Here, Tables, TimerKey};

/// One of the worker's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// The listener with this index; clients are there.
    Listener(u16),
    /// The backend-facing socket with this index.
    Backend(u16),
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// The socket.
    pub via: Via,
    /// The sender.
    pub from: SocketAddr,
    /// Our address it was sent to, where the socket is bound to all of them.
    pub local: Option<IpAddr>,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// By this socket.
    pub via: Via,
    /// To this address.
    pub to: SocketAddr,
    /// From this address of ours, where the socket is bound to all of them.
    pub local: Option<IpAddr>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same bytes go there.
    Forward(Destination),
    /// The first `len` bytes of the reply buffer go there.
    Reply {
        /// Length of the reply.
        len: usize,
        /// Back to where the packet came from.
        to: Destination,
    },
    /// The same, but whoever sent the packet has proven nothing by it.
    Tell {
        /// Length of the reply.
        len: usize,
        /// Back to where the packet came from.
        to: Destination,
    },
    /// Another worker has the session.
    HandOver {
        /// Its number.
        worker: u32,
    },
    /// It was for the edge itself; there is nothing to send.
    Consumed,
    /// It ends here.
    Drop(DropReason),
}

/// A datagram that the edge itself wants to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: Destination,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What a forwarder is built from.
pub struct Setup {
    /// This worker's number.
    pub worker: u32,
    /// Addresses of the listeners, by index.
    pub listeners: Vec<SocketAddr>,
    /// At most so many registrations at a time; see `limits.sessions`.
    pub max_sessions: usize,
    /// Fills a buffer with unpredictable bytes.
    pub random: Random,
    /// Now.
    pub now: Instant,
}

/// What timers may cost between two batches, about in microseconds: packets wait for so long at most where fifty thousand
/// registrations end at once, or a thousand sessions that connected in one moment check their paths in one.
const TIMERS_AT_ONCE: usize = 256;

/// A source of randomness.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// One worker's sessions and what it decides over packets.
pub struct Forwarder {
    worker: u32,
    listeners: Vec<SocketAddr>,
    /// Those that tell strangers their address.
    plain: Vec<u16>,
    /// By index; a gap is filled again.
    backend_sockets: Vec<Option<BackendSocket>>,
    /// Indices of the gaps.
    free_indices: Vec<u16>,
    /// Where the search for a socket went on last; see `sockets`.
    probe: usize,
    max_sessions: usize,
    allowance: Allowance,
    /// RTP streams are followed for their statistics.
    follows_streams: bool,
    turn: Turn,
    latest: Option<Latest>,
    unproven: Option<unproven::Unproven>,
    random: Random,
    /// RFC 8445 §7.1.3; the edge is always controlled on the client leg.
    tie_breaker: u64,
    tables: Tables,
    timers: Wheel<TimerKey>,
    clock: Clock,
    due: Vec<TimerKey>,
    /// More was due at that time than is done at once.
    behind: Option<Instant>,
    counters: Counters,
    transmits: VecDeque<Transmit>,
    events: VecDeque<SessionEvent>,
    socket_requests: VecDeque<SocketRequest>,
    idle_sockets: VecDeque<u16>,
}

impl Forwarder {
    /// A forwarder without sessions.
    pub fn new(mut setup: Setup) -> Self {
        let mut tie_breaker = [0; 8];
        (setup.random)(&mut tie_breaker);
        Forwarder {
            worker: setup.worker,
            listeners: setup.listeners,
            plain: Vec::new(),
            backend_sockets: Vec::new(),
            free_indices: Vec::new(),
            probe: 0,
            max_sessions: setup.max_sessions,
            allowance: Allowance::default(),
            follows_streams: true,
            turn: Turn::default(),
            latest: None,
            unproven: None,
            random: setup.random,
            tie_breaker: u64::from_be_bytes(tie_breaker),
            tables: Tables::default(),
            timers: Wheel::new(setup.now),
            clock: Clock::new(setup.now),
            due: Vec::new(),
            behind: None,
            counters: Counters::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            socket_requests: VecDeque::new(),
            idle_sockets: VecDeque::new(),
        }
    }

    /// Decides over one packet. A reply is written to `reply`, which holds at least
    /// [`crate::stun::BINDING_RESPONSE_MAX`] bytes.
    pub fn handle(&mut self, now: Instant, received: Received, bytes: &[u8], reply: &mut [u8]) -> Verdict {
        let kind = classify::classify(bytes);
        let verdict = match kind {
            Kind::Dtls | Kind::Media => self.media(Packet { now, received, kind, bytes }),
            Kind::Stun => self.stun(now, received, bytes, reply),
            _ => Verdict::Drop(DropReason::NotIce),
        };
        if let Verdict::Drop(reason) = verdict {
            self.counters.dropped(reason);
        }
        verdict
    }

    // Within the hot path it would only stand between the lines that each packet needs: these are cold after each sleep.
    #[inline(never)]
    fn stun(&mut self, now: Instant, received: Received, bytes: &[u8], reply: &mut [u8]) -> Verdict {
        self.latest = None;
        let (from_client, verdict) = match received.via {
            Via::Listener(listener) => (true, self.client_stun(now, listener, received, bytes, reply)),
            Via::Backend(socket) => (false, self.backend_stun(now, socket, received, bytes)),
        };
        self.counters.stun_arrived(from_client, bytes, &verdict);
        verdict
    }

    /// DTLS, SRTP or SRTCP. This is the hot path: at most one look-up, no allocation.
    #[inline]
    fn media(&mut self, packet: Packet<'_>) -> Verdict {
        if let Some(flow) = self.following(&packet) {
            return self.carry(packet, flow);
        }
        match packet.received.via {
            Via::Listener(listener) => self.client_media(listener, packet),
            Via::Backend(socket) => self.backend_media(socket, packet),
        }
    }

    /// Runs what is due, at most so much that packets do not wait for it; [`Forwarder::next_timeout`] says whether there is
    /// more.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.latest = None;
        let mut due = std::mem::take(&mut self.due);
        if due.is_empty() {
            self.timers.fire(now, &mut due);
        }
        let mut left = TIMERS_AT_ONCE;
        while left > 0
            && let Some(key) = due.pop()
        {
            left = left.saturating_sub(key.cost());
            match key {
                TimerKey::Here(Here::Half(session)) => self.session_timeout(now, session),
                TimerKey::Here(Here::Through(session)) => self.through_timeout(now, session),
                TimerKey::Registration(id) => self.registration_timeout(now, id),
            }
        }
        self.behind = (!due.is_empty()).then_some(now);
        if due.is_empty() && due.capacity() > 4 * TIMERS_AT_ONCE {
            due = Vec::new();
        }
        self.due = due;
    }

    /// When [`Forwarder::handle_timeout`] has something to do next.
    #[inline]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.behind.or_else(|| self.timers.next())
    }

    /// Whether one of the `poll_…` functions has something.
    #[inline]
    pub fn has_effects(&self) -> bool {
        let Forwarder { transmits, events, socket_requests, idle_sockets, .. } = self;
        !(transmits.is_empty() && events.is_empty() && socket_requests.is_empty() && idle_sockets.is_empty())
    }

    /// The next datagram of the edge's own.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing to tell the rest of the program.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// For what the shell itself receives and sends.
    pub fn count_wire(&mut self, place: WirePlace, more: Wire) {
        self.counters.wire(place, more);
    }

    /// For what the shell itself must drop.
    pub fn count_drop(&mut self, reason: DropReason) {
        self.counters.dropped(reason);
    }

    /// Whether RTP streams are followed from now on; statistics stay as they are where not.
    pub fn follow_streams(&mut self, follows: bool) {
        self.follows_streams = follows;
    }

    /// A listener came, with the next index.
    pub fn add_listener(&mut self, addr: SocketAddr) {
        self.listeners.push(addr);
    }

    /// How many addresses of clients are known at a listener, those of other workers' sessions included. Looks at all of
    /// them: for a listener that is about to go, every few seconds.
    pub fn clients_at(&self, listener: u16) -> usize {
        self.tables.clients_at(listener)
    }

    /// Sessions that this worker serves.
    pub fn live_sessions(&self) -> usize {
        self.tables.sessions.len() + self.tables.throughs.len()
    }

    /// Sessions it knows of, those of other workers and those without a client included.
    pub fn known_sessions(&self) -> usize {
        self.tables.known.len()
    }
}
