//! The server's tables, and the way of a client's packet through them: decides by which relay a payload leaves, and to whom; never
//! who gets a relay; `requests` does. The way of a peer's packet is in `from_peer`, how long an allocation lives in
//! `lifetimes`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use slab::Slab;

use super::allocation::{Allocation, Client, Way};
use super::challenge::Realm;
use super::counters::{Counters, TurnDrop};
use super::nonce::Nonces;
use super::notices::{Notice, Notices};
use super::outside::{Outside, Relay, RelayId};
use super::peers::{Denial, Permitted};
use super::policy::Policy;
use super::wire::{self, CHANNEL_HEADER, attribute, method};
use crate::budget::{Rate, Sources};
use crate::session::timers::Wheel;
use crate::stun::{self, Class, Fingerprint, Message, Method};

/// Sources whose budgets are remembered, 16 bytes each.
const BUDGETS: usize = 16_384;

/// What a server is made of.
#[derive(Debug)]
pub struct Setup {
    /// What clients sign for.
    pub realm: Realm,
    /// Shared by all workers.
    pub nonces: Nonces,
    /// Whom relays may reach.
    pub policy: Arc<Policy>,
    /// Bytes per second and direction of one allocation; 0: any.
    pub bandwidth: u64,
    /// Longest lifetime that is granted, seconds.
    pub max_lifetime: u32,
    /// Answers to one source that has not proven anything.
    pub strangers: Rate,
    /// A random number.
    pub seed: u64,
    /// Now.
    pub now: Instant,
}

/// What becomes of a client's packet. Offsets are into the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first `len` bytes of the reply buffer go back to the client.
    Reply {
        /// How many.
        len: usize,
    },
    /// A part of the packet leaves by a relay.
    Relay {
        /// Which one.
        relay: RelayId,
        /// To whom.
        to: SocketAddr,
        /// Where the payload starts.
        at: usize,
        /// Its length.
        len: usize,
    },
    /// A part of the packet goes to the edge's own ICE port, as if it came from the relay.
    Inside {
        /// The relay.
        relay: Relay,
        /// Index in [`Policy::doors`].
        door: u16,
        /// The port's address, as the client knows it.
        to: SocketAddr,
        /// Where the payload starts.
        at: usize,
        /// Its length.
        len: usize,
    },
    /// A webhook has to be asked about this user; then the same packet is to be handled again.
    Ask,
    /// Nothing more to do.
    Done,
    /// Thrown away.
    Drop(TurnDrop),
}

type Map<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// One worker's TURN server.
pub struct Server {
    pub(super) realm: Realm,
    pub(super) nonces: Nonces,
    pub(super) policy: Arc<Policy>,
    pub(super) bandwidth: u64,
    pub(super) max_lifetime: u32,
    pub(super) allocations: Slab<Allocation>,
    /// By 5-tuple: addresses are chosen by clients, hence the random seed.
    pub(super) by_client: Map<Client, usize>,
    /// By relay number, which the shell gives out from 0 on.
    pub(super) by_relay: Vec<Option<usize>>,
    pub(super) timers: Wheel<usize>,
    pub(super) due: Vec<usize>,
    strangers: Sources,
    pub(super) counters: Counters,
    notices: Notices,
    /// Transaction ids of indications; nobody answers them.
    next_id: u64,
}

impl Server {
    /// An empty one.
    pub fn new(setup: Setup) -> Server {
        Server {
            realm: setup.realm,
            nonces: setup.nonces,
            policy: setup.policy,
            bandwidth: setup.bandwidth,
            max_lifetime: setup.max_lifetime,
            allocations: Slab::new(),
            by_client: Map::default(),
            by_relay: Vec::new(),
            timers: Wheel::new(setup.now),
            due: Vec::new(),
            strangers: Sources::new(setup.strangers, BUDGETS, setup.seed, setup.now),
            counters: Counters::default(),
            notices: Notices::default(),
            next_id: setup.seed,
        }
    }

    /// Decides over what a client sent. `reply` has room for [`crate::stun::BINDING_RESPONSE_MAX`] bytes.
    #[inline]
    pub fn handle(
        &mut self,
        now: Instant,
        client: Client,
        packet: &[u8],
        reply: &mut [u8],
        outside: &mut dyn Outside,
    ) -> Verdict {
        let verdict = match packet.first() {
            Some(first) if wire::starts_channel_data(*first) => {
                self.channel_data(now, &client, packet, outside)
            }
            _ if stun::is_stun(packet) => self.message(now, &client, packet, reply, outside),
            _ => Verdict::Drop(TurnDrop::Malformed),
        };
        if let Verdict::Drop(reason) = verdict {
            self.counters.count_drops(reason, 1);
        }
        verdict
    }

    #[inline]
    fn channel_data(
        &mut self,
        now: Instant,
        client: &Client,
        packet: &[u8],
        outside: &dyn Outside,
    ) -> Verdict {
        let Some((number, len)) = wire::channel_data(packet) else {
            return Verdict::Drop(TurnDrop::Malformed);
        };
        let Some(index) = self.by_client.get(client).copied() else {
            return Verdict::Drop(TurnDrop::NoAllocation);
        };
        let allocation = &self.allocations[index];
        if now >= allocation.expires {
            return Verdict::Drop(TurnDrop::NoAllocation);
        }
        let Some(channel) = allocation.channel(now, number) else {
            return Verdict::Drop(TurnDrop::NoChannel);
        };
        let peer = channel.peer;
        let way = match channel.permitted {
            Permitted::Any => channel.way,
            // A port of this host may have changed hands since the channel was bound.
            own => match self.policy.way(peer, own, outside) {
                Ok(way) => way,
                Err(reason) => return self.denied(now, client, reason, peer.ip()),
            },
        };
        self.leave(now, index, (peer, way), CHANNEL_HEADER, len)
    }

    /// Lets a payload leave by the relay of the peer's family.
    #[inline]
    pub(super) fn leave(
        &mut self,
        now: Instant,
        index: usize,
        (peer, way): (SocketAddr, Way),
        at: usize,
        len: usize,
    ) -> Verdict {
        let allocation = &mut self.allocations[index];
        let Some(relay) = allocation.relay_for(peer.ip()) else {
            return Verdict::Drop(TurnDrop::NoPermission);
        };
        if !allocation.up.take(now, len, self.bandwidth) {
            return Verdict::Drop(TurnDrop::Bandwidth);
        }
        allocation.traffic.up.count(1, len);
        self.counters.traffic.up.count(1, len);
        match way {
            Way::Out(to) => Verdict::Relay { relay: relay.id, to, at, len },
            Way::Inside(door) => {
                self.counters.inside.up.count(1, len);
                Verdict::Inside { relay, door, to: peer, at, len }
            }
        }
    }

    fn message(
        &mut self,
        now: Instant,
        client: &Client,
        packet: &[u8],
        reply: &mut [u8],
        outside: &mut dyn Outside,
    ) -> Verdict {
        let Ok(message) = Message::parse(packet) else { return Verdict::Drop(TurnDrop::Malformed) };
        if message.check_fingerprint() == Fingerprint::Bad {
            return Verdict::Drop(TurnDrop::Malformed);
        }
        match (message.class(), message.method()) {
            (Class::Indication, method::SEND) => self.send(now, client, &message, outside),
            // A keepalive (RFC 8445 §11).
            (Class::Indication, Method::BINDING) => Verdict::Done,
            (Class::Request, Method::BINDING) => self.binding(now, client, &message, reply),
            (Class::Request, _) => self.request(now, client, &message, reply, outside),
            _ => Verdict::Drop(TurnDrop::Unexpected),
        }
    }

    fn send(
        &mut self,
        now: Instant,
        client: &Client,
        message: &Message<'_>,
        outside: &dyn Outside,
    ) -> Verdict {
        let Some(index) = self.by_client.get(client).copied() else {
            return Verdict::Drop(TurnDrop::NoAllocation);
        };
        let (Some(peer), Some(data)) =
            (message.xor_address(attribute::XOR_PEER_ADDRESS), message.get(attribute::DATA))
        else {
            return Verdict::Drop(TurnDrop::Malformed);
        };
        // With DONT-FRAGMENT too (RFC 8656 §11.2).
        if message.unknown_required(attribute::KNOWN).next().is_some() {
            return Verdict::Drop(TurnDrop::Unexpected);
        }
        let allocation = &self.allocations[index];
        let permitted = allocation.permission(now, peer.ip()).filter(|_| now < allocation.expires);
        let Some(permitted) = permitted else { return Verdict::Drop(TurnDrop::NoPermission) };
        match self.policy.way(peer, permitted, outside) {
            Ok(way) => {
                let at = data.as_ptr() as usize - message.as_bytes().as_ptr() as usize;
                self.leave(now, index, (peer, way), at, data.len())
            }
            Err(reason) => self.denied(now, client, reason, peer.ip()),
        }
    }

    fn binding(&mut self, now: Instant, client: &Client, message: &Message<'_>, reply: &mut [u8]) -> Verdict {
        let allowance = match self.allow_stranger(now, client, message) {
            Ok(allowance) => allowance,
            Err(reason) => return Verdict::Drop(reason),
        };
        let answer = stun::plain_answer(reply, message, client.remote, attribute::KNOWN, allowance);
        self.counters.bindings += u64::from(answer.is_some());
        answer.map_or(Verdict::Drop(TurnDrop::Amplification), |len| Verdict::Reply { len })
    }

    /// How much may be said to who has not proven anything, if his budget has anything left.
    pub(super) fn allow_stranger(
        &mut self,
        now: Instant,
        client: &Client,
        message: &Message<'_>,
    ) -> Result<usize, TurnDrop> {
        if self.strangers.take(now, client.remote.ip()).is_err() {
            return Err(TurnDrop::OverBudget);
        }
        Ok(stun::allowance(message.as_bytes().len(), client.remote, client.is_stream()))
    }

    pub(super) fn denied(&mut self, now: Instant, client: &Client, reason: Denial, peer: IpAddr) -> Verdict {
        self.note_denial(now, client, reason, peer);
        Verdict::Drop(TurnDrop::PeerDenied)
    }

    pub(super) fn note_denial(&mut self, now: Instant, client: &Client, reason: Denial, peer: IpAddr) {
        self.counters.count_denial(reason);
        self.notices.note(now, Notice { reason, peer, client: client.remote });
    }

    /// A denial to be told, the oldest first.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.poll()
    }

    /// One that no other has, of any worker.
    pub(super) fn number(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.next_id
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts what was thrown away outside.
    pub fn count_drops(&mut self, reason: TurnDrop, packets: usize) {
        self.counters.count_drops(reason, packets);
    }

    /// Whether a client has an allocation.
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.by_client.contains_key(client)
    }

    /// How many allocations there are.
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }
}
