//! Listeners come and go while the workers run. One that goes stays open for as long as clients use it: sessions under way
//! keep the candidate that they have.

use std::net::SocketAddr;
use std::sync::{PoisonError, mpsc};
use std::time::Duration;

use super::socket::Socket;
use super::tcp::StreamDoor;
use super::{Inbox, ListenError, PacketSide, ToWorker};
use crate::config::{Limits, Media};

/// How long a worker may take to count.
const PATIENCE: Duration = Duration::from_secs(1);

/// A UDP address that is bound, once per worker, and served by none yet. Dropping it lets it go.
pub struct Bound {
    addr: SocketAddr,
    sockets: Vec<Socket>,
}

/// The index of a listener, the same in all workers; given once and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerIndex(pub(super) u16);

impl PacketSide {
    /// Binds a UDP address for the workers. It must be free, but for listeners of our own that it overlaps.
    pub fn bind(&self, addr: SocketAddr, media: &Media) -> Result<Bound, ListenError> {
        let failed = |source| ListenError::Bind { addr, source };
        if !self.overlaps_own(addr) {
            Socket::is_free(addr).map_err(failed)?;
        }
        // With port 0 the kernel chooses once, for all workers.
        let mut chosen = addr;
        let mut sockets = Vec::new();
        for _ in self.inboxes.iter() {
            let bound = Socket::listen(chosen, media).map_err(failed)?;
            chosen = bound.local_addr()?;
            sockets.push(bound);
        }
        if let Some(socket) = sockets.first() {
            socket.announce();
        }
        Ok(Bound { addr: chosen, sockets })
    }

    /// Has a bound address served.
    pub fn listen(&self, bound: Bound) -> ListenerIndex {
        self.add(bound.addr, bound.sockets.into_iter().map(Some), true)
    }

    /// A place for the ICE-TCP connections of a TCP port.
    pub fn add_stream_door(&self, addr: SocketAddr) -> StreamDoor {
        let index = self.add(addr, std::iter::repeat_with(|| None), false);
        StreamDoor { inboxes: self.inboxes.clone(), listener: index.0, next_worker: self.next_worker.clone() }
    }

    /// Closes a UDP listener if no client uses it; the answer is whether it is closed. Blocks for as long as the workers take
    /// to count.
    pub fn close_unused(&self, listener: ListenerIndex) -> bool {
        let (counts, counted) = mpsc::channel();
        self.tell(|| ToWorker::CountClients(listener.0, counts.clone()));
        let used = (0..self.inboxes.len()).any(|_| !matches!(counted.recv_timeout(PATIENCE), Ok(0)));
        if !used {
            self.tell(|| ToWorker::CloseListener(listener.0));
            if let Some(slot) = self.slots().get_mut(usize::from(listener.0)) {
                slot.is_udp = false;
            }
        }
        !used
    }

    /// Has other limits hold from now on.
    pub fn set_limits(&self, limits: &Limits) {
        let limits = std::sync::Arc::new(limits.clone());
        self.tell(|| ToWorker::Limits(limits.clone()));
    }

    /// Has these listeners answer plain Binding requests from now on, and no other.
    pub fn set_plain(&self, listeners: impl Iterator<Item = ListenerIndex>) {
        let listeners: std::sync::Arc<[u16]> = listeners.map(|listener| listener.0).collect();
        self.tell(|| ToWorker::Plain(listeners.clone()));
    }

    /// Has sockets that are opened from now on follow `media`. The number of workers stays.
    pub fn set_media(&self, media: &Media) {
        self.tell(|| ToWorker::Media(media.clone()));
    }

    /// Whether every worker does its work: returns when all have answered, or `patience` is over.
    pub fn is_alive(&self, patience: Duration) -> bool {
        let (answers, answered) = mpsc::channel();
        self.tell(|| ToWorker::Ping(answers.clone()));
        (0..self.inboxes.len()).all(|_| answered.recv_timeout(patience).is_ok())
    }

    fn add(
        &self,
        addr: SocketAddr,
        mut sockets: impl Iterator<Item = Option<Socket>>,
        is_udp: bool,
    ) -> ListenerIndex {
        // Held until all workers know of it, so that they count alike.
        let mut slots = self.slots();
        slots.push(Slot { addr, is_udp });
        for inbox in self.inboxes.iter() {
            tell(inbox, ToWorker::Listen(addr, sockets.next().flatten()));
        }
        ListenerIndex((slots.len() - 1) as u16)
    }

    /// Whether a listener of ours has this port already, on this or on all addresses.
    fn overlaps_own(&self, addr: SocketAddr) -> bool {
        let shares = |own: SocketAddr| {
            let is_wide = own.ip().is_unspecified() || addr.ip().is_unspecified();
            own.port() == addr.port() && (own.ip() == addr.ip() || is_wide)
        };
        addr.port() != 0 && self.slots().iter().any(|slot| slot.is_udp && shares(slot.addr))
    }

    pub(super) fn slots(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an index stands for.
pub(super) struct Slot {
    pub(super) addr: SocketAddr,
    /// It has sockets.
    is_udp: bool,
}

pub(super) fn tell(inbox: &Inbox, message: ToWorker) {
    // Fails only for a worker that has stopped, which needs no commands.
    let _ = inbox.commands.send(message);
    inbox.bell.ring();
}
