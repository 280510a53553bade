//! \[shell\] A client that was let in, as its connection knows the rooms.

use std::sync::Arc;

use bytes::Bytes;

use super::hub::Hub;
use super::outbox::Outbox;
use super::protocol::{Departure, Keepalive, PeerKey};
use crate::ws_frame::Message;

/// Messages that may wait before a ping, or the answer to one, is too much.
const CONTROLS: usize = 10_000;

/// A client that was let in. It is gone for the protocol when this is dropped, however that comes.
pub struct Entry {
    pub(super) hub: Arc<Hub>,
    pub(super) peer: PeerKey,
    pub(super) outbox: Arc<Outbox>,
    pub(super) keepalive: Keepalive,
    pub(super) message_limit: usize,
}

impl Entry {
    pub(super) fn push(&self, message: Message) {
        // Pings and pongs that nobody takes are no reason to wait.
        if self.outbox.push(message, CONTROLS).is_err() {
            self.hub.give_up(self.peer);
        }
    }

    pub(super) fn depart(&self, departure: Departure) {
        self.hub.depart(self.peer, departure);
    }

    pub(super) fn unsent(&self) -> Vec<Bytes> {
        self.outbox.unsent()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.hub.depart(self.peer, Departure::Lost(self.outbox.unsent()));
        self.hub.counters.ended();
    }
}
