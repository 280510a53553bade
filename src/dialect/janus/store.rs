//! Which exchanges are kept, by Janus session and handle, and for how long (janus.md §2.5).
//!
//! An exchange lives as long as its handle; a Janus session that nobody mentions for a while goes with everything that is
//! not in use. It never reads a message. Ids are chosen by whoever sends one, so every map hashes with secret keys.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::dialect::ConnectionId;
use crate::dialect::exchange::Exchange;
use crate::session::registration::{Command, EndReason, SessionId};

use super::message::Id;

/// How long a half-known exchange is kept after its Janus session was last mentioned. A client that is alive polls or
/// sends a keepalive every 30 s, and Janus forgets a silent session after 60 s.
pub(super) const IDLE: Duration = Duration::from_secs(120);

/// Most handles of one route. A handle costs about 2 KiB; a route that serves the default of 100 000 sessions needs half.
pub(super) const MAX_HANDLES: usize = 200_000;

/// Most handles of one Janus session. A conference client has a handle per participant; this leaves room for a server that
/// speaks for all its users in one Janus session, and keeps one client from filling the table.
pub(super) const MAX_HANDLES_PER_SESSION: usize = 4096;

/// All Janus sessions of a route.
#[derive(Debug, Default)]
pub(super) struct Store {
    sessions: HashMap<Id, JanusSession>,
    /// Janus sessions that end with a WebSocket.
    by_connection: HashMap<ConnectionId, HashSet<Id>>,
    /// Where the exchange of a registered session is.
    by_registration: HashMap<SessionId, (Id, Id)>,
    handles: usize,
}

#[derive(Debug)]
struct JanusSession {
    seen: Instant,
    /// Janus has spoken of it, so it exists.
    confirmed: bool,
    connection: Option<ConnectionId>,
    /// Boxed: a map keeps room for four at least, and mostly there is one.
    exchanges: HashMap<Id, Box<Exchange>>,
}

impl Store {
    /// The exchange of a handle, made where there is none; `None` where there is no room for it.
    pub(super) fn exchange(&mut self, now: Instant, session: Id, handle: Id) -> Option<&mut Exchange> {
        let known =
            self.sessions.get(&session).map(|it| (it.exchanges.contains_key(&handle), it.exchanges.len()));
        match known {
            Some((true, _)) => {}
            Some((false, MAX_HANDLES_PER_SESSION..)) => return None,
            _ if !self.has_room(session) => return None,
            _ => self.handles += 1,
        }
        let janus_session = self.sessions.entry(session).or_insert_with(|| JanusSession::new(now));
        janus_session.seen = now;
        Some(janus_session.exchanges.entry(handle).or_default())
    }

    /// The PeerConnection of a handle is over; `hang_up` decides what its exchange still keeps.
    pub(super) fn hung_up(
        &mut self,
        commands: &mut Vec<Command>,
        session: Id,
        handle: Id,
        hang_up: impl FnOnce(&mut Exchange, &mut Vec<Command>),
    ) {
        let Some(exchange) = self.known(session, handle) else { return };
        let mark = commands.len();
        hang_up(exchange, commands);
        self.told(session, handle, &commands[mark..]);
    }

    fn known(&mut self, session: Id, handle: Id) -> Option<&mut Exchange> {
        self.sessions.get_mut(&session)?.exchanges.get_mut(&handle).map(|exchange| &mut **exchange)
    }

    /// Somebody mentioned a Janus session.
    pub(super) fn mentioned(&mut self, now: Instant, session: Id) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.seen = now;
        }
    }

    /// Janus spoke of one of its sessions, over `connection` if that is a WebSocket.
    pub(super) fn confirmed(&mut self, now: Instant, session: Id, connection: Option<ConnectionId>) {
        // Over REST a Janus session matters from its first description on; with a WebSocket its end must be noticed.
        if !self.sessions.contains_key(&session) && (connection.is_none() || !self.has_room(session)) {
            return;
        }
        let known = self.sessions.entry(session).or_insert_with(|| JanusSession::new(now));
        (known.seen, known.confirmed) = (now, true);
        if let Some(connection) = connection.filter(|_| known.connection != connection) {
            let before = known.connection.replace(connection);
            self.disconnect(before, session);
            self.by_connection.entry(connection).or_default().insert(session);
        }
    }

    /// Keeps up with what an exchange told the packet side.
    pub(super) fn told(&mut self, session: Id, handle: Id, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Register(registration) => {
                    self.by_registration.insert(registration.session, (session, handle));
                }
                Command::End(id, _) => {
                    self.by_registration.remove(id);
                }
                Command::AddCandidates(..) => {}
            }
        }
    }

    /// The packet side ended a session.
    pub(super) fn ended(&mut self, id: SessionId) {
        let place = self.by_registration.remove(&id);
        if let Some(exchange) = place.and_then(|(session, handle)| self.known(session, handle)) {
            exchange.ended(id);
        }
    }

    /// A handle is gone.
    pub(super) fn remove_handle(
        &mut self,
        commands: &mut Vec<Command>,
        session: Id,
        handle: Id,
        reason: EndReason,
    ) {
        let exchanges = self.sessions.get_mut(&session).map(|it| &mut it.exchanges);
        let Some(mut exchange) = exchanges.and_then(|it| it.remove(&handle)) else { return };
        self.handles -= 1;
        let mark = commands.len();
        exchange.end(commands, reason);
        self.told(session, handle, &commands[mark..]);
    }

    /// A Janus session is gone, with all its handles.
    pub(super) fn remove_session(&mut self, commands: &mut Vec<Command>, session: Id, reason: EndReason) {
        let Some(mut gone) = self.sessions.remove(&session) else { return };
        self.disconnect(gone.connection, session);
        self.handles -= gone.exchanges.len();
        for (handle, exchange) in &mut gone.exchanges {
            let mark = commands.len();
            exchange.end(commands, reason);
            self.told(session, *handle, &commands[mark..]);
        }
    }

    /// A WebSocket closed.
    pub(super) fn closed(&mut self, commands: &mut Vec<Command>, connection: ConnectionId) {
        for session in self.by_connection.remove(&connection).unwrap_or_default() {
            self.remove_session(commands, session, EndReason::SignallingClosed);
        }
    }

    /// Forgets what nobody mentioned for [`IDLE`] and the packet side does not serve.
    pub(super) fn sweep(&mut self, now: Instant) {
        let idle = |it: &JanusSession| now.saturating_duration_since(it.seen) >= IDLE && !it.is_live();
        let gone: Vec<Id> = self.sessions.iter().filter(|(_, it)| idle(it)).map(|(id, _)| *id).collect();
        self.forget(&gone);
    }

    /// Whether one more handle fits, if need be in place of one that no packet side serves.
    fn has_room(&mut self, session: Id) -> bool {
        if self.handles >= MAX_HANDLES || self.sessions.len() >= MAX_HANDLES {
            self.evict(session);
        }
        self.handles < MAX_HANDLES && self.sessions.len() < MAX_HANDLES
    }

    /// Makes room for a sixteenth, so that the search pays: first among Janus sessions that Janus never spoke of, then among
    /// the others without a registered session, oldest first.
    fn evict(&mut self, asking: Id) {
        let idle = self.sessions.iter().filter(|(id, it)| **id != asking && !it.is_live());
        let mut idle: Vec<_> = idle.map(|(id, it)| (it.confirmed, it.seen, *id)).collect();
        idle.sort_unstable();
        let gone: Vec<Id> = idle.into_iter().take(MAX_HANDLES / 16).map(|(_, _, id)| id).collect();
        self.forget(&gone);
    }

    fn forget(&mut self, sessions: &[Id]) {
        // Nothing of them is registered, so no command comes of it.
        let mut none = Vec::new();
        for session in sessions {
            self.remove_session(&mut none, *session, EndReason::Destroyed);
        }
        debug_assert!(none.is_empty());
    }

    fn disconnect(&mut self, connection: Option<ConnectionId>, session: Id) {
        let Some(connection) = connection else { return };
        let Entry::Occupied(mut sessions) = self.by_connection.entry(connection) else { return };
        sessions.get_mut().remove(&session);
        if sessions.get().is_empty() {
            sessions.remove();
        }
    }
}

impl JanusSession {
    fn new(now: Instant) -> Self {
        JanusSession { seen: now, confirmed: false, connection: None, exchanges: HashMap::new() }
    }

    fn is_live(&self) -> bool {
        self.exchanges.values().any(|exchange| exchange.is_live())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(store: &Store) -> usize {
        assert_eq!(store.handles, store.sessions.values().map(|it| it.exchanges.len()).sum::<usize>());
        store.handles
    }

    #[test]
    fn one_janus_session_cannot_fill_the_table() {
        let (mut store, now) = (Store::default(), Instant::now());
        let made = (0..10_000).filter(|handle| store.exchange(now, 1, *handle).is_some()).count();
        assert_eq!((made, count(&store)), (MAX_HANDLES_PER_SESSION, MAX_HANDLES_PER_SESSION));
        assert!(store.exchange(now, 1, 0).is_some(), "those it has stay");
        assert!(store.exchange(now, 2, 0).is_some(), "others have room");
    }

    #[test]
    fn a_full_table_drops_what_janus_never_spoke_of_then_the_oldest() {
        let (mut store, start) = (Store::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        for session in 0..MAX_HANDLES as u64 {
            assert!(store.exchange(at(session), session, 0).is_some());
            if session < 10 {
                store.confirmed(at(session), session, None);
            }
        }
        assert!(store.exchange(at(1_000_000), 1_000_000, 0).is_some());
        assert_eq!(count(&store), MAX_HANDLES - MAX_HANDLES / 16 + 1);
        assert!(store.known(9, 0).is_some(), "confirmed");
        assert!(store.known(10, 0).is_none(), "oldest of the others");
        assert!(store.known(MAX_HANDLES as u64 - 1, 0).is_some());
    }

    #[test]
    fn nothing_is_left_of_a_websocket_that_closed() {
        let (mut store, now) = (Store::default(), Instant::now());
        for session in 0..100 {
            store.confirmed(now, session, Some(ConnectionId(session % 2)));
            store.exchange(now, session, 1);
        }
        store.confirmed(now, 0, Some(ConnectionId(1)));
        let mut commands = Vec::new();
        store.closed(&mut commands, ConnectionId(0));
        assert_eq!(
            (count(&store), store.sessions.len()),
            (51, 51),
            "a claimed session goes with its new socket"
        );
        store.closed(&mut commands, ConnectionId(1));
        assert_eq!((count(&store), store.sessions.len(), store.by_connection.len()), (0, 0, 0));
    }
}
