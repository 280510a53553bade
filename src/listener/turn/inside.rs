//! From a relay to the edge's own ICE port and back, within the process: to the packet side it is one more connection of a
//! client, whose address is the relay's. So it works behind any NAT, and no firewall has to let the host speak to itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Shared, ToWorker};
use crate::forward::{Received, Via};
use crate::listener::tcp::{FromStream, Link, StreamDoor, next_frame, tell_gone};
use crate::turn::{Relay, RelayId};

/// Bytes that are taken at once.
const CHUNK: usize = 16 << 10;
/// Ports of the edge that one relay may speak to, counting each address that they have.
const MOST_PER_RELAY: usize = 8;

/// The links of one worker's relays.
pub(super) struct Insides {
    shared: Arc<Shared>,
    worker: usize,
    links_by_relay: HashMap<RelayId, Vec<(SocketAddr, Arc<Link>)>>,
}

impl Insides {
    pub(super) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Insides { shared, worker, links_by_relay: HashMap::new() }
    }

    /// Gives a packet to the packet side, as if it came from the relay; whether it was taken.
    pub(super) fn send(&mut self, relay: Relay, door: u16, to: SocketAddr, packet: Bytes) -> bool {
        let Some(door) = self.shared.doors.load().get(usize::from(door)).cloned() else { return false };
        let Some(link) = self.link(relay, &door, to) else { return false };
        let Some(inbox) = door.inboxes.get(link.worker() as usize) else { return false };
        let taken = inbox.streams.try_send(FromStream::Packet(link, packet)).is_ok();
        // A failed wake means that the worker is awake already, or gone.
        let _ = inbox.waker.wake();
        taken
    }

    /// The address that a packet of this link comes from; `None` once its relay is closed.
    pub(super) fn sender(&self, relay: RelayId, link: &Arc<Link>) -> Option<SocketAddr> {
        let links = self.links_by_relay.get(&relay)?.iter();
        links.into_iter().find(|(_, own)| Arc::ptr_eq(own, link)).map(|(address, _)| *address)
    }

    /// The relay is gone: so are its links.
    pub(super) fn close(&mut self, relay: RelayId) {
        for (_, link) in self.links_by_relay.remove(&relay).unwrap_or_default() {
            link.close();
        }
    }

    fn link(&mut self, relay: Relay, door: &StreamDoor, to: SocketAddr) -> Option<Arc<Link>> {
        let links = self.links_by_relay.entry(relay.id).or_default();
        if let Some((_, link)) = links.iter().find(|(address, _)| *address == to) {
            return Some(link.clone());
        }
        if links.len() >= MOST_PER_RELAY {
            return None;
        }
        let received = Received {
            via: Via::Listener(door.listener),
            from: relay.address,
            local: Some(to.ip().to_canonical()),
        };
        let link = Link::to_client(received, door.next_worker());
        links.push((to, link.clone()));
        let (shared, worker, back) = (self.shared.clone(), self.worker, link.clone());
        let inboxes = door.inboxes.clone();
        self.shared.runtime.spawn(async move {
            carry_back(&shared, worker, relay.id, &back).await;
            tell_gone(&back, &inboxes).await;
        });
        Some(link)
    }
}

/// Brings what the packet side sends to the relay, until the link is closed.
async fn carry_back(shared: &Shared, worker: usize, relay: RelayId, link: &Arc<Link>) {
    let mut out = BytesMut::new();
    while link.take(&mut out, CHUNK).await {
        while let Ok(Some(packet)) = next_frame(&mut out, usize::from(u16::MAX)) {
            // A worker that is behind loses it, as a socket's buffer would.
            let _ = shared.inboxes[worker].offer(ToWorker::Inside(relay, link.clone(), packet));
        }
        out.clear();
    }
}
