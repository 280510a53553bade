//! After something happened to a session in half-proxy mode (a check, a command, a socket, time): what its agents want to send goes
//! into the queue, a first connection or a completed restart is told, the timer is set; and at last its end.
//!
//! Decides when the session is woken next. Never decides over a packet, nor whether a session is connected or over, which its legs
//! know.

use std::sync::Arc;
use std::time::Instant;

use super::tables::{Here, Owned, SessionKey, TimerKey};
use super::{Destination, Forwarder, Transmit, Via};
use crate::session::Progress;
use crate::session::client_leg::Moved;
use crate::session::observe::{Leg, Milestone};
use crate::session::registration::{EndReason, Origin, SessionEvent, SessionEventKind, SessionId};

impl Forwarder {
    pub(super) fn session_timeout(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        if session.armed.is_none_or(|at| at > now) {
            // Outdated: the session has set another timer since.
            return;
        }
        session.armed = None;
        let (mut probes, mut gone) = (Vec::new(), Vec::new());
        let (progress, forgotten) =
            session.handle_timeout(now, |probe| probes.push(probe), |path| gone.push(path));
        for path in gone {
            self.tables.forget_client(path);
        }
        if let Some(generation) = forgotten {
            self.forget_generation(key, &generation);
        }
        for probe in probes {
            self.send_probe(now, key, probe);
        }
        if let Progress::Over(reason) = progress {
            return self.end(now, key, reason);
        }
        if self.tables.sessions.get_mut(key.0).is_some_and(|session| session.fall_back(now)) {
            self.connect_backend(now, key);
        }
        self.settle(now, key);
    }

    /// After anything happened to a session: sends what its agents want, completes restarts, sets the timer.
    pub(super) fn settle(&mut self, now: Instant, key: SessionKey) {
        self.drain_agents(now, key);
        let tick = self.clock.tick(now);
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        if session.backend_path().is_some() && !session.observed.milestones.has(Milestone::BackendNominated) {
            session.observed.note(tick, Milestone::BackendNominated);
        }
        let (progress, replaced, moved) = session.advance();
        if let Some(old) = replaced {
            self.forget_generation(key, &old);
        }
        if let Progress::Connected { generation } = progress {
            self.report_connected(now, key, generation);
        }
        self.report_moved(now, key, moved);
        self.rearm(key);
    }

    fn drain_agents(&mut self, now: Instant, key: SessionKey) {
        let mut sent = Vec::new();
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        for generation in session.generations() {
            while let Some(transmit) = generation.backend.poll_transmit() {
                sent.push(transmit);
            }
        }
        for (socket, to, bytes) in sent {
            self.counters.checks_sent += 1;
            self.note(now, Here::Half(key), Milestone::BackendSent);
            self.show(Here::Half(key), Leg::Backend, self.socket_address(socket, to), to, &bytes);
            let to = Destination { via: Via::Backend(socket), to, local: None };
            self.transmits.push_back(Transmit { to, bytes });
        }
    }

    /// Makes sure that the wheel wakes the session no later than it wants.
    fn rearm(&mut self, key: SessionKey) {
        let Some(session) = self.tables.sessions.get_mut(key.0) else { return };
        let Some(wanted) = session.next_deadline() else { return };
        if session.armed.is_none_or(|armed| wanted < armed) {
            session.armed = Some(self.timers.set(wanted, TimerKey::Here(Here::Half(key))));
        }
    }

    fn report_connected(&mut self, now: Instant, key: SessionKey, generation: u32) {
        let Some(session) = self.tables.sessions.get(key.0) else { return };
        let (Some(client), Some(backend)) = (session.client.egress(), session.backend_path()) else { return };
        let took = now.saturating_duration_since(session.registered);
        let listener = self.listener_address(Destination {
            via: Via::Listener(client.listener),
            to: client.remote,
            local: client.local,
        });
        self.note(now, Here::Half(key), Milestone::Connected);
        let kind = SessionEventKind::Connected {
            client: (client.remote, listener),
            backend: (backend.socket.addr, backend.remote),
            took,
            generation,
        };
        self.report(key, kind);
    }

    pub(super) fn report_moved(&mut self, now: Instant, key: SessionKey, moved: Option<Moved>) {
        let Some(Moved { from, to }) = moved else { return };
        if self.tables.sessions.get(key.0).is_some_and(|session| session.connected) {
            self.note(now, Here::Half(key), Milestone::Roamed);
            self.report(key, SessionEventKind::Migrated { from, to });
        }
    }

    fn report(&mut self, key: SessionKey, kind: SessionEventKind) {
        let Some(session) = self.tables.sessions.get(key.0) else { return };
        self.push_event(session.id, session.origin.clone(), kind);
    }

    pub(super) fn push_event(&mut self, session: SessionId, origin: Arc<Origin>, kind: SessionEventKind) {
        self.events.push_back(SessionEvent { session, origin, kind });
    }

    pub(super) fn end(&mut self, now: Instant, key: SessionKey, reason: EndReason) {
        let story = self.last_story(now, Here::Half(key), reason);
        let Some(mut session) = self.tables.remove_session(key) else { return };
        for generation in session.generations() {
            self.release_sockets(generation);
        }
        let (traffic, since) = (session.traffic, session.registered);
        let ended = Owned { id: session.id, origin: session.origin, traffic, since, story };
        self.report_end(now, ended, reason);
    }

    pub(super) fn report_end(&mut self, now: Instant, ended: Owned, reason: EndReason) {
        self.counters.sessions_ended += 1;
        let lasted = now.saturating_duration_since(ended.since);
        let kind = SessionEventKind::Ended { reason, traffic: ended.traffic, lasted, story: ended.story };
        self.push_event(ended.id, ended.origin, kind);
    }
}
