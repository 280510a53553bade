//! Many datagrams per system call: `recvmmsg` with UDP GRO, `sendmmsg` with UDP GSO. All of the program's unsafe code is in
//! this folder.
//!
//! Received bytes stay where the kernel put them; what is to be sent names them by offset, so a forwarded packet is
//! never copied. Replies are written behind them, into the same memory. Everything that a call needs is set up once and
//! used again: per packet only what changes is written.

#![allow(unsafe_code)]

mod control;
mod name;
mod options;
mod receiver;
mod runs;
mod sender;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub(super) use options::{pin_to, set_option};
pub(super) use receiver::{Datagram, Receiver};
pub(super) use sender::Sender;

/// Datagrams, or coalesced runs of them, that are received before anything is sent. What one destination gets of them leaves
/// as one send, so more than a burst's worth is good; many more would delay the first one.
pub(super) const BATCH: usize = 64;
/// Room for answers to checks: one per datagram, and a coalesced run of checks is rare enough to do without.
pub(super) const REPLY_SLOT: usize = crate::stun::BINDING_RESPONSE_MAX;
/// Replies per batch; a batch with more checks sends the first ones early.
pub(super) const REPLIES: usize = 64;
/// What one receive may bring: the largest UDP payload, or a coalesced run of smaller ones.
const LARGEST: usize = 65_536;
/// From one slot to the next. Not a multiple of the page size: the starts of slots, which are all that small packets use,
/// would share the same few lines of every cache.
const SLOT: usize = LARGEST + 1_344;
/// Where replies begin.
const REPLIES_AT: usize = BATCH * SLOT;

/// A datagram to send, by place in the [`Receiver`]'s memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) to: SocketAddr,
    pub(super) local: Option<IpAddr>,
    pub(super) offset: usize,
    pub(super) len: usize,
    /// What goes before them and was not received.
    pub(super) head: Head,
}

/// Bytes that are sent before those that were received, without moving either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// None.
    Empty,
    /// These.
    Bytes([u8; 4]),
    /// A prepared reply; zeros behind what was received pad it to a multiple of four.
    Reply {
        /// Where it lies, see [`Receiver::reply_offset`].
        offset: usize,
        /// Its length.
        len: usize,
    },
}

/// What a datagram with a [`Head::Reply`] is padded with.
static PADDING: [u8; 3] = [0; 3];

impl Outgoing {
    /// Bytes on the wire.
    #[inline]
    fn size(&self) -> usize {
        match self.head {
            Head::Empty => self.len,
            Head::Bytes(head) => head.len() + self.len,
            Head::Reply { len, .. } => len + self.len.next_multiple_of(4),
        }
    }

    /// Calls `each` with the pieces that it is sent from, in order.
    #[inline]
    fn pieces<'a>(&'a self, from: &'a Receiver, mut each: impl FnMut(&'a [u8])) {
        let received = from.packet((self.offset, self.len));
        match &self.head {
            Head::Empty => each(received),
            Head::Bytes(head) => {
                each(head);
                each(received);
            }
            Head::Reply { offset, len } => {
                each(from.packet((*offset, *len)));
                each(received);
                each(&PADDING[..self.len.next_multiple_of(4) - self.len]);
            }
        }
    }
}
