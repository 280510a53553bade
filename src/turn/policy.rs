//! Where packets for a peer go, if they may go there: out of the relay, to another relay of ours, or to the edge's own ICE
//! port within the process. Everything else of this host is out of reach.

use std::net::{IpAddr, SocketAddr};

use super::allocation::Way;
use super::outside::Outside;
use super::peers::{Denial, Peers, Permitted};

/// Who may be reached, and what of this host.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By address.
    pub peers: Peers,
    /// The edge's own ICE ports: each with all addresses that clients may know it by.
    pub doors: Vec<Vec<SocketAddr>>,
    /// Ports that this process listens on with UDP, at any address of this host: a relay that reaches one makes a loop.
    pub own_ports: Vec<u16>,
    /// Public address and the address of this host behind it, where a NAT stands between them.
    pub mappings: Vec<(IpAddr, IpAddr)>,
}

impl Policy {
    /// Where packets for `peer` go, whose address may be reached.
    pub fn way(&self, peer: SocketAddr, permitted: Permitted, outside: &dyn Outside) -> Result<Way, Denial> {
        if peer.port() == 0 {
            return Err(Denial::Port);
        }
        if let Some(door) = self.doors.iter().position(|door| door.contains(&peer)) {
            return Ok(Way::Inside(door as u16));
        }
        match permitted {
            Permitted::Any => Ok(Way::Out(peer)),
            Permitted::Own { .. } if outside.is_relay(peer) => Ok(Way::Out(self.behind_nat(peer))),
            Permitted::Own { listed: true } if !self.own_ports.contains(&peer.port()) => Ok(Way::Out(peer)),
            Permitted::Own { .. } => Err(Denial::OwnAddress),
        }
    }

    /// The address that a packet came from, as the client knows it.
    #[inline]
    pub fn as_public(&self, from: SocketAddr, outside: &dyn Outside) -> SocketAddr {
        let mapped = self.mappings.iter().find(|(_, private)| *private == from.ip());
        let public = mapped.map(|(public, _)| SocketAddr::new(*public, from.port()));
        public.filter(|public| outside.is_relay(*public)).unwrap_or(from)
    }

    /// The NAT in front of this host may not send back what comes from behind it.
    fn behind_nat(&self, peer: SocketAddr) -> SocketAddr {
        let mapped = self.mappings.iter().find(|(public, _)| *public == peer.ip());
        mapped.map_or(peer, |(_, private)| SocketAddr::new(*private, peer.port()))
    }
}
