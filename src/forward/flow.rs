//! The last step of a media packet: it is counted, and it goes. Also the shortcut for the packets behind it: most follow
//! one of the same sender, and within one moment the tables would give the same answer again.

use std::net::SocketAddr;
use std::time::Instant;

use super::tables::Here;
use super::{Destination, DropReason, Forwarder, Received, Verdict, Via};
use crate::classify::Kind;
use crate::session::meter::{Exceeded, Turn};

/// A media packet.
#[derive(Clone, Copy)]
pub(super) struct Packet<'p> {
    pub(super) now: Instant,
    pub(super) received: Received,
    /// DTLS or media.
    pub(super) kind: Kind,
    pub(super) bytes: &'p [u8],
}

/// Whose media it is and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) session: Here,
    pub(super) to: Destination,
}

/// The flow that the latest media packet had. Anything but media may change where media goes, so it is forgotten then; and
/// where somebody wants to see a session's packets, each takes the long way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    now: Instant,
    via: Via,
    from: SocketAddr,
    flow: Flow,
}

impl Forwarder {
    /// A new turn of the worker begins. `crowded`: it has been behind for a while, so each client gets a share only.
    pub fn begin_turn(&mut self, crowded: bool) {
        self.turn = Turn { number: self.turn.number.wrapping_add(1), crowded };
    }

    /// The flow of a media packet that follows one of the same sender.
    #[inline]
    pub(super) fn following(&self, packet: &Packet<'_>) -> Option<Flow> {
        let latest = self.latest.as_ref()?;
        let Received { via, from, .. } = packet.received;
        (latest.now == packet.now && latest.via == via && latest.from == from).then_some(latest.flow)
    }

    /// A media packet whose flow the tables told.
    #[inline]
    pub(super) fn forward(&mut self, packet: Packet<'_>, flow: Flow) -> Verdict {
        let Received { via, from, .. } = packet.received;
        let seen = self.observed(flow.session).is_none_or(|observed| observed.is_tapped());
        self.latest = (!seen).then_some(Latest { now: packet.now, via, from, flow });
        self.carry(packet, flow)
    }

    /// Looks at a media packet, counts it and lets it go, unless its client sends too much.
    #[inline]
    pub(super) fn carry(&mut self, packet: Packet<'_>, flow: Flow) -> Verdict {
        let Packet { now, kind, bytes, .. } = packet;
        let tick = self.clock.tick(now);
        let (observed, traffic, meter) = match flow.session {
            Here::Half(key) => match self.tables.sessions.get_mut(key.0) {
                Some(session) => (&mut session.observed, &mut session.traffic, &mut session.meter),
                None => return Verdict::Drop(DropReason::UnknownAddress),
            },
            Here::Through(key) => match self.tables.throughs.get_mut(key.0) {
                Some(through) => (&mut through.observed, &mut through.traffic, &mut through.meter),
                None => return Verdict::Drop(DropReason::UnknownAddress),
            },
        };
        match flow.to.via {
            Via::Backend(_) => {
                if let Err(exceeded) = meter.take(now, bytes.len(), &self.allowance, self.turn) {
                    return Verdict::Drop(exceeded.into());
                }
                self.counters.heard_up(observed.up(tick, kind, bytes, self.follows_streams));
                traffic.up(bytes.len());
                self.counters.up(bytes.len());
            }
            Via::Listener(_) => {
                self.counters.heard_down(observed.down(tick, kind, bytes, self.follows_streams));
                traffic.down(bytes.len());
                self.counters.down(bytes.len());
            }
        }
        Verdict::Forward(flow.to)
    }
}

impl From<Exceeded> for DropReason {
    fn from(exceeded: Exceeded) -> Self {
        match exceeded {
            Exceeded::Rate => DropReason::ClientTooFast,
            Exceeded::Share => DropReason::ClientOverShare,
        }
    }
}
