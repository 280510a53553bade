//! One allocation: its relays, permissions, channels and lifetimes. Decides what is bound to what until when; never who may
//! have an allocation, nor which peers are denied.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::counters::Traffic;
use super::outside::{Family, Relay};
use super::peers::Permitted;
use crate::auth::LongTermKeys;
use crate::stun::{ErrorCode, TransactionId};

/// A permission (RFC 8656 §9).
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// A channel (RFC 8656 §12).
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// An expired channel's number and peer may not be bound anew, but to each other, for so long (RFC 8656 §12).
const CHANNEL_REST: Duration = Duration::from_secs(300);
/// Permissions, and channels, of one allocation. A browser needs one per remote candidate.
pub const MOST_PEERS: usize = 128;

/// Peers are chosen by clients, hence a random seed.
type Map<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// A client as TURN knows it (RFC 8656 §2.2): where it came from, and where it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// What it came by.
    pub transport: Transport,
    /// Number of the connection; 0 for UDP.
    pub stream: u32,
    /// The client's address.
    pub remote: SocketAddr,
    /// The address of ours that it sends to, where the listener has several.
    pub local: Option<IpAddr>,
}

impl Client {
    /// Whether it came by TCP or TLS.
    pub fn is_stream(&self) -> bool {
        self.transport != Transport::Udp
    }
}

/// What a client speaks TURN over (RFC 8656 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain connection, or one whose TLS somebody in front has ended.
    Tcp,
    /// A connection in TLS.
    Tls,
}

impl Transport {
    /// Stable lower-case name, for operators.
    pub fn label(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }
}

/// Where packets for a peer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Out, from the relay to this address.
    Out(SocketAddr),
    /// To the edge's own ICE port with this index, within the process.
    Inside(u16),
}

/// A channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channel {
    pub(super) peer: SocketAddr,
    pub(super) way: Way,
    pub(super) permitted: Permitted,
    pub(super) until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Permission {
    permitted: Permitted,
    until: Instant,
}

/// Why a channel cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBound {
    /// The number belongs to another peer, or the peer to another number.
    Taken,
    /// No room.
    Full,
}

pub(super) struct Allocation {
    /// For operators, whose requests name it.
    pub(super) id: u64,
    pub(super) client: Client,
    pub(super) username: Arc<str>,
    pub(super) keys: Arc<LongTermKeys>,
    /// One, or one of each family.
    leases: [Option<Lease>; 2],
    /// Of the Allocate that made it: a retransmission gets the same answer.
    pub(super) transaction: TransactionId,
    pub(super) reservation: Option<[u8; 8]>,
    pub(super) missing: Option<(Family, ErrorCode)>,
    /// What the client was told then, seconds.
    pub(super) lifetime: u32,
    /// When the last of its relays goes.
    pub(super) expires: Instant,
    pub(super) opened: Instant,
    pub(super) timer: Instant,
    pub(super) traffic: Traffic,
    pub(super) up: Bucket,
    pub(super) down: Bucket,
    permissions: Map<IpAddr, Permission>,
    channels: Map<u16, Channel>,
    channels_by_peer: Map<SocketAddr, u16>,
}

/// A relay, and until when it is there. With one of each family, each has a lifetime of its own (RFC 8656 §8.1).
#[derive(Clone, Copy, Debug)]
struct Lease {
    relay: Relay,
    until: Instant,
}

impl Lease {
    fn family(&self) -> Family {
        Family::of(self.relay.address.ip())
    }
}

/// What makes an allocation.
pub(super) struct Opening {
    pub(super) client: Client,
    pub(super) username: Arc<str>,
    pub(super) keys: Arc<LongTermKeys>,
    pub(super) relays: [Option<Relay>; 2],
    pub(super) transaction: TransactionId,
    pub(super) reservation: Option<[u8; 8]>,
    /// The family that was asked for too and is not there, and why.
    pub(super) missing: Option<(Family, ErrorCode)>,
    pub(super) lifetime: u32,
}

impl Allocation {
    pub(super) fn new(now: Instant, opening: Opening) -> Self {
        let until = now + Duration::from_secs(opening.lifetime.into());
        Allocation {
            id: 0,
            client: opening.client,
            username: opening.username,
            keys: opening.keys,
            leases: opening.relays.map(|relay| Some(Lease { relay: relay?, until })),
            transaction: opening.transaction,
            reservation: opening.reservation,
            missing: opening.missing,
            lifetime: opening.lifetime,
            expires: until,
            opened: now,
            timer: now,
            traffic: Traffic::default(),
            up: Bucket::default(),
            down: Bucket::default(),
            permissions: Map::default(),
            channels: Map::default(),
            channels_by_peer: Map::default(),
        }
    }

    pub(super) fn relays(&self) -> impl Iterator<Item = Relay> {
        self.leases.iter().flatten().map(|lease| lease.relay)
    }

    /// The relay of the family of `ip`.
    pub(super) fn relay_for(&self, ip: IpAddr) -> Option<Relay> {
        self.relays().find(|relay| relay.address.is_ipv4() == ip.is_ipv4())
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.leases.iter().flatten().any(|lease| lease.family() == family)
    }

    /// Keeps the relay of a family, or all of them, until then.
    pub(super) fn refresh(&mut self, family: Option<Family>, until: Instant) {
        let wanted = |lease: &&mut Lease| family.is_none_or(|family| family == lease.family());
        self.leases.iter_mut().flatten().filter(wanted).for_each(|lease| lease.until = until);
        self.find_end();
    }

    /// Takes the relay of a family out, and what leads to its peers; the other family keeps what it has (RFC 8656 §8.1).
    pub(super) fn give_up(&mut self, family: Family) -> Option<Relay> {
        let lease =
            self.leases.iter_mut().find_map(|lease| lease.take_if(|lease| lease.family() == family))?;
        self.permissions.retain(|ip, _| Family::of(*ip) != family);
        self.channels.retain(|_, channel| Family::of(channel.peer.ip()) != family);
        self.channels_by_peer.retain(|peer, _| Family::of(peer.ip()) != family);
        self.find_end();
        Some(lease.relay)
    }

    /// A family whose time is over.
    pub(super) fn overdue(&self, now: Instant) -> Option<Family> {
        self.leases.iter().flatten().find(|lease| now >= lease.until).map(Lease::family)
    }

    /// When the first of its relays goes.
    pub(super) fn first_end(&self) -> Instant {
        self.leases.iter().flatten().map(|lease| lease.until).min().unwrap_or(self.expires)
    }

    fn find_end(&mut self) {
        let last = self.leases.iter().flatten().map(|lease| lease.until).max();
        self.expires = last.unwrap_or(self.expires);
    }

    #[inline]
    pub(super) fn permission(&self, now: Instant, ip: IpAddr) -> Option<Permitted> {
        self.permissions.get(&ip).filter(|permission| now < permission.until).map(|found| found.permitted)
    }

    /// Whether there is room for these permissions too.
    pub(super) fn has_room_for(&mut self, now: Instant, ips: impl Iterator<Item = IpAddr>) -> bool {
        if self.permissions.len() + MOST_PEERS / 4 > MOST_PEERS {
            self.permissions.retain(|_, permission| now < permission.until);
        }
        let new = ips.filter(|ip| !self.permissions.contains_key(ip)).count();
        self.permissions.len() + new <= MOST_PEERS
    }

    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr, permitted: Permitted) {
        self.permissions.insert(ip, Permission { permitted, until: now + PERMISSION_LIFETIME });
    }

    /// The live channel with this number.
    #[inline]
    pub(super) fn channel(&self, now: Instant, number: u16) -> Option<&Channel> {
        self.channels.get(&number).filter(|channel| now < channel.until)
    }

    /// The number of the live channel to `peer`.
    #[inline]
    pub(super) fn channel_to(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let number = *self.channels_by_peer.get(&peer)?;
        self.channel(now, number).map(|_| number)
    }

    /// Binds a channel, or keeps it for another [`CHANNEL_LIFETIME`].
    pub(super) fn bind(
        &mut self,
        now: Instant,
        number: u16,
        peer: SocketAddr,
        (permitted, way): (Permitted, Way),
    ) -> Result<(), NotBound> {
        self.forget_rested(now);
        let of_number = self.channels.get(&number).map(|channel| channel.peer);
        let of_peer = self.channels_by_peer.get(&peer).copied();
        match (of_number, of_peer) {
            (None, None) if self.channels.len() >= MOST_PEERS => return Err(NotBound::Full),
            (None, None) => {}
            (Some(bound), Some(known)) if bound == peer && known == number => {}
            _ => return Err(NotBound::Taken),
        }
        self.channels.insert(number, Channel { peer, way, permitted, until: now + CHANNEL_LIFETIME });
        self.channels_by_peer.insert(peer, number);
        Ok(())
    }

    /// Looks at every peer again, at a reload.
    pub(super) fn revise(
        &mut self,
        check: impl Fn(IpAddr) -> Option<Permitted>,
        way: impl Fn(SocketAddr, Permitted) -> Option<Way>,
    ) {
        self.permissions.retain(|ip, permission| {
            check(*ip).is_some_and(|permitted| {
                permission.permitted = permitted;
                true
            })
        });
        let by_peer = &mut self.channels_by_peer;
        self.channels.retain(|_, channel| {
            let now = check(channel.peer.ip())
                .and_then(|permitted| Some((permitted, way(channel.peer, permitted)?)));
            match now {
                Some(now) => (channel.permitted, channel.way) = now,
                None => drop(by_peer.remove(&channel.peer)),
            }
            now.is_some()
        });
    }

    /// Forgets what is over.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.permissions.retain(|_, permission| now < permission.until);
        self.forget_rested(now);
    }

    /// Live permissions and channels.
    pub(super) fn peers(&self, now: Instant) -> (usize, usize) {
        let permissions = self.permissions.values().filter(|permission| now < permission.until).count();
        (permissions, self.channels.values().filter(|channel| now < channel.until).count())
    }

    fn forget_rested(&mut self, now: Instant) {
        let by_peer = &mut self.channels_by_peer;
        self.channels.retain(|_, channel| {
            let keep = now < channel.until + CHANNEL_REST;
            if !keep {
                by_peer.remove(&channel.peer);
            }
            keep
        });
    }
}

/// Bytes per second with a burst of one second's worth, as a virtual clock that runs ahead while it is spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// Nanoseconds of credit that are spent, and when that was so.
    ahead: Option<(Instant, u64)>,
}

impl Bucket {
    /// Spends `bytes`, if `per_second` allows; 0 allows everything.
    #[inline]
    pub(super) fn take(&mut self, now: Instant, bytes: usize, per_second: u64) -> bool {
        per_second == 0 || self.take_some(now, bytes, per_second)
    }

    fn take_some(&mut self, now: Instant, bytes: usize, per_second: u64) -> bool {
        const SECOND: u64 = 1_000_000_000;
        let spent = self.ahead.map_or(0, |(at, spent)| {
            spent.saturating_sub(now.saturating_duration_since(at).as_nanos() as u64)
        });
        let fits = spent < SECOND;
        let cost = if fits { (bytes as u64).saturating_mul(SECOND) / per_second } else { 0 };
        self.ahead = Some((now, spent.saturating_add(cost)));
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_through_what_it_says() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let tried = (0..10_000u64).map(|i| start + Duration::from_millis(i));
        let passed = tried.filter(|at| bucket.take(*at, 1000, 100_000)).count();
        // Ten seconds at 100 packets per second, and the burst of the first one.
        assert!((1090..=1110).contains(&passed), "{passed}");
        assert!(bucket.take(start, usize::MAX, 0));
    }
}
