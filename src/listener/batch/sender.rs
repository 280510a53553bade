//! Sending: what waits for one socket, by as few calls as it takes.

use std::io;
use std::mem;
use std::os::fd::RawFd;

use super::Outgoing;
use super::control::{Control, write_controls};
use super::name::{self, Name};
use super::receiver::Receiver;
use super::runs::{LONGEST_QUEUE, Run, Runs};

/// Every path takes datagrams of this size (IPv6's least MTU without headers): a run of such that is refused as a whole is
/// refused for what it is.
const FITS_EVERY_PATH: usize = 1232;

/// Head, what was received, padding.
const MOST_PIECES: usize = 3;

/// What came of a flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::listener) struct Sent {
    /// Messages that the kernel was given: runs that leave as one, and single datagrams.
    pub(in crate::listener) messages: usize,
    /// Datagrams lost because the send buffer was full.
    pub(in crate::listener) full: usize,
    /// Datagrams that the kernel refused.
    pub(in crate::listener) refused: usize,
    /// A GSO send failed in a way that says: never again on this socket.
    pub(in crate::listener) offload_broken: bool,
}

/// Send buffers of one worker, used by one socket at a time. They grow to the largest flush and are used again.
pub(in crate::listener) struct Sender {
    runs: Runs,
    names: Vec<Name>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
}

// SAFETY: the raw pointers are rebuilt before every call and used only while `send` runs.
unsafe impl Send for Sender {}

impl Sender {
    pub(in crate::listener) fn new() -> Self {
        Sender { runs: Runs::default(), names: vec![], controls: vec![], headers: vec![], iovecs: vec![] }
    }

    /// Sends `queue` by one socket, in order per destination. With `offload`, what one destination gets leaves as one GSO
    /// send.
    pub(in crate::listener) fn send(
        &mut self,
        fd: RawFd,
        from: &Receiver,
        queue: &[Outgoing],
        offload: bool,
    ) -> Sent {
        let mut sent = Sent::default();
        for part in queue.chunks(LONGEST_QUEUE) {
            self.send_part(fd, from, part, offload, &mut sent);
        }
        sent
    }

    fn send_part(&mut self, fd: RawFd, from: &Receiver, queue: &[Outgoing], offload: bool, sent: &mut Sent) {
        self.runs.group(queue, offload && queue.len() > 1);
        self.lay_out(from, queue);
        let messages = self.runs.runs.len();
        sent.messages += messages;
        let mut done = 0;
        while done < messages {
            let code = match self.transmit(fd, done..messages) {
                Ok(n) => {
                    done += n;
                    continue;
                }
                Err(error) => error.raw_os_error(),
            };
            let run = self.runs.runs[done];
            match code {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    sent.full +=
                        self.runs.runs[done..].iter().map(|run| usize::from(run.count)).sum::<usize>();
                    break;
                }
                code if run.count > 1 => {
                    // The device, or the path's MTU, does not take the run as a whole.
                    let size = queue[usize::from(run.first)].size();
                    sent.offload_broken |= says_never(code, size);
                    self.send_singly(fd, from, queue, run, sent);
                }
                _ => sent.refused += 1,
            }
            done += 1;
        }
    }

    /// Sends messages; how many at the front of the range are through.
    fn transmit(&mut self, fd: RawFd, range: std::ops::Range<usize>) -> io::Result<usize> {
        let rest = &mut self.headers[range];
        if let [only] = rest
            && let Some(sent) = send_plain(fd, &only.msg_hdr)
        {
            return sent;
        }
        // SAFETY: the headers point to names, controls and iovecs of this struct and to the receiver's memory, all of which
        // outlive the call; a message without controls has one iovec at least, and its name is of the length that it says.
        let n = unsafe {
            match rest {
                [only] => libc::sendmsg(fd, &raw const only.msg_hdr, libc::MSG_DONTWAIT).min(1) as i32,
                _ => libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, libc::MSG_DONTWAIT),
            }
        };
        match usize::try_from(n) {
            // An empty datagram is sent, too.
            Ok(n) => Ok(n.max(1)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    #[cold]
    fn send_singly(&self, fd: RawFd, from: &Receiver, queue: &[Outgoing], run: Run, sent: &mut Sent) {
        for i in self.runs.members(run) {
            let result = send_one(fd, from, &queue[i]);
            match result.map_err(|error| error.raw_os_error()) {
                Ok(()) => {}
                Err(Some(libc::EAGAIN | libc::ENOBUFS)) => sent.full += 1,
                Err(_) => sent.refused += 1,
            }
        }
    }

    /// Writes the headers of all runs. What lies side by side in memory, as a coalesced run does, is one piece.
    fn lay_out(&mut self, from: &Receiver, queue: &[Outgoing]) {
        let messages = self.runs.runs.len();
        if self.headers.len() < messages {
            // SAFETY: all-zero is a valid value of this plain C structure.
            self.headers.resize(messages, unsafe { mem::zeroed() });
            self.names.resize(messages, Name::default());
            self.controls.resize(messages, Control::default());
        }
        self.iovecs.clear();
        // The iovecs are pointed to below: they must not move.
        self.iovecs.reserve(MOST_PIECES * queue.len());
        for (i, run) in self.runs.runs.iter().enumerate() {
            let begin = self.iovecs.len();
            for out in self.runs.members(*run).map(|member| &queue[member]) {
                out.pieces(from, |piece| push(&mut self.iovecs, begin, piece));
            }
            let out = &queue[usize::from(run.first)];
            let header = &mut self.headers[i].msg_hdr;
            header.msg_namelen = name::write(&mut self.names[i], out.to);
            header.msg_name = (&raw mut self.names[i]).cast();
            header.msg_iov = &raw mut self.iovecs[begin];
            header.msg_iovlen = (self.iovecs.len() - begin) as _;
            let segment = (run.count > 1).then_some(out.size() as u16);
            write_controls(header, &mut self.controls[i], out.local, segment);
        }
    }
}

/// Adds a piece; one that lies right behind the last one in memory makes that longer, as in a coalesced run.
#[inline]
fn push(iovecs: &mut Vec<libc::iovec>, begin: usize, piece: &[u8]) {
    let base: *mut libc::c_void = piece.as_ptr().cast_mut().cast();
    match iovecs[begin..].last_mut() {
        Some(last) if last.iov_base.wrapping_byte_add(last.iov_len) == base => last.iov_len += piece.len(),
        _ => iovecs.push(libc::iovec { iov_base: base, iov_len: piece.len() }),
    }
}

/// Sends a message of one piece without controls, which spares the kernel reading its header; `None` for any other.
#[inline]
fn send_plain(fd: RawFd, header: &libc::msghdr) -> Option<io::Result<usize>> {
    if header.msg_iovlen != 1 || header.msg_controllen != 0 {
        return None;
    }
    // SAFETY: the header was laid out just now: its one piece and its name are valid for the lengths that it says.
    let sent = unsafe {
        let piece = *header.msg_iov;
        let name = header.msg_name.cast_const().cast();
        libc::sendto(fd, piece.iov_base, piece.iov_len, libc::MSG_DONTWAIT, name, header.msg_namelen)
    };
    Some(if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) })
}

fn send_one(fd: RawFd, from: &Receiver, out: &Outgoing) -> io::Result<()> {
    let (mut name, mut control) = (Name::default(), Control::default());
    let mut iovecs = Vec::with_capacity(MOST_PIECES);
    out.pieces(from, |piece| push(&mut iovecs, 0, piece));
    // SAFETY: all-zero is a valid value of this plain C structure.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_namelen = name::write(&mut name, out.to);
    header.msg_name = (&raw mut name).cast();
    header.msg_iov = iovecs.as_mut_ptr();
    header.msg_iovlen = iovecs.len() as _;
    write_controls(&mut header, &mut control, out.local, None);
    // SAFETY: everything that the header points to outlives the call.
    match unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_DONTWAIT) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a run of datagrams of this size was refused for being a run: no checksum offload (EIO), or a kernel or device that
/// knows no GSO at all. Only the size may be at fault where it does not fit every path.
pub(super) fn says_never(code: Option<i32>, size: usize) -> bool {
    match code {
        Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => true,
        Some(libc::EINVAL) => size <= FITS_EVERY_PATH,
        _ => false,
    }
}
