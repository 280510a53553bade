//! The PeerConnections of a dialect that names them by a text of the backend's: a session URL, or an id in a response.
//!
//! It decides which are kept and for how long, never what a message means. Names come from outside, so every map hashes
//! with secret keys. A PeerConnection that has no name ends when the packet side says so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config::ServerUrl;
use crate::session::registration::{Command, EndReason, SessionId};

use super::exchange::Exchange;

/// How long one that the packet side does not serve is kept after it was last mentioned (janus.md §2.5 has the same).
pub(super) const IDLE: Duration = Duration::from_secs(120);

/// Most PeerConnections of one route; each costs about 2 KiB. A route that serves the default of 100 000 sessions needs half.
pub(super) const MAX_SESSIONS: usize = 200_000;

/// Longest name that is kept; URLs of servers in the field stay below 300 bytes. A longer one counts as none.
pub(super) const MAX_NAME: usize = 2048;

/// Names a PeerConnection as long as it is kept.
pub(super) type Number = u64;

/// All PeerConnections of a route.
#[derive(Debug)]
pub(super) struct Sessions<T> {
    last: Number,
    by_number: HashMap<Number, Session<T>>,
    by_name: HashMap<Box<str>, Number>,
    by_registration: HashMap<SessionId, Number>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Session<T> {
    pub(super) exchange: Exchange,
    pub(super) state: T,
    name: Option<Box<str>>,
    /// Who has it.
    server: Option<ServerUrl>,
    seen: Instant,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Sessions {
            last: 0,
            by_number: HashMap::new(),
            by_name: HashMap::new(),
            by_registration: HashMap::new(),
        }
    }
}

impl<T> Sessions<T> {
    /// Keeps a PeerConnection that has told the packet side `told` so far. Another one of the same name ends.
    pub(super) fn add(
        &mut self,
        commands: &mut Vec<Command>,
        now: Instant,
        (name, server): (Option<&str>, Option<&ServerUrl>),
        (exchange, state): (Exchange, T),
        told: std::ops::Range<usize>,
    ) -> Number {
        let name = name.filter(|name| name.len() <= MAX_NAME).map(Box::from);
        if let Some(older) = name.as_ref().and_then(|name| self.by_name.get(name)).copied() {
            self.remove(commands, older, EndReason::Replaced);
        }
        self.last += 1;
        let number = self.last;
        if let Some(name) = &name {
            self.by_name.insert(Box::clone(name), number);
        }
        let server = server.cloned();
        self.by_number.insert(number, Session { exchange, state, name, server, seen: now });
        self.told(number, &commands[told]);
        number
    }

    /// Whether there is room for one more, if need be in place of one that the packet side does not serve.
    pub(super) fn has_room(&mut self) -> bool {
        if self.by_number.len() >= MAX_SESSIONS {
            self.forget_oldest();
        }
        self.by_number.len() < MAX_SESSIONS
    }

    /// The PeerConnection of that name.
    pub(super) fn number(&self, name: &str) -> Option<Number> {
        self.by_name.get(name).copied()
    }

    /// A PeerConnection that somebody mentions now.
    pub(super) fn get(&mut self, now: Instant, number: Number) -> Option<&mut Session<T>> {
        let session = self.by_number.get_mut(&number)?;
        session.seen = now;
        Some(session)
    }

    /// The same without counting as a mention.
    pub(super) fn unseen(&mut self, number: Number) -> Option<&mut Session<T>> {
        self.by_number.get_mut(&number)
    }

    /// Takes one out that somebody mentions now, to be [`Sessions::put`] back.
    pub(super) fn take(&mut self, now: Instant, number: Number) -> Option<Session<T>> {
        let mut session = self.by_number.remove(&number)?;
        session.seen = now;
        Some(session)
    }

    /// Puts one back that has told the packet side `told` since.
    pub(super) fn put(&mut self, number: Number, session: Session<T>, told: &[Command]) {
        self.by_number.insert(number, session);
        self.told(number, told);
    }

    /// The server that has the PeerConnection of that name.
    pub(super) fn server(&self, name: &str) -> Option<&ServerUrl> {
        self.by_number.get(self.by_name.get(name)?)?.server.as_ref()
    }

    /// Keeps up with what an exchange told the packet side.
    pub(super) fn told(&mut self, number: Number, commands: &[Command]) {
        for command in commands {
            match command {
                Command::Register(registration) => {
                    self.by_registration.insert(registration.session, number);
                }
                Command::End(id, _) => {
                    self.by_registration.remove(id);
                }
                Command::AddCandidates(..) => {}
            }
        }
    }

    /// It is over.
    pub(super) fn remove(&mut self, commands: &mut Vec<Command>, number: Number, reason: EndReason) {
        let Some(mut session) = self.by_number.remove(&number) else { return };
        if let Some(name) = session.name.take().filter(|name| self.by_name.get(name) == Some(&number)) {
            self.by_name.remove(&name);
        }
        let mark = commands.len();
        session.exchange.end(commands, reason);
        self.told(number, &commands[mark..]);
    }

    /// The packet side ended a session.
    pub(super) fn ended(&mut self, id: SessionId) {
        let number = self.by_registration.remove(&id);
        if let Some(session) = number.and_then(|number| self.by_number.get_mut(&number)) {
            session.exchange.ended(id);
        }
    }

    /// Forgets what nobody mentioned for [`IDLE`] and the packet side does not serve.
    pub(super) fn sweep(&mut self, now: Instant) {
        let is_idle =
            |it: &Session<T>| now.saturating_duration_since(it.seen) >= IDLE && !it.exchange.is_live();
        let idle = self.by_number.iter().filter(|(_, it)| is_idle(it));
        let idle: Vec<Number> = idle.map(|(number, _)| *number).collect();
        self.forget(&idle);
    }

    fn forget_oldest(&mut self) {
        let idle = self.by_number.iter().filter(|(_, it)| !it.exchange.is_live());
        let mut idle: Vec<_> = idle.map(|(number, it)| (it.seen, *number)).collect();
        idle.sort_unstable();
        let oldest: Vec<Number> =
            idle.into_iter().take(MAX_SESSIONS / 16).map(|(_, number)| number).collect();
        self.forget(&oldest);
    }

    fn forget(&mut self, numbers: &[Number]) {
        // Nothing of them is registered, so no command comes of it.
        let mut none = Vec::new();
        for number in numbers {
            self.remove(&mut none, *number, EndReason::Replaced);
        }
        debug_assert!(none.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_forgets_the_oldest_that_nobody_serves() {
        let (mut sessions, start) = (Sessions::<()>::default(), Instant::now());
        for number in 0..MAX_SESSIONS {
            assert!(sessions.has_room());
            let name = format!("/s/{number}");
            let at = start + Duration::from_millis(number as u64);
            sessions.add(&mut Vec::new(), at, (Some(&name), None), (Exchange::default(), ()), 0..0);
        }
        assert!(sessions.has_room());
        assert_eq!(sessions.by_number.len(), MAX_SESSIONS - MAX_SESSIONS / 16);
        assert_eq!((sessions.number("/s/0"), sessions.by_name.len()), (None, sessions.by_number.len()));
        sessions.sweep(start + IDLE + Duration::from_secs(1000));
        assert_eq!((sessions.by_number.len(), sessions.by_name.len()), (0, 0));
    }

    #[test]
    fn the_newest_of_a_name_holds_and_a_name_too_long_is_none() {
        let (mut sessions, now) = (Sessions::<()>::default(), Instant::now());
        let add = |sessions: &mut Sessions<()>, name: &str| {
            sessions.add(&mut Vec::new(), now, (Some(name), None), (Exchange::default(), ()), 0..0)
        };
        let older = add(&mut sessions, "/s");
        let newer = add(&mut sessions, "/s");
        assert!(sessions.get(now, older).is_none());
        assert_eq!(sessions.number("/s"), Some(newer));
        let long = "x".repeat(MAX_NAME + 1);
        add(&mut sessions, &long);
        assert_eq!((sessions.number(&long), sessions.by_number.len()), (None, 2));
    }
}
