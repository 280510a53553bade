//! The way of a peer's packet: from the relay that it came to, to the client whose relay that is. Decides whether it may pass, and
//! whether by a channel or as an indication; never touches the bytes.

use std::net::SocketAddr;
use std::time::Instant;

use super::allocation::Client;
use super::counters::TurnDrop;
use super::outside::{Outside, RelayId};
use super::server::Server;
use crate::stun::TransactionId;

/// What becomes of a peer's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromPeer {
    /// Each goes to the client with this channel's header before it.
    Channel {
        /// The client.
        client: Client,
        /// The channel.
        number: u16,
    },
    /// Each goes to the client as a Data indication ([`super::wire::data_head`]) from this peer.
    Indication {
        /// The client.
        client: Client,
        /// The peer, as the client knows it.
        peer: SocketAddr,
    },
    /// Thrown away.
    Drop(TurnDrop),
}

impl Server {
    /// Decides over `packets` packets of `bytes` bytes in all that a peer sent to a relay.
    #[inline]
    pub fn handle_peer(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        (packets, bytes): (usize, usize),
        outside: &dyn Outside,
    ) -> FromPeer {
        let from = if self.policy.mappings.is_empty() { from } else { self.policy.as_public(from, outside) };
        self.deliver(now, relay, from, (packets, bytes), false)
    }

    /// The same for what the edge's own ICE port sends to a relay.
    pub fn handle_inside(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        bytes: usize,
    ) -> FromPeer {
        self.deliver(now, relay, from, (1, bytes), true)
    }

    #[inline]
    fn deliver(
        &mut self,
        now: Instant,
        relay: RelayId,
        from: SocketAddr,
        (packets, bytes): (usize, usize),
        is_inside: bool,
    ) -> FromPeer {
        let found = self.by_relay.get(relay.0 as usize).copied().flatten();
        let Some(allocation) = found.and_then(|index| self.allocations.get_mut(index)) else {
            return self.drop_peer(TurnDrop::NoAllocation, packets);
        };
        if now >= allocation.expires || allocation.permission(now, from.ip()).is_none() {
            return self.drop_peer(TurnDrop::NoPermission, packets);
        }
        if !allocation.down.take(now, bytes, self.bandwidth) {
            return self.drop_peer(TurnDrop::Bandwidth, packets);
        }
        allocation.traffic.down.count(packets, bytes);
        self.counters.traffic.down.count(packets, bytes);
        if is_inside {
            self.counters.inside.down.count(packets, bytes);
        }
        let client = allocation.client;
        match allocation.channel_to(now, from) {
            Some(number) => FromPeer::Channel { client, number },
            None => FromPeer::Indication { client, peer: from },
        }
    }

    fn drop_peer(&mut self, reason: TurnDrop, packets: usize) -> FromPeer {
        self.counters.count_drops(reason, packets);
        FromPeer::Drop(reason)
    }

    /// An id for the next Data indication.
    pub fn indication_id(&mut self) -> TransactionId {
        let mut id = TransactionId::default();
        id[..8].copy_from_slice(&self.number().to_be_bytes());
        id
    }
}
