//! Relay sockets: addresses, random ports of the range, and ports that are kept for a moment.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Media;
use crate::listener::socket::Socket;
use crate::turn::{Family, NoRelay, Wish};

/// An address of relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External {
    /// As peers see it.
    pub public: IpAddr,
    /// What the sockets are bound to: the same, the address behind a NAT, or any.
    pub bind: IpAddr,
}

/// All of them, and their ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Externals {
    /// At least one, of either family.
    pub addresses: Vec<External>,
    /// The range.
    pub ports: RangeInclusive<u16>,
}

/// A reserved port waits for its Allocate (RFC 8656 §7.2: 30 seconds).
const RESERVED_FOR: Duration = Duration::from_secs(30);
/// Reserved ports at a time.
const MOST_RESERVED: usize = 256;
/// Ports that are tried at random before all are tried in turn.
const TRIES: u32 = 32;
/// Receive and send buffer of a relay: a quarter of a second at 16 Mbit/s. There may be thousands of them.
const BUFFER: usize = 512 << 10;

/// A relay socket and its address as peers see it.
pub(super) type Relayed = (Socket, SocketAddr);

/// Shared by the workers of a service.
pub(super) struct Ports {
    externals: Vec<(External, Live)>,
    range: RangeInclusive<u16>,
    media: Media,
    reserved: Mutex<HashMap<[u8; 8], (Relayed, Instant)>>,
}

/// One bit per port that a relay has.
struct Live(Box<[AtomicU64]>);

impl Live {
    fn new() -> Live {
        Live((0..1024).map(|_| AtomicU64::new(0)).collect())
    }

    fn has(&self, port: u16) -> bool {
        self.0[usize::from(port / 64)].load(Ordering::Relaxed) & (1 << (port % 64)) != 0
    }

    fn set(&self, port: u16, is_live: bool) {
        let (word, bit) = (&self.0[usize::from(port / 64)], 1 << (port % 64));
        if is_live {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

impl Ports {
    pub(super) fn new(externals: Externals, media: &Media) -> Self {
        let media = Media { socket_buffer: media.socket_buffer.min(BUFFER), ..media.clone() };
        let addresses = externals.addresses.into_iter();
        Ports {
            externals: addresses.map(|external| (external, Live::new())).collect(),
            range: externals.ports,
            media,
            reserved: Mutex::default(),
        }
    }

    /// Opens what is wished for; a token where a port was reserved.
    pub(super) fn open(&self, wish: Wish) -> Result<(Relayed, Option<[u8; 8]>), NoRelay> {
        match wish {
            Wish::Any(family) => Ok((self.open_any(family, 1)?, None)),
            Wish::Even { family, reserve: false } => Ok((self.open_any(family, 2)?, None)),
            Wish::Even { family, reserve: true } => self.open_pair(family),
            Wish::Reserved(token) => {
                self.forget_reserved(Instant::now());
                let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
                let (relayed, _) = reserved.remove(&token).ok_or(NoRelay::Exhausted)?;
                self.mark(relayed.1, true);
                Ok((relayed, None))
            }
        }
    }

    /// The socket of this relay is closed.
    pub(super) fn closed(&self, address: SocketAddr) {
        self.mark(address, false);
    }

    /// Whether an address is a relay of this service.
    pub(super) fn is_relay(&self, address: SocketAddr) -> bool {
        let mut own = self.externals.iter().filter(|(external, _)| external.public == address.ip());
        own.any(|(_, live)| live.has(address.port()))
    }

    /// Closes reserved ports that nobody came for.
    pub(super) fn forget_reserved(&self, now: Instant) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.retain(|_, (_, until)| now < *until);
    }

    fn mark(&self, address: SocketAddr, is_live: bool) {
        let own = self.externals.iter().find(|(external, _)| external.public == address.ip());
        own.into_iter().for_each(|(_, live)| live.set(address.port(), is_live));
    }

    fn open_any(&self, family: Family, step: u16) -> Result<Relayed, NoRelay> {
        let external = self.external(family)?;
        let found = self.candidates(step).find_map(|port| self.bind(external, port));
        let relayed = found.ok_or(NoRelay::Exhausted)?;
        self.mark(relayed.1, true);
        Ok(relayed)
    }

    /// An even port, and the next one under a token.
    fn open_pair(&self, family: Family) -> Result<(Relayed, Option<[u8; 8]>), NoRelay> {
        self.forget_reserved(Instant::now());
        let external = self.external(family)?;
        let pair = |port: u16| {
            let next = port.checked_add(1).filter(|next| self.range.contains(next))?;
            Some((self.bind(external, port)?, self.bind(external, next)?))
        };
        let (first, second) = self.candidates(2).find_map(pair).ok_or(NoRelay::Exhausted)?;
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if reserved.len() >= MOST_RESERVED {
            return Err(NoRelay::Exhausted);
        }
        let token = rand::random();
        reserved.insert(token, (second, Instant::now() + RESERVED_FOR));
        self.mark(first.1, true);
        Ok((first, Some(token)))
    }

    /// Ports of the range that are no relays yet: some at random, so that nobody can tell the next one, then all in turn. With
    /// a step of two, even ones.
    fn candidates(&self, step: u16) -> impl Iterator<Item = u16> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let first = if step == 2 { first.saturating_add(first % 2) } else { first };
        let count = last.checked_sub(first).map_or(0, |span| u32::from(span / step) + 1);
        let port = move |n: u32| first + (n % count.max(1)) as u16 * step;
        let random = (0..TRIES).map(move |_| port(rand::random()));
        let start: u32 = rand::random::<u32>() >> 1;
        let all = (0..count).map(move |n| port(start + n));
        random.chain(all).filter(move |_| count > 0)
    }

    fn bind(&self, external: External, port: u16) -> Option<Relayed> {
        let public = SocketAddr::new(external.public, port);
        if self.is_relay(public) {
            return None;
        }
        let udp = UdpSocket::bind((external.bind, port)).ok()?;
        Some((Socket::adopt(udp, &self.media).ok()?, public))
    }

    /// One of the family, at random.
    fn external(&self, family: Family) -> Result<External, NoRelay> {
        let of_family =
            |(external, _): &&(External, Live)| external.public.is_ipv4() == (family == Family::V4);
        let count = self.externals.iter().filter(of_family).count();
        let nth = rand::random::<u32>() as usize % count.max(1);
        self.externals.iter().filter(of_family).nth(nth).map(|(external, _)| *external).ok_or(NoRelay::Family)
    }
}

impl External {
    /// `public` as it is where this host has it, else every address of the host: a NAT stands between.
    pub fn new(public: IpAddr, private: Option<IpAddr>) -> io::Result<External> {
        let any: IpAddr = match public {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let wanted = private.unwrap_or(public);
        match UdpSocket::bind((wanted, 0)) {
            Ok(_) => Ok(External { public, bind: wanted }),
            Err(error) if private.is_some() => Err(error),
            Err(_) => Ok(External { public, bind: any }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(range: RangeInclusive<u16>) -> Ports {
        let addresses = vec![External::new([127, 0, 0, 1].into(), None).unwrap()];
        Ports::new(Externals { addresses, ports: range }, &Media::new(1))
    }

    /// Ranges of their own, so that tests do not meet.
    #[test]
    fn every_port_of_the_range_is_given_out_once_in_no_order() {
        let ports = ports(47_100..=47_149);
        let mut given = Vec::new();
        let mut sockets = Vec::new();
        while let Ok(((socket, address), None)) = ports.open(Wish::Any(Family::V4)) {
            assert!(ports.is_relay(address));
            given.push(address.port());
            sockets.push(socket);
        }
        assert!(given.len() >= 45, "nearly all of them: {}", given.len());
        assert!(!given.is_sorted());
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), sockets.len());
        assert_eq!(ports.open(Wish::Any(Family::V6)).err(), Some(NoRelay::Family));
    }

    #[test]
    fn a_reserved_port_is_the_next_one_and_is_there_once() {
        let ports = ports(47_151..=47_170);
        let ((_socket, first), token) = ports.open(Wish::Even { family: Family::V4, reserve: true }).unwrap();
        let token = token.unwrap();
        assert!(first.port().is_multiple_of(2));
        let ((_other, second), _) = ports.open(Wish::Reserved(token)).unwrap();
        assert_eq!(second.port(), first.port() + 1);
        assert_eq!(ports.open(Wish::Reserved(token)).err(), Some(NoRelay::Exhausted));
        let ((_third, even), _) = ports.open(Wish::Even { family: Family::V4, reserve: false }).unwrap();
        assert!(even.port().is_multiple_of(2));
        ports.open(Wish::Even { family: Family::V4, reserve: true }).unwrap();
        ports.forget_reserved(Instant::now() + RESERVED_FOR);
        assert!(ports.reserved.lock().unwrap().is_empty());
    }
}
