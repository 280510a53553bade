//! Many datagrams per system call: `recvmmsg` with UDP GRO, `sendmmsg` with UDP GSO. All of the program's unsafe code is in
//! this folder.
//!
//! Received bytes stay where the kernel put them; what is to be sent names them by offset, so a forwarded packet is
//! never copied. Replies are written behind them, into the same memory. Everything that a call needs is set up once and
//! used again: per packet only what changes is written.

#![allow(unsafe_code)]

mod control;
mod name;
mod receiver;
mod runs;
mod sender;

use std::net::{IpAddr, SocketAddr};

pub(in crate::listener) use receiver::{Datagram, Receiver};
pub(in crate::listener) use sender::{Sender, Sent};

/// Datagrams, or coalesced runs of them, that are received before anything is sent. What one destination gets of them leaves
/// as one send, so more than a burst's worth is good; many more would delay the first one.
pub(in crate::listener) const BATCH: usize = 64;
/// Room for answers to checks: one per datagram, and a coalesced run of checks is rare enough to do without.
pub(in crate::listener) const REPLY_SLOT: usize = crate::stun::BINDING_RESPONSE_MAX;
/// Replies per batch; a batch with more checks sends the first ones early.
pub(in crate::listener) const REPLIES: usize = 64;
/// What one receive may bring: the largest UDP payload, or a coalesced run of smaller ones.
const LARGEST: usize = 65_536;
/// From one slot to the next. Not a multiple of the page size: the starts of slots, which are all that small packets use,
/// would share the same few lines of every cache.
const SLOT: usize = LARGEST + 1_344;
/// Where replies begin.
const REPLIES_AT: usize = BATCH * SLOT;

/// A datagram to send, by place in the [`Receiver`]'s memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::listener) struct Outgoing {
    pub(in crate::listener) to: SocketAddr,
    pub(in crate::listener) local: Option<IpAddr>,
    pub(in crate::listener) offset: usize,
    pub(in crate::listener) len: usize,
    /// What stands before them on the wire and was not received.
    pub(in crate::listener) head: Head,
}

/// Bytes that are sent before those that were received, without moving either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listener) enum Head {
    /// Nothing.
    None,
    /// These.
    Bytes([u8; 4]),
    /// A prepared reply; zeros pad the whole to a multiple of four.
    Reply {
        /// Where it lies, see [`Receiver::reply_offset`].
        offset: usize,
        /// Its length.
        len: usize,
    },
}

/// What a [`Head::Reply`] is padded with.
static PADDING: [u8; 3] = [0; 3];

impl Outgoing {
    /// Bytes on the wire.
    #[inline]
    pub(in crate::listener) fn size(&self) -> usize {
        match self.head {
            Head::None => self.len,
            Head::Bytes(head) => head.len() + self.len,
            Head::Reply { len, .. } => len + self.len.next_multiple_of(4),
        }
    }

    /// The pieces that it is sent from, in order.
    #[inline]
    fn pieces<'a>(&'a self, from: &'a Receiver) -> impl Iterator<Item = &'a [u8]> {
        let (head, padding): (&[u8], &[u8]) = match &self.head {
            Head::None => (&[], &[]),
            Head::Bytes(head) => (head, &[]),
            Head::Reply { offset, len } => {
                (from.packet((*offset, *len)), &PADDING[..self.len.next_multiple_of(4) - self.len])
            }
        };
        let all = [head, from.packet((self.offset, self.len)), padding];
        all.into_iter().filter(|piece| !piece.is_empty())
    }
}
