//! The last step of a media packet: it is counted, and it goes. Also the shortcut for the packets behind it: most follow
//! one of the same sender, and within one moment the tables would give the same answer again.

use std::net::SocketAddr;
use std::time::Instant;

use super::tables::Here;
use super::{Destination, DropReason, Forwarder, Received, Verdict, Via};
use crate::session::meter::{Exceeded, Turn};

/// Whose media it is and where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) session: Here,
    pub(super) to: Destination,
}

/// The flow that the latest media packet had. Anything but media may change where media goes, so it is forgotten then.
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
    pub(super) fn following(&self, now: Instant, received: &Received) -> Option<Flow> {
        let latest = self.latest.as_ref()?;
        let same = latest.now == now && latest.via == received.via && latest.from == received.from;
        same.then_some(latest.flow)
    }

    /// A media packet whose flow the tables told.
    #[inline]
    pub(super) fn forward(&mut self, now: Instant, received: Received, flow: Flow, len: usize) -> Verdict {
        self.latest = Some(Latest { now, via: received.via, from: received.from, flow });
        self.carry(now, flow, len)
    }

    /// Counts a media packet of `len` bytes and lets it go, unless its client sends too much.
    #[inline]
    pub(super) fn carry(&mut self, now: Instant, flow: Flow, len: usize) -> Verdict {
        let (traffic, meter) = match flow.session {
            Here::Half(key) => match self.tables.sessions.get_mut(key.0) {
                Some(session) => (&mut session.traffic, &mut session.meter),
                None => return Verdict::Drop(DropReason::UnknownAddress),
            },
            Here::Through(key) => match self.tables.throughs.get_mut(key.0) {
                Some(through) => (&mut through.traffic, &mut through.meter),
                None => return Verdict::Drop(DropReason::UnknownAddress),
            },
        };
        match flow.to.via {
            Via::Backend(_) => {
                if let Err(exceeded) = meter.take(now, len, &self.allowance, self.turn) {
                    return Verdict::Drop(exceeded.into());
                }
                traffic.up(len);
                self.counters.up(len);
            }
            Via::Listener(_) => {
                traffic.down(len);
                self.counters.down(len);
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
