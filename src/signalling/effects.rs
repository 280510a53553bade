//! \[shell\] Carries out what a protocol wants: messages into outboxes, closes, words to the media server, notices. Nothing in here
//! waits, and who is gone because of it is remembered for the protocol to hear of.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::info;

use super::counters::Direction;
use super::hub::Hub;
use super::link::Link;
use super::outbox::{End, Outbox};
use super::protocol::{Departure, Effect, LinkKey, PeerKey, Question};
use super::settings::Settings;
use crate::ws_frame::Message;

/// Carries out the effects of one call.
pub(super) struct Work<'a> {
    pub(super) settings: &'a Settings,
    pub(super) hub: &'a Hub,
    pub(super) outboxes: &'a mut HashMap<PeerKey, Arc<Outbox>>,
    pub(super) links: &'a mut HashMap<LinkKey, Link>,
    /// Whom the call was about.
    pub(super) from: Option<PeerKey>,
    /// Closed, and the protocol does not know yet.
    pub(super) gone: Vec<(PeerKey, Departure)>,
    pub(super) question: Option<Question>,
}

impl Work<'_> {
    pub(super) fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Send(to, text) => self.send(to, Message::Text(text)),
                Effect::SendBinary(to, data) => self.send(to, Message::Binary(data)),
                Effect::Close(peer, code, reason) => {
                    if let Some(outbox) = self.outboxes.remove(&peer) {
                        outbox.close(End { code, reason });
                        self.gone.push((peer, Departure::Closed));
                    }
                }
                Effect::CutOff(peer, code, reason) => {
                    if let Some(outbox) = self.outboxes.remove(&peer) {
                        let unsent = outbox.unsent();
                        outbox.cut(End { code, reason });
                        self.gone.push((peer, Departure::Lost(unsent)));
                    }
                }
                Effect::Deadline(deadline) => {
                    if let Some(outbox) = self.from.and_then(|from| self.outboxes.get(&from)) {
                        outbox.set_deadline(deadline);
                    }
                }
                Effect::Ask(question) => self.question = Some(question),
                Effect::Tell(notice) => self.settings.told.tell(notice),
                Effect::Dial(link, room) => self.dial(link, &room),
                Effect::ToServer(link, text) => {
                    // A server that takes nothing is given up; the protocol hears of it when the link has ended.
                    if self.links.get(&link).is_some_and(|open| !open.say(text)) {
                        self.links.remove(&link);
                    }
                }
                Effect::HangUp(link) => drop(self.links.remove(&link)),
            }
        }
    }

    fn send(&mut self, to: PeerKey, message: Message) {
        let Some(outbox) = self.outboxes.get(&to) else { return };
        if outbox.push(message, self.settings.config.limits.queue).is_ok() {
            return self.hub.counters.message(Direction::Out);
        }
        info!(route = %self.hub.place.1, peer = to.0, "slow consumer is closed");
        outbox.cut(slow());
        self.outboxes.remove(&to);
        self.gone.push((to, Departure::Closed));
    }

    fn dial(&mut self, key: LinkKey, room: &str) {
        self.links.insert(key, self.hub.dial(key, room));
    }
}

/// The last word to one who takes nothing.
pub(super) fn slow() -> End {
    End { code: 1013, reason: "too slow".into() }
}
