//! Receiving: up to [`BATCH`] datagrams, by as many calls as it takes.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;

use super::control::{CONTROL, Control, for_each_control};
use super::name::{self, Name};
use super::{BATCH, LARGEST, REPLIES, REPLIES_AT, REPLY_SLOT, SLOT};

/// One receive: a datagram, or a run of equal ones that the kernel coalesced.
#[derive(Clone, Copy, Debug)]
pub(in crate::listener) struct Datagram {
    pub(in crate::listener) from: SocketAddr,
    pub(in crate::listener) local: Option<IpAddr>,
    offset: usize,
    len: usize,
    segment: usize,
}

impl Datagram {
    /// How many packets, and how many bytes in all.
    pub(in crate::listener) fn size(self) -> (u64, u64) {
        (self.len.div_ceil(self.segment.max(1)).max(1) as u64, self.len as u64)
    }

    /// The single datagrams in it, as (offset, length).
    pub(in crate::listener) fn segments(self) -> impl Iterator<Item = (usize, usize)> {
        let end = self.offset + self.len;
        let mut at = self.offset;
        let mut whole_when_empty = self.len == 0;
        std::iter::from_fn(move || {
            if at == end && !mem::take(&mut whole_when_empty) {
                return None;
            }
            let segment = (at, self.segment.min(end - at));
            at += segment.1;
            Some(segment)
        })
    }
}

/// Receive buffers of one worker, used by one socket at a time.
pub(in crate::listener) struct Receiver {
    memory: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    /// Only the headers point here.
    _iovecs: Vec<libc::iovec>,
    filled: usize,
}

// SAFETY: the raw pointers in `headers` and `_iovecs` point only into this struct's own heap memory, which moves with it and
// is never reallocated.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(in crate::listener) fn new() -> Self {
        // SAFETY: all-zero is a valid value of these plain C structures.
        let (header, iovec): (libc::mmsghdr, libc::iovec) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut receiver = Receiver {
            memory: vec![0; REPLIES_AT + REPLIES * REPLY_SLOT],
            names: vec![Name::default(); BATCH],
            controls: vec![Control::default(); BATCH],
            headers: vec![header; BATCH],
            _iovecs: vec![iovec; BATCH],
            filled: 0,
        };
        for i in 0..BATCH {
            receiver._iovecs[i] =
                libc::iovec { iov_base: receiver.memory[i * SLOT..].as_mut_ptr().cast(), iov_len: LARGEST };
            let header = &mut receiver.headers[i].msg_hdr;
            header.msg_name = (&raw mut receiver.names[i]).cast();
            header.msg_iov = &raw mut receiver._iovecs[i];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut receiver.controls[i]).cast();
            receiver.renew(i);
        }
        receiver
    }

    /// Makes room: what was received is done with.
    pub(in crate::listener) fn clear(&mut self) {
        for i in 0..self.filled {
            self.renew(i);
        }
        self.filled = 0;
    }

    /// No room is left.
    pub(in crate::listener) fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    /// Receives what is there, behind what was received since [`Receiver::clear`]; which receives are new.
    pub(in crate::listener) fn receive(&mut self, fd: RawFd) -> io::Result<Range<usize>> {
        let room = &mut self.headers[self.filled..];
        // SAFETY: every header points to memory of this struct that lives through the call, with its true size.
        let count = unsafe {
            libc::recvmmsg(fd, room.as_mut_ptr(), room.len() as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let first = self.filled;
        self.filled += count;
        Ok(first..self.filled)
    }

    /// The `i`th receive; `None` where the sender's address makes no sense.
    #[inline]
    pub(in crate::listener) fn datagram(&self, i: usize) -> Option<Datagram> {
        let len = self.headers[i].msg_len as usize;
        let from = name::read(&self.names[i])?;
        let mut datagram = Datagram { from, local: None, offset: i * SLOT, len, segment: len };
        if self.headers[i].msg_hdr.msg_controllen > 0 {
            self.read_controls(i, &mut datagram);
        }
        Some(datagram)
    }

    /// The bytes of a segment, and the place for the reply with this number.
    #[inline]
    pub(in crate::listener) fn packet_and_reply(
        &mut self,
        (offset, len): (usize, usize),
        reply: usize,
    ) -> (&[u8], &mut [u8]) {
        let (received, replies) = self.memory.split_at_mut(REPLIES_AT);
        let at = reply * REPLY_SLOT;
        (&received[offset..offset + len], &mut replies[at..at + REPLY_SLOT])
    }

    /// The bytes of a segment.
    #[inline]
    pub(in crate::listener) fn packet(&self, (offset, len): (usize, usize)) -> &[u8] {
        &self.memory[offset..offset + len]
    }

    /// Puts bytes that were not received by this socket where a received datagram would be. Only between batches.
    pub(in crate::listener) fn load(&mut self, bytes: &[u8]) -> (usize, usize) {
        self.put(0, bytes)
    }

    /// Puts them behind others that were put there, which end at `used`; `None`: no room. Only between batches.
    pub(in crate::listener) fn pack(&mut self, used: usize, bytes: &[u8]) -> Option<(usize, usize)> {
        (used + LARGEST <= REPLIES_AT).then(|| self.put(used, bytes))
    }

    /// Puts bytes that no socket of this worker received behind what was received since [`Receiver::clear`]. Only while there is
    /// room.
    pub(in crate::listener) fn append(&mut self, bytes: &[u8]) -> (usize, usize) {
        let segment = self.put(self.filled * SLOT, bytes);
        self.filled += 1;
        segment
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> (usize, usize) {
        let len = bytes.len().min(LARGEST);
        self.memory[offset..offset + len].copy_from_slice(&bytes[..len]);
        (offset, len)
    }

    /// Where the reply with this number lies.
    pub(in crate::listener) fn reply_offset(reply: usize) -> usize {
        REPLIES_AT + reply * REPLY_SLOT
    }

    /// What the kernel changes in a header is set back.
    fn renew(&mut self, i: usize) {
        let header = &mut self.headers[i].msg_hdr;
        header.msg_namelen = size_of::<Name>() as u32;
        header.msg_controllen = CONTROL as _;
        header.msg_flags = 0;
    }

    fn read_controls(&self, i: usize, datagram: &mut Datagram) {
        for_each_control(&self.headers[i].msg_hdr, |level, kind, data| match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment = data.first_chunk::<2>().map_or(0, |bytes| u16::from_ne_bytes(*bytes).into());
                if (1..=datagram.len).contains(&segment) {
                    datagram.segment = segment;
                }
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // in_pktinfo: interface index, then the local address (ipi_spec_dst).
                if let Some(octets) = data.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok()) {
                    datagram.local = Some(IpAddr::V4(Ipv4Addr::from(octets)));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(octets) = data.first_chunk::<16>() {
                    datagram.local = Some(IpAddr::V6(Ipv6Addr::from(*octets)));
                }
            }
            _ => {}
        });
    }
}
