//! What a worker's core needs from outside: users, quotas, and relay sockets, which the worker's poll watches.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;
use tracing::warn;

use super::Shared;
use super::worker::RELAYS;
use crate::auth::{Known, Purpose, Query};
use crate::listener::batch::Outgoing;
use crate::listener::socket::Socket;
use crate::turn::{Full, NoRelay, Opened, Outside, Relay, RelayId, Wish};

/// A relay socket.
pub(super) struct RelaySocket {
    pub(super) socket: Socket,
    /// Its address as peers see it.
    pub(super) address: SocketAddr,
    /// What waits to be sent, in order.
    pub(super) queue: Vec<Outgoing>,
}

/// The world of one worker.
pub(super) struct World {
    shared: Arc<Shared>,
    registry: Registry,
    pub(super) relays: Slab<RelaySocket>,
    /// Relays that may have something to read at once.
    pub(super) opened: Vec<u32>,
    /// Relays that are closed, and keep their numbers until somebody has looked.
    pub(super) closed: Vec<RelayId>,
}

impl World {
    pub(super) fn new(shared: Arc<Shared>, registry: Registry) -> Self {
        World { shared, registry, relays: Slab::new(), opened: Vec::new(), closed: Vec::new() }
    }

    fn watch(&self, fd: RawFd, number: usize) -> std::io::Result<()> {
        self.registry.register(&mut SourceFd(&fd), Token(RELAYS + number), Interest::READABLE)
    }
}

impl Outside for World {
    fn known(&mut self, username: &str, remote: IpAddr) -> Known {
        self.shared.store.known(&Query { username, purpose: Purpose::Turn, room: None, remote })
    }

    fn admit(&mut self, username: &str, remote: IpAddr) -> Result<(), Full> {
        if self.shared.draining.load(Ordering::Relaxed) {
            return Err(Full::Server);
        }
        self.shared.quotas.take(username, remote)
    }

    fn release(&mut self, username: &str, remote: IpAddr) {
        self.shared.quotas.give_back(username, remote);
    }

    fn open(&mut self, wish: Wish) -> Result<Opened, NoRelay> {
        let ((socket, address), token) = self.shared.ports.open(wish)?;
        let fd = socket.fd();
        let number = self.relays.insert(RelaySocket { socket, address, queue: Vec::new() });
        if let Err(error) = self.watch(fd, number) {
            warn!(%error, "cannot watch a relay socket");
            self.relays.remove(number);
            self.shared.ports.closed(address);
            return Err(NoRelay::Exhausted);
        }
        let id = RelayId(number as u32);
        self.opened.push(id.0);
        Ok(Opened { relay: Relay { id, address }, token })
    }

    fn close(&mut self, relay: RelayId) {
        let Some(gone) = self.relays.get(relay.0 as usize) else { return };
        // The kernel forgets a closed descriptor anyway.
        let _ = self.registry.deregister(&mut SourceFd(&gone.socket.fd()));
        self.shared.ports.closed(gone.address);
        // Its number is given out again once nothing leads by it any more.
        self.closed.push(relay);
    }

    fn is_relay(&self, address: SocketAddr) -> bool {
        self.shared.ports.is_relay(address)
    }
}
