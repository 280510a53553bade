//! Packets from clients.

use std::time::Instant;

use super::flow::{Flow, Packet};
use super::tables::{ClientEntry, Here, SessionKey};
use super::{Destination, DropReason, Forwarder, Received, Transmit, Verdict, Via};
use crate::session::client_leg::{ClientAddr, DueProbe};
use crate::session::observe::{Leg, Milestone};
use crate::session::registration::{Registration, SessionEventKind};
use crate::stun::{
    self, AttributeType, BindingRequest, Class, ErrorCode, Fingerprint, IceRole, IntegrityError, Key, Message,
};

/// PRIORITY of the edge's own checks: a peer-reflexive candidate of the only component (RFC 8445 §5.1.2.1).
const PROBE_PRIORITY: u32 = (110 << 24) | (65535 << 8) | 255;

impl Forwarder {
    /// DTLS, SRTP or SRTCP. Hot path.
    #[inline]
    pub(super) fn client_media(&mut self, listener: u16, packet: Packet<'_>) -> Verdict {
        let now = packet.now;
        let (session, slot) = match self.tables.client(listener, packet.received.from) {
            Some(ClientEntry::Here { session, slot }) => (session, slot),
            Some(ClientEntry::Through { session, slot }) => {
                return self.through_media(session, slot, packet);
            }
            Some(ClientEntry::Elsewhere { worker }) => return self.hand_over(worker),
            None => return Verdict::Drop(DropReason::UnknownAddress),
        };
        let Some(state) = self.tables.sessions.get_mut(session.0) else {
            return Verdict::Drop(DropReason::UnknownAddress);
        };
        let tick = self.clock.tick(now);
        let Ok(moved) = state.client.media(now, slot) else {
            state.observed.note(tick, Milestone::UnprovenUp);
            return Verdict::Drop(DropReason::UnprovenAddress);
        };
        let Some(path) = state.backend_path() else {
            self.counters.heard_up(state.observed.up(tick, packet.kind, packet.bytes, self.follows_streams));
            state.observed.note(tick, Milestone::EarlyUp);
            return Verdict::Drop(DropReason::BackendNotReady);
        };
        if state.observed.is_tapped() {
            self.show_up(Here::Half(session), listener, packet.received, path, packet.bytes);
        }
        if moved.is_some() {
            self.report_moved(now, session, moved);
        }
        let to = Destination { via: Via::Backend(path.socket.index), to: path.remote, local: None };
        self.forward(packet, Flow { session: Here::Half(session), to })
    }

    /// A check of a client, or its answer to a check of the edge.
    pub(super) fn client_stun(
        &mut self,
        now: Instant,
        listener: u16,
        received: Received,
        bytes: &[u8],
        reply: &mut [u8],
    ) -> Verdict {
        let Ok(message) = Message::parse(bytes) else {
            return Verdict::Drop(DropReason::MalformedStun);
        };
        if message.check_fingerprint() == Fingerprint::Bad {
            return Verdict::Drop(DropReason::BadFingerprint);
        }
        let at = ClientAddr { listener, remote: received.from, local: received.local };
        if message.is_binding(Class::Request) {
            self.client_check(now, at, &message, reply)
        } else if message.is_binding(Class::Success) || message.is_binding(Class::Error) {
            self.client_answer(now, at, &message)
        } else {
            Verdict::Drop(DropReason::UnexpectedStun)
        }
    }

    /// Nothing is created, moved or answered before the check is proven to come from who holds the session's password.
    fn client_check(
        &mut self,
        now: Instant,
        at: ClientAddr,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        let Some(username) = message.username_bytes() else {
            return self.nameless(now, at, message, reply);
        };
        let Some(registration) = self.tables.registrations_by_username.get(username) else {
            return Verdict::Drop(self.unknown_username(now, at.remote.ip()));
        };
        let registration = registration.clone();
        if !self.may_be_valid(now, at, registration.session) {
            return Verdict::Drop(DropReason::CheckOverBudget);
        }
        let here = self.tables.known.get(&registration.session).and_then(|known| known.here);
        if let Err(error) = self.verify_check(here, &registration, message) {
            self.check_failed(now, at.remote.ip(), registration.session);
            self.note_forged(now, &registration);
            return Verdict::Drop(error.into());
        }
        let session = match here {
            Some(here) => here,
            None => match self.claim(now, &registration) {
                Ok(here) => {
                    let seen = SessionEventKind::ClientSeen { client: at.remote };
                    self.push_event(registration.session, registration.origin.clone(), seen);
                    here
                }
                Err(worker) => {
                    self.tables.learn_elsewhere(registration.session, at.listener, at.remote, worker);
                    return self.hand_over(worker);
                }
            },
        };
        match session {
            Here::Half(key) => self.authentic_check(now, key, at, &registration, message, reply),
            Here::Through(key) => self.through_check(now, key, at, message),
        }
    }

    /// With the key that the session keeps ready, or with the registration's where nobody has claimed it yet.
    fn verify_check(
        &mut self,
        here: Option<Here>,
        registration: &Registration,
        message: &Message<'_>,
    ) -> Result<(), IntegrityError> {
        let number = registration.generation;
        let ready = match here {
            Some(Here::Half(key)) => self
                .tables
                .sessions
                .get_mut(key.0)
                .and_then(|session| session.generation(number))
                .map(|generation| &generation.edge_key),
            Some(Here::Through(key)) => self
                .tables
                .throughs
                .get(key.0)
                .and_then(|through| through.keys_of(number))
                .map(|keys| &keys.backend),
            None => None,
        };
        match ready {
            Some(key) => message.verify(key),
            None => message.verify(&Key::short_term(&registration.edge.pwd)),
        }
    }

    fn authentic_check(
        &mut self,
        now: Instant,
        key: SessionKey,
        at: ClientAddr,
        registration: &Registration,
        message: &Message<'_>,
        reply: &mut [u8],
    ) -> Verdict {
        let to = Destination { via: Via::Listener(at.listener), to: at.remote, local: at.local };
        let id = message.transaction_id();
        let Some(session) = self.tables.sessions.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownUsername);
        };
        let tick = self.clock.tick(now);
        let number = registration.generation;
        let Some(signing) = session.generation(number).map(|generation| generation.edge_key.clone()) else {
            return Verdict::Drop(DropReason::UnknownUsername);
        };
        let unknown = message.unknown_required(AttributeType::KNOWN_TO_ICE);
        let refusal = if unknown.clone().next().is_some() {
            Some(ErrorCode::UNKNOWN_ATTRIBUTE)
        } else if message.ice_controlled().is_some() {
            // The edge is lite, so the client controls (RFC 8445 §6.1.1); it switches when told (§7.3.1.1).
            Some(ErrorCode::ROLE_CONFLICT)
        } else {
            None
        };
        if let Some(code) = refusal {
            let Ok(len) = stun::binding_error(reply, id, code, unknown, &signing) else {
                return Verdict::Drop(DropReason::MalformedStun);
            };
            self.counters.checks_refused += 1;
            session.observed.note(tick, Milestone::ClientCheckRefused);
            return Verdict::Reply { len, to };
        }
        let Some(checked) =
            session.client.check(now, at, number, id, message.use_candidate(), &mut self.random)
        else {
            session.observed.note(tick, Milestone::Replayed);
            return Verdict::Drop(DropReason::Replayed);
        };
        session.observed.note(tick, Milestone::ClientCheck);
        if message.use_candidate() {
            session.observed.note(tick, Milestone::ClientNominated);
        }
        session.client_checked(number);
        if let Some(evicted) = checked.evicted {
            self.tables.forget_client(evicted);
        }
        if checked.new {
            self.tables.learn_client(at, key, checked.slot);
        }
        if checked.probe {
            self.send_due_probes(now, key);
        }
        self.report_moved(now, key, checked.moved);
        self.settle(now, key);
        let mapped = std::net::SocketAddr::new(at.remote.ip().to_canonical(), at.remote.port());
        let Ok(len) = stun::binding_success(reply, id, mapped, &signing) else {
            return Verdict::Drop(DropReason::MalformedStun);
        };
        self.counters.checks_answered += 1;
        let (ours, here) = (self.listener_address(to), Here::Half(key));
        self.show(here, Leg::Client, at.remote, ours, message.as_bytes());
        self.show(here, Leg::Client, ours, at.remote, &reply[..len]);
        Verdict::Reply { len, to }
    }

    /// The answer to a check of the edge proves the path it comes from.
    fn client_answer(&mut self, now: Instant, at: ClientAddr, message: &Message<'_>) -> Verdict {
        let (key, slot) = match self.tables.client(at.listener, at.remote) {
            Some(ClientEntry::Here { session, slot }) => (session, slot),
            Some(ClientEntry::Through { session, slot }) => {
                return self.through_answer(now, session, slot, message);
            }
            Some(ClientEntry::Elsewhere { worker }) => return self.hand_over(worker),
            None => return Verdict::Drop(DropReason::UnknownAddress),
        };
        let Some(session) = self.tables.sessions.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownAddress);
        };
        if !message.is_binding(Class::Success) {
            return Verdict::Drop(DropReason::UnexpectedStun);
        }
        let Some(number) = session.client.generation_of(slot) else {
            return Verdict::Drop(DropReason::UnknownAddress);
        };
        let Some(generation) = session.generation(number) else {
            return Verdict::Drop(DropReason::UnexpectedStun);
        };
        if let Err(error) = message.verify(&generation.client_key()) {
            return Verdict::Drop(error.into());
        }
        let Some(moved) = session.client.answered(slot, message.transaction_id()) else {
            return Verdict::Drop(DropReason::UnexpectedStun);
        };
        self.note(now, Here::Half(key), Milestone::ProbeAnswered);
        let ours = self.listener_address(Destination {
            via: Via::Listener(at.listener),
            to: at.remote,
            local: at.local,
        });
        self.show(Here::Half(key), Leg::Client, at.remote, ours, message.as_bytes());
        self.report_moved(now, key, moved);
        self.settle(now, key);
        Verdict::Consumed
    }

    fn send_due_probes(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        let mut due = Vec::new();
        session.client.due_probes(now, |probe| due.push(probe));
        for probe in due {
            self.send_probe(now, key, probe);
        }
    }

    /// The edge's own check towards a client (xrtc.md §4.1): USERNAME `uC:uE`, key pC.
    pub(super) fn send_probe(&mut self, now: Instant, key: SessionKey, probe: DueProbe) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        let Some(generation) = session.generation(probe.generation) else { return };
        let registration = &generation.registration;
        let request = BindingRequest {
            receiver_ufrag: &registration.client.ufrag,
            sender_ufrag: &registration.edge.ufrag,
            priority: PROBE_PRIORITY,
            role: IceRole::Controlled(self.tie_breaker),
            use_candidate: false,
        };
        // Two ufrags of at most 256 bytes and 100 bytes of everything else.
        let mut bytes = vec![0; 768];
        let Ok(len) =
            stun::binding_request(&mut bytes, probe.transaction, &request, &generation.client_key())
        else {
            return;
        };
        bytes.truncate(len);
        self.counters.checks_sent += 1;
        let to =
            Destination { via: Via::Listener(probe.at.listener), to: probe.at.remote, local: probe.at.local };
        self.note(now, Here::Half(key), Milestone::Probe);
        self.show(Here::Half(key), Leg::Client, self.listener_address(to), to.to, &bytes);
        self.transmits.push_back(Transmit { to, bytes });
    }

    fn hand_over(&mut self, worker: u32) -> Verdict {
        if worker == self.worker {
            return Verdict::Drop(DropReason::UnknownAddress);
        }
        self.counters.handed_over += 1;
        Verdict::HandOver { worker }
    }
}
