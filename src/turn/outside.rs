//! What the core needs from outside, as a trait: sockets, users and randomness stay with the shell.

use std::net::{IpAddr, SocketAddr};

use crate::auth::Known;

/// Number of a relay socket, given by the shell; small, and used again once the socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u32);

/// A relay socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its number.
    pub id: RelayId,
    /// Its address as peers see it: the relayed transport address.
    pub address: SocketAddr,
}

/// What kind of relay socket is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Any port of this family.
    Any(Family),
    /// An even port; with `reserve`, the next one is kept for half a minute.
    Even {
        /// The family.
        family: Family,
        /// Keep the next port.
        reserve: bool,
    },
    /// The port that was kept under this token.
    Reserved([u8; 8]),
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(ip: IpAddr) -> Family {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// A relay socket, and the token of the port behind it.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The socket.
    pub relay: Relay,
    /// Set where a reservation was wished for.
    pub token: Option<[u8; 8]>,
}

/// Why there is no relay socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRelay {
    /// This server has no relay address of that family.
    Family,
    /// No port is left, or the token means nothing.
    Exhausted,
}

/// Why there may not be one more allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The user has all that one may have, or the source address has.
    Quota,
    /// The server has, or it is about to stop.
    Server,
}

/// The world, as one worker's core sees it.
pub trait Outside {
    /// What is known about a user.
    fn known(&mut self, username: &str, remote: IpAddr) -> Known;
    /// Takes one allocation off the quotas.
    fn admit(&mut self, username: &str, remote: IpAddr) -> Result<(), Full>;
    /// Gives one back.
    fn release(&mut self, username: &str, remote: IpAddr);
    /// Opens a relay socket.
    fn open(&mut self, wish: Wish) -> Result<Opened, NoRelay>;
    /// Closes it.
    fn close(&mut self, relay: RelayId);
    /// Whether a peer's address is one of our relays, of any worker.
    fn is_relay(&self, address: SocketAddr) -> bool;
}
