//! From a relay to the edge's own ICE port and back, within the process: to the packet side it is one more connection of a
//! client, whose address is the relay's. So it works behind any NAT, and no firewall has to let the host speak to itself.
//!
//! Both ways lead from one worker's thread to another's: packets travel in parcels through the inboxes, and no task is between.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Shared, ToWorker};
use crate::forward::{Received, Via};
use crate::listener::Inbox;
use crate::listener::tcp::{FromStream, Link, Outlet, StreamDoor, tell_gone};
use crate::turn::{Relay, RelayId};

/// Ports of the edge that one relay may speak to, counting each address that they have.
const MOST_PER_RELAY: usize = 8;

/// The ways of one worker's relays.
pub(super) struct Insides {
    shared: Arc<Shared>,
    worker: usize,
    /// By number of the relay.
    ways_by_relay: Vec<Vec<Way>>,
    serial: u64,
}

/// From one relay to one address of an ICE port.
struct Way {
    to: SocketAddr,
    /// Tells it from those of earlier relays of the same number.
    serial: u64,
    link: Arc<Link>,
    inboxes: Arc<[Inbox]>,
}

/// Where the packet side's answers go: back to the worker of the relay.
struct Back {
    shared: Arc<Shared>,
    worker: usize,
    relay: RelayId,
    serial: u64,
}

impl Insides {
    pub(super) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Insides { shared, worker, ways_by_relay: Vec::new(), serial: 0 }
    }

    /// Gives a packet to the packet side, as if it came from the relay; whether it was taken.
    pub(super) fn send(&mut self, relay: Relay, door: u16, to: SocketAddr, packet: &[u8]) -> bool {
        let parcel = self.shared.pool.pack(packet);
        let Some(way) = self.way(relay, door, to) else { return false };
        let Some(inbox) = way.inboxes.get(way.link.worker() as usize) else { return false };
        let parcel = FromStream::Parcel(way.link.clone(), parcel);
        let taken = inbox.streams.try_send(parcel).is_ok();
        inbox.bell.ring();
        taken
    }

    /// The address that a packet of this way comes from; `None` once its relay is closed.
    pub(super) fn sender(&self, relay: RelayId, serial: u64) -> Option<SocketAddr> {
        let ways = self.ways_by_relay.get(relay.0 as usize)?;
        ways.iter().find(|way| way.serial == serial).map(|way| way.to)
    }

    /// The relay is gone: so are its ways, and the packet side forgets them.
    pub(super) fn close(&mut self, relay: RelayId) {
        let Some(ways) = self.ways_by_relay.get_mut(relay.0 as usize) else { return };
        for way in std::mem::take(ways) {
            way.link.close();
            self.shared.runtime.spawn(async move { tell_gone(&way.link, &way.inboxes).await });
        }
    }

    fn way(&mut self, relay: Relay, door: u16, to: SocketAddr) -> Option<&Way> {
        let number = relay.id.0 as usize;
        if self.ways_by_relay.len() <= number {
            self.ways_by_relay.resize_with(number + 1, Vec::new);
        }
        let found = self.ways_by_relay[number].iter().position(|way| way.to == to);
        let at = match found {
            Some(at) => at,
            None if self.ways_by_relay[number].len() >= MOST_PER_RELAY => return None,
            None => {
                let door = self.shared.doors.load().get(usize::from(door)).cloned()?;
                let way = self.open(relay, &door, to);
                self.ways_by_relay[number].push(way);
                self.ways_by_relay[number].len() - 1
            }
        };
        self.ways_by_relay[number].get(at)
    }

    fn open(&mut self, relay: Relay, door: &StreamDoor, to: SocketAddr) -> Way {
        self.serial += 1;
        let received = Received {
            via: Via::Listener(door.listener),
            from: relay.address,
            local: Some(to.ip().to_canonical()),
        };
        let back =
            Back { shared: self.shared.clone(), worker: self.worker, relay: relay.id, serial: self.serial };
        let link = Link::to_relay(received, door.next_worker(), Box::new(back));
        Way { to, serial: self.serial, link, inboxes: door.inboxes.clone() }
    }
}

impl Outlet for Back {
    fn send(&self, packet: &[u8]) -> usize {
        let Some(inbox) = self.shared.inboxes.get(self.worker) else { return 1 };
        let parcel = self.shared.pool.pack(packet);
        let message = ToWorker::Inside { relay: self.relay, serial: self.serial, parcel };
        // A worker that is behind loses it, as a socket's buffer would.
        usize::from(inbox.offer(message).is_err())
    }
}

impl std::fmt::Debug for Back {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "relay {} of turn worker {}", self.relay.0, self.worker)
    }
}
