//! A listener as a STUN server, where the file wants that: strangers are told their address, and nothing else changes. What
//! names a user, is signed, or has anything of an ICE check in it is a check, and treated as one.

use std::time::Instant;

use super::{Destination, DropReason, Forwarder, Verdict, Via};
use crate::session::client_leg::ClientAddr;
use crate::stun::{self, AttributeType, Message};

impl Forwarder {
    /// Has the listeners with these indices answer strangers from now on, and no other.
    pub fn set_plain(&mut self, listeners: &[u16]) {
        self.plain = listeners.to_vec();
    }

    /// A Binding request without USERNAME. Its source pays from the same budget as for checks that fail.
    pub(super) fn nameless(
        &mut self,
        now: Instant,
        at: ClientAddr,
        request: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        if !self.plain.contains(&at.listener) || !stun::is_plain(request) {
            return Verdict::Drop(DropReason::MissingUsername);
        }
        if !self.may_ask(now, at.remote.ip()) {
            return Verdict::Drop(DropReason::SourceOverBudget);
        }
        // The forwarder does not know what is a stream, and what is said there is no longer.
        let allowance = stun::allowance(request.as_bytes().len(), at.remote, false);
        let known = AttributeType::KNOWN_TO_ICE;
        let Some(len) = stun::plain_answer(reply, request, at.remote, known, allowance) else {
            return Verdict::Drop(DropReason::MissingUsername);
        };
        self.counters.strangers_told += 1;
        Verdict::Tell {
            len,
            to: Destination { via: Via::Listener(at.listener), to: at.remote, local: at.local },
        }
    }
}
