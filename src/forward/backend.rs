//! Packets from backends.

use std::time::Instant;

use super::flow::{Flow, Packet};
use super::tables::{AddrKey, BackendEntry, Here, SessionKey};
use super::{Destination, DropReason, Forwarder, Received, Verdict, Via};
use crate::session::backend_leg::{LocalSocket, Taken};
use crate::session::observe::{Leg, Milestone};
use crate::stun::{Class, Fingerprint, Message};

impl Forwarder {
    /// DTLS, SRTP or SRTCP. Hot path, like [`Forwarder::client_media`].
    #[inline]
    pub(super) fn backend_media(&mut self, socket: u16, packet: Packet<'_>) -> Verdict {
        let from = packet.received.from;
        let key = match self.tables.by_backend.get(&AddrKey::new(socket, from)) {
            Some(BackendEntry::Session(key)) => *key,
            Some(BackendEntry::Flow { session, slot }) => {
                let (session, slot) = (*session, *slot);
                return self.through_backend_media(session, slot, packet);
            }
            None => return Verdict::Drop(DropReason::UnknownBackend),
        };
        let Some(session) = self.tables.sessions.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownBackend);
        };
        if !session.accepts_backend(socket, from) {
            return Verdict::Drop(DropReason::UnprovenBackend);
        }
        let Some(client) = session.client.egress() else {
            let tick = self.clock.tick(packet.now);
            self.counters.heard_down(session.observed.down(
                tick,
                packet.kind,
                packet.bytes,
                self.follows_streams,
            ));
            session.observed.note(tick, Milestone::EarlyDown);
            return Verdict::Drop(DropReason::ClientNotReady);
        };
        if session.observed.is_tapped() {
            self.show_down(Here::Half(key), socket, packet.received, client, packet.bytes);
        }
        let to = Destination { via: Via::Listener(client.listener), to: client.remote, local: client.local };
        self.forward(packet, Flow { session: Here::Half(key), to })
    }

    /// A check of a backend, or its answer: both are the agent's business.
    pub(super) fn backend_stun(
        &mut self,
        now: Instant,
        socket: u16,
        received: Received,
        bytes: &[u8],
    ) -> Verdict {
        let Ok(message) = Message::parse(bytes) else {
            return Verdict::Drop(DropReason::MalformedStun);
        };
        if message.check_fingerprint() == Fingerprint::Bad {
            return Verdict::Drop(DropReason::BadFingerprint);
        }
        if let Some(BackendEntry::Flow { session, slot }) =
            self.tables.by_backend.get(&AddrKey::new(socket, received.from)).copied()
        {
            return self.through_backend_stun(now, session, slot, &message);
        }
        if message.is_binding(Class::Indication) {
            return Verdict::Consumed;
        }
        let Some(key) = self.session_of_backend(socket, &received, &message) else {
            return Verdict::Drop(DropReason::UnknownBackend);
        };
        let Some(Some(local)) =
            self.backend_sockets.get(usize::from(socket)).map(|s| s.as_ref().map(|s| s.local))
        else {
            return Verdict::Drop(DropReason::UnknownBackend);
        };
        self.show(Here::Half(key), Leg::Backend, received.from, local.addr, bytes);
        let taken = self.offer_to_agents(now, key, local, &received, &message);
        if taken == Taken::No {
            self.note(now, Here::Half(key), Milestone::BackendRejected);
            return Verdict::Drop(DropReason::BackendStunRejected);
        }
        self.note(now, Here::Half(key), Milestone::BackendStun);
        if taken == Taken::News {
            self.learn_backends(key);
            self.settle(now, key);
        }
        Verdict::Consumed
    }

    /// By address; a check from an unknown address (peer-reflexive, RFC 8445 §7.3.1.3) by its USERNAME.
    fn session_of_backend(
        &self,
        socket: u16,
        received: &Received,
        message: &Message<'_>,
    ) -> Option<SessionKey> {
        let known = match self.tables.by_backend.get(&AddrKey::new(socket, received.from)) {
            Some(BackendEntry::Session(key)) => Some(*key),
            _ => None,
        };
        if !message.is_binding(Class::Request) {
            return known;
        }
        let by_username = || self.tables.sessions_by_backend_username.get(message.username_bytes()?).copied();
        by_username().or(known)
    }

    fn offer_to_agents(
        &mut self,
        now: Instant,
        key: SessionKey,
        local: LocalSocket,
        received: &Received,
        message: &Message<'_>,
    ) -> Taken {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return Taken::No };
        session
            .generations()
            .map(|generation| generation.backend.handle_stun(now, local, received.from, message))
            .find(|taken| *taken != Taken::No)
            .unwrap_or(Taken::No)
    }

    /// Puts every backend address of the session into the address table, unless another session has it.
    pub(super) fn learn_backends(&mut self, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        for generation in session.generations() {
            for (socket, addr) in generation.backend.remotes() {
                let address = AddrKey::new(socket, addr);
                self.tables.by_backend.get_or_insert_with(address, || BackendEntry::Session(key));
            }
        }
    }
}
