//! Packets and events of sessions in transparent mode: verified, then passed on as they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::flow::{Flow, Packet};
use super::tables::{AddrKey, BackendEntry, ClientEntry, Here, Owned, ThroughKey, TimerKey};
use super::{Destination, DropReason, Forwarder, Purpose, SocketRequest, Transmit, Verdict, Via};
use crate::session::backend_leg::{BackendPath, LocalSocket};
use crate::session::client_leg::ClientAddr;
use crate::session::observe::{Direction, Milestone};
use crate::session::registration::{CandidateTransport, EndReason, Registration, SessionEventKind};
use crate::session::through::{Flow as ClientFlow, Keys, Through, Wanted};
use crate::stun::{Class, Message};

fn toward_backend(path: BackendPath) -> Destination {
    Destination { via: Via::Backend(path.socket.index), to: path.remote, local: None }
}

fn toward_client(at: ClientAddr) -> Destination {
    Destination { via: Via::Listener(at.listener), to: at.remote, local: at.local }
}

impl Forwarder {
    /// DTLS, SRTP or SRTCP of a client. Hot path: one look-up, no allocation.
    #[inline]
    pub(super) fn through_media(&mut self, key: ThroughKey, slot: u8, packet: Packet<'_>) -> Verdict {
        let Some(through) = self.tables.throughs.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownAddress);
        };
        through.heard(packet.now, slot);
        let Some(flow) = through.flow(slot) else { return Verdict::Drop(DropReason::UnknownAddress) };
        let tick = self.clock.tick(packet.now);
        if !flow.may_carry() {
            through.observed.note(tick, Milestone::UnprovenUp);
            return Verdict::Drop(DropReason::UnprovenAddress);
        }
        let (at, path) = (flow.at, flow.path);
        let Some(path) = path else {
            self.counters.heard_up(through.observed.up(
                tick,
                packet.kind,
                packet.bytes,
                self.follows_streams,
            ));
            through.observed.note(tick, Milestone::EarlyUp);
            return Verdict::Drop(DropReason::BackendNotReady);
        };
        if through.observed.is_tapped() {
            self.show_both(Here::Through(key), at, path, Direction::Up, packet.bytes);
        }
        self.forward(packet, Flow { session: Here::Through(key), to: toward_backend(path) })
    }

    /// The same of a backend.
    #[inline]
    pub(super) fn through_backend_media(&mut self, key: ThroughKey, slot: u8, packet: Packet<'_>) -> Verdict {
        let Some(through) = self.tables.throughs.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownBackend);
        };
        let Some(flow) = through.flow(slot) else { return Verdict::Drop(DropReason::UnknownBackend) };
        let (at, path, may_carry) = (flow.at, flow.path, flow.may_carry());
        if !may_carry {
            let tick = self.clock.tick(packet.now);
            self.counters.heard_down(through.observed.down(
                tick,
                packet.kind,
                packet.bytes,
                self.follows_streams,
            ));
            through.observed.note(tick, Milestone::EarlyDown);
            return Verdict::Drop(DropReason::ClientNotReady);
        }
        if let Some(path) = path.filter(|_| through.observed.is_tapped()) {
            self.show_both(Here::Through(key), at, path, Direction::Down, packet.bytes);
        }
        self.forward(packet, Flow { session: Here::Through(key), to: toward_client(at) })
    }

    /// A check of a client, verified by the caller: it opens a flow, or passes by the one it has.
    pub(super) fn through_check(
        &mut self,
        now: Instant,
        key: ThroughKey,
        at: ClientAddr,
        message: &Message<'_>,
    ) -> Verdict {
        let Some(through) = self.tables.throughs.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownUsername);
        };
        let tick = self.clock.tick(now);
        let Some(entered) = through.enter(now, at, message.transaction_id()) else {
            through.observed.note(tick, Milestone::Replayed);
            return Verdict::Drop(DropReason::Replayed);
        };
        through.observed.note(tick, Milestone::ClientCheck);
        if message.use_candidate() {
            through.observed.note(tick, Milestone::ClientNominated);
        }
        if let Some((evicted, path)) = entered.evicted {
            self.tables.forget_client(evicted);
            self.release_path(path);
        }
        let slot = entered.slot;
        let lost = self.tables.throughs.get(key.0).is_some_and(|through| through.may_open(now, slot));
        if entered.new {
            self.tables
                .clients_by_addr
                .insert(AddrKey::new(at.listener, at.remote), ClientEntry::Through { session: key, slot });
        }
        if entered.new || lost {
            self.open_path(now, key, slot);
        }
        self.rearm_through(key);
        let Some(flow) = self.tables.throughs.get_mut(key.0).and_then(|through| through.flow_mut(slot))
        else {
            return Verdict::Drop(DropReason::UnknownUsername);
        };
        flow.hold(message.as_bytes());
        match flow.path {
            Some(path) => {
                self.note(now, Here::Through(key), Milestone::BackendSent);
                self.show_both(Here::Through(key), at, path, Direction::Up, message.as_bytes());
                Verdict::Forward(toward_backend(path))
            }
            None => Verdict::Consumed,
        }
    }

    /// STUN of a client that is no check: its answers to checks of the backend prove its address.
    pub(super) fn through_answer(
        &mut self,
        now: Instant,
        key: ThroughKey,
        slot: u8,
        message: &Message<'_>,
    ) -> Verdict {
        let Some(through) = self.tables.throughs.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownAddress);
        };
        if let Err(reason) = verify_with_any(through, message, |keys| &keys.client) {
            return Verdict::Drop(reason);
        }
        through.heard(now, slot);
        if message.is_binding(Class::Success) {
            through.prove(slot);
            through.observed.note(self.clock.tick(now), Milestone::ProbeAnswered);
        }
        match through.flow(slot).and_then(|flow| Some((flow.at, flow.path?))) {
            Some((at, path)) => {
                self.show_both(Here::Through(key), at, path, Direction::Up, message.as_bytes());
                Verdict::Forward(toward_backend(path))
            }
            None => Verdict::Drop(DropReason::BackendNotReady),
        }
    }

    /// STUN of a backend: its checks are signed with the client's password, its answers with its own.
    pub(super) fn through_backend_stun(
        &mut self,
        now: Instant,
        key: ThroughKey,
        slot: u8,
        message: &Message<'_>,
    ) -> Verdict {
        let Some(through) = self.tables.throughs.get_mut(key.0) else {
            return Verdict::Drop(DropReason::UnknownBackend);
        };
        let request = message.is_binding(Class::Request);
        let authentic =
            verify_with_any(through, message, |keys| if request { &keys.client } else { &keys.backend });
        let generation = match authentic {
            Ok(generation) => generation,
            Err(reason) => {
                through.observed.note(self.clock.tick(now), Milestone::BackendRejected);
                return Verdict::Drop(reason);
            }
        };
        through.observed.note(self.clock.tick(now), Milestone::BackendStun);
        let first = message.is_binding(Class::Success) && through.answered(slot, generation);
        let Some(flow) = through.flow(slot) else { return Verdict::Drop(DropReason::UnknownBackend) };
        let (at, path) = (flow.at, flow.path);
        let to = toward_client(at);
        if let Some(path) = path {
            self.show_both(Here::Through(key), at, path, Direction::Down, message.as_bytes());
        }
        if let (true, Some(path)) = (first, path) {
            self.report_through_connected(now, key, to, path, generation);
        }
        Verdict::Forward(to)
    }

    /// Claims a session for transparent mode.
    pub(super) fn claim_through(
        &mut self,
        now: Instant,
        since: Instant,
        registration: &Arc<Registration>,
        newer: Vec<Arc<Registration>>,
    ) -> ThroughKey {
        let mut through = Through::new(now, since, self.clock.at(since), registration.clone());
        for registration in newer {
            through.restart(registration);
        }
        ThroughKey(self.tables.throughs.insert(through))
    }

    pub(super) fn through_restart(&mut self, now: Instant, key: ThroughKey, registration: Arc<Registration>) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        through.observed.note(self.clock.tick(now), Milestone::Restarted);
        if let Some(old) = through.restart(registration) {
            self.tables.forget_registration(&old.registration);
        }
    }

    pub(super) fn through_candidates(
        &mut self,
        now: Instant,
        key: ThroughKey,
        candidates: &[crate::session::registration::BackendCandidate],
    ) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        let prefer_tcp = through.registration().is_some_and(|registration| registration.prefer_tcp);
        through.add_candidates(candidates, prefer_tcp);
        let waiting: Vec<u8> =
            through.flows().filter(|(_, flow)| flow.path.is_none()).map(|(slot, _)| slot).collect();
        for slot in waiting {
            self.open_path(now, key, slot);
        }
        self.rearm_through(key);
    }

    pub(super) fn through_timeout(&mut self, now: Instant, key: ThroughKey) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        if through.armed.is_none_or(|at| at > now) {
            return;
        }
        through.armed = None;
        let mut gone = Vec::new();
        through.expire(now, |flow| gone.push(flow));
        let (over, silent) = (through.over(now), through.silent(now));
        for flow in gone {
            self.forget_flow(&flow);
        }
        if let Some(reason) = over {
            return self.end_through(now, key, reason);
        }
        for slot in silent {
            self.try_next(now, key, slot);
        }
        self.rearm_through(key);
    }

    pub(super) fn through_client_gone(
        &mut self,
        now: Instant,
        key: ThroughKey,
        listener: u16,
        remote: SocketAddr,
    ) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        let Some(flow) = through.leave(listener, remote) else { return };
        let was_last = through.flows().next().is_none();
        self.forget_flow(&flow);
        if was_last {
            self.end_through(now, key, EndReason::ClientClosed);
        }
    }

    /// The socket that a flow asked for is open.
    pub(super) fn through_opened(
        &mut self,
        now: Instant,
        key: ThroughKey,
        wanted: Wanted,
        socket: LocalSocket,
    ) {
        let path = BackendPath { socket, remote: wanted.toward };
        let Some(held) =
            self.tables.throughs.get_mut(key.0).and_then(|through| through.opened(now, wanted, path))
        else {
            return;
        };
        self.use_socket(socket.index);
        let entry = BackendEntry::Flow { session: key, slot: wanted.slot };
        self.tables.by_backend.insert(AddrKey::new(socket.index, wanted.toward), entry);
        if !held.is_empty() {
            self.note(now, Here::Through(key), Milestone::BackendSent);
            self.transmits.push_back(Transmit { to: toward_backend(path), bytes: held });
        }
        self.rearm_through(key);
    }

    /// A candidate refused: the next one at once, unless this was the last in the list; then the timer tries again.
    pub(super) fn skip_candidate(&mut self, now: Instant, key: ThroughKey, slot: u8) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        let another = !through.at_last_candidate(slot);
        through.next_candidate(now, slot);
        if another {
            self.open_path(now, key, slot);
        }
        self.rearm_through(key);
    }

    /// The connection to the backend closed: the next check of the client looks for a way again.
    pub(super) fn lose_path(&mut self, now: Instant, key: ThroughKey, slot: u8) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        through.next_candidate(now, slot);
        self.rearm_through(key);
    }

    /// The candidate stayed silent.
    fn try_next(&mut self, now: Instant, key: ThroughKey, slot: u8) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        let path = through.next_candidate(now, slot);
        self.release_path(path);
        self.open_path(now, key, slot);
        self.rearm_through(key);
    }

    /// Finds a socket for a flow's candidate: a UDP socket on which the address is free, or a new one.
    fn open_path(&mut self, now: Instant, key: ThroughKey, slot: u8) {
        let Some(wanted) = self.tables.throughs.get(key.0).and_then(|through| through.wants(slot)) else {
            return;
        };
        let free = (wanted.transport == CandidateTransport::Udp)
            .then(|| self.free_socket(wanted.toward, None))
            .flatten();
        match free {
            Some(socket) => self.through_opened(now, key, wanted, socket),
            None => self.socket_requests.push_back(SocketRequest {
                purpose: Purpose::Flow(key, wanted),
                toward: wanted.toward,
                transport: wanted.transport,
            }),
        }
    }

    fn forget_flow(&mut self, flow: &ClientFlow) {
        self.tables.forget_client(flow.at);
        self.release_path(flow.path);
    }

    fn release_path(&mut self, path: Option<BackendPath>) {
        let Some(path) = path else { return };
        self.tables.by_backend.remove(&AddrKey::new(path.socket.index, path.remote));
        self.release_socket(path.socket.index);
    }

    pub(super) fn end_through(&mut self, now: Instant, key: ThroughKey, reason: EndReason) {
        let story = self.last_story(now, Here::Through(key), reason);
        let Some(through) = self.tables.throughs.remove(key.0) else { return };
        for (_, flow) in through.flows() {
            self.forget_flow(flow);
        }
        self.tables.remove_known(through.id);
        let (id, origin) = (through.id, through.origin.clone());
        self.report_end(
            now,
            Owned { id, origin, traffic: through.traffic, since: through.registered, story },
            reason,
        );
    }

    fn rearm_through(&mut self, key: ThroughKey) {
        let Some(through) = self.tables.throughs.get_mut(key.0) else { return };
        let Some(wanted) = through.next_deadline() else { return };
        if through.armed.is_none_or(|armed| wanted < armed) {
            through.armed = Some(self.timers.set(wanted, TimerKey::Here(Here::Through(key))));
        }
    }

    fn report_through_connected(
        &mut self,
        now: Instant,
        key: ThroughKey,
        client: Destination,
        path: BackendPath,
        generation: u32,
    ) {
        let listener = self.listener_address(client);
        self.note(now, Here::Through(key), Milestone::BackendNominated);
        self.note(now, Here::Through(key), Milestone::Connected);
        let Some(through) = self.tables.throughs.get(key.0) else { return };
        let kind = SessionEventKind::Connected {
            client: (client.to, listener),
            backend: (path.socket.addr, path.remote),
            took: now.saturating_duration_since(through.registered),
            generation,
        };
        self.push_event(through.id, through.origin.clone(), kind);
    }
}

/// Old keys stay good for packets that were on their way during a restart. Returns the generation whose key fits.
fn verify_with_any<'t>(
    through: &'t Through,
    message: &Message<'_>,
    key: impl Fn(&'t Keys) -> &'t crate::stun::Key,
) -> Result<u32, DropReason> {
    let mut result = Err(DropReason::UnknownUsername);
    for keys in through.keys() {
        result = message.verify(key(keys)).map(|()| keys.registration.generation).map_err(DropReason::from);
        if result.is_ok() {
            break;
        }
    }
    result
}
