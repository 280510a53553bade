//! \[pure\] Who belongs to which server of a group: clients by the cookie `gosessionid`, Janus sessions by their id
//! (xrtc.md §2, janus.md §2.5).
//!
//! The cookie names an entry of a table and says nothing by itself; one that is not in the table is never taken over, so
//! nobody chooses another one's. Draws no randomness: a new key comes from the caller.

use std::fmt;
use std::time::{Duration, Instant};

use super::balance::{Machine, RequestKind};
use super::memory::Memory;

/// Name of the cookie, and of the header that is taken in its stead.
pub const STICKY_NAME: &str = "gosessionid";
/// How long a browser keeps the cookie.
const COOKIE_LIFE: Duration = Duration::from_secs(3600);
/// When a session or a Janus session is forgotten after its last use.
const SESSION_LIFE: Duration = Duration::from_secs(600);
/// Entries per table, of about 200 bytes: what is not used is dropped early when a flood makes more.
const MOST_SESSIONS: usize = 65_536;

/// A sticky session's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StickyKey([u8; 32]);

/// What all clients of one service stick to.
#[derive(Debug)]
pub struct StickyTable {
    sessions: Memory<StickyKey, Session>,
    /// By group and Janus session id.
    janus: Memory<(usize, u64), Machine>,
}

#[derive(Debug)]
struct Session {
    cookie_sent: Instant,
    last_route: usize,
    pins: Vec<Pin>,
}

#[derive(Debug)]
struct Pin {
    route: usize,
    kind: RequestKind,
    machine: Machine,
}

impl StickyKey {
    /// A key made of fresh randomness.
    pub fn new(random: [u8; 32]) -> Self {
        StickyKey(random)
    }

    /// What a client sent, where it can be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut key = [0; 32];
        if digits.len() != 2 * key.len() {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(StickyKey(key))
    }

    /// The key in one `Cookie` header.
    pub fn in_cookies(header: &str) -> Option<Self> {
        let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == STICKY_NAME).find_map(|(_, value)| StickyKey::parse(value))
    }

    /// The `Set-Cookie` that makes a browser keep it.
    pub fn cookie(&self, is_tls: bool) -> String {
        let secure = if is_tls { "; Secure" } else { "" };
        format!("{STICKY_NAME}={self}; Path=/; Max-Age={}; HttpOnly{secure}", COOKIE_LIFE.as_secs())
    }
}

impl StickyTable {
    /// An empty one.
    pub fn new() -> Self {
        StickyTable {
            sessions: Memory::new(MOST_SESSIONS, SESSION_LIFE),
            janus: Memory::new(MOST_SESSIONS, SESSION_LIFE),
        }
    }

    /// The route that a live session used last.
    pub fn last_route(&mut self, key: StickyKey, now: Instant) -> Option<usize> {
        self.sessions.get(&key, now).map(|session| session.last_route)
    }

    /// The machines of a live session on `route`: the one that takes its requests of `kind` first, then that of the other
    /// kind.
    pub fn machines(
        &mut self,
        key: StickyKey,
        route: usize,
        kind: RequestKind,
        now: Instant,
    ) -> impl Iterator<Item = Machine> + use<> {
        let mut pins: Vec<(bool, Machine)> = Vec::new();
        if let Some(session) = self.sessions.get(&key, now) {
            let on_route = session.pins.iter().filter(|pin| pin.route == route);
            pins.extend(on_route.map(|pin| (pin.kind != kind, pin.machine)));
        }
        pins.sort_unstable_by_key(|(is_other, _)| *is_other);
        pins.into_iter().map(|(_, machine)| machine)
    }

    /// Remembers where a session's request went. Whether its cookie must be sent: it is new, or half through its life.
    pub fn remember(
        &mut self,
        key: StickyKey,
        route: usize,
        kind: RequestKind,
        machine: Machine,
        now: Instant,
    ) -> bool {
        let Some(session) = self.sessions.get(&key, now) else {
            let pins = vec![Pin { route, kind, machine }];
            self.sessions.insert(key, Session { cookie_sent: now, last_route: route, pins }, now);
            return true;
        };
        session.last_route = route;
        match session.pins.iter_mut().find(|pin| pin.route == route && pin.kind == kind) {
            Some(pin) => pin.machine = machine,
            None => session.pins.push(Pin { route, kind, machine }),
        }
        let is_due = now.saturating_duration_since(session.cookie_sent) >= COOKIE_LIFE / 2;
        if is_due {
            session.cookie_sent = now;
        }
        is_due
    }

    /// Whether the session lives.
    pub fn knows(&mut self, key: StickyKey, now: Instant) -> bool {
        self.sessions.get(&key, now).is_some()
    }

    /// The machine that has Janus session `id` of `group`.
    pub fn janus_machine(&mut self, group: usize, id: u64, now: Instant) -> Option<Machine> {
        self.janus.get(&(group, id), now).copied()
    }

    /// A machine of `group` showed that it has Janus session `id`.
    pub fn learn_janus(&mut self, group: usize, id: u64, machine: Machine, now: Instant) {
        self.janus.insert((group, id), machine, now);
    }

    /// Drops what is too old.
    pub fn sweep(&mut self, now: Instant) {
        self.sessions.sweep(now);
        self.janus.sweep(now);
    }
}

impl Default for StickyTable {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whoever has the key has the session, so logs do not.
impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey(…)")
    }
}

/// Lower case, as the cookie was sent.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
