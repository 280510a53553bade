//! The indices of a worker. Each says its key and who chooses it: all keys can be chosen by a stranger up to a point
//! (source addresses, usernames of forged checks), so every map hashes with a random seed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::pages::Pages;
use super::shards::Shards;
use crate::budget::Spent;
use crate::session::Session;
use crate::session::client_leg::{ClientAddr, MAX_PATHS};
use crate::session::registration::{Origin, Registration, SessionId, Traffic};
use crate::session::story::Story;
use crate::session::through::Through;

/// Index of a session in its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SessionKey(pub(super) u32);

/// Index of a session in transparent mode in its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ThroughKey(pub(super) u32);

/// A session that this worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Here {
    /// In half-proxy mode.
    Half(SessionKey),
    /// In transparent mode.
    Through(ThroughKey),
}

/// Who is woken by a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerKey {
    Here(Here),
    Registration(SessionId),
}

impl TimerKey {
    /// What it takes to see to it, about in microseconds, sending included.
    pub(super) fn cost(self) -> usize {
        match self {
            // A check is signed and sent.
            TimerKey::Here(_) => 8,
            TimerKey::Registration(_) => 1,
        }
    }
}

/// A socket and a remote address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddrKey {
    /// Two numbers, as one would be aligned to 16 bytes and make every entry a quarter larger.
    ip: [u64; 2],
    port_and_socket: u32,
}

impl AddrKey {
    pub(super) fn new(socket: u16, addr: SocketAddr) -> Self {
        let ip = match addr {
            SocketAddr::V4(v4) => u128::from(v4.ip().to_ipv6_mapped()),
            SocketAddr::V6(v6) => u128::from(*v6.ip()),
        };
        let ip = [(ip >> 64) as u64, ip as u64];
        AddrKey { ip, port_and_socket: u32::from(addr.port()) << 16 | u32::from(socket) }
    }

    fn socket(self) -> u16 {
        self.port_and_socket as u16
    }
}

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientEntry {
    /// A path of a session of ours.
    Here { session: SessionKey, slot: u8 },
    /// A flow of a session in transparent mode.
    Through { session: ThroughKey, slot: u8 },
    /// A session that another worker has.
    Elsewhere { worker: u32 },
}

/// Whose backend address it is, on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BackendEntry {
    /// A session's, whichever of its clients' addresses media goes to.
    Session(SessionKey),
    /// One flow's.
    Flow { session: ThroughKey, slot: u8 },
}

/// What is left of a session to tell of its end.
pub(super) struct Owned {
    pub(super) id: SessionId,
    pub(super) origin: Arc<Origin>,
    pub(super) traffic: Traffic,
    pub(super) since: Instant,
    pub(super) story: Option<Box<Story>>,
}

/// What is known of a session, whoever serves it.
pub(super) struct Known {
    /// Its generations, oldest first; mostly one.
    pub(super) registrations: Vec<Arc<Registration>>,
    /// Since when.
    pub(super) since: Instant,
    /// Where it is, when it is here.
    pub(super) here: Option<Here>,
    /// How many of its checks failed lately.
    pub(super) failed: Spent,
    /// Client addresses that this worker passes on to the one that has the session.
    pub(super) elsewhere: Vec<AddrKey>,
}

#[derive(Default)]
pub(super) struct Tables {
    pub(super) sessions: Pages<Session>,
    pub(super) throughs: Pages<Through>,
    /// Everything registered, by session.
    pub(super) known: Shards<SessionId, Known>,
    /// Client checks, by USERNAME `uE:uC`: uE is ours, uC the client's choice.
    pub(super) registrations_by_username: Shards<Box<[u8]>, Arc<Registration>>,
    /// Client packets, by listener and source.
    pub(super) clients_by_addr: Shards<AddrKey, ClientEntry>,
    /// Backend packets, by socket and source.
    pub(super) by_backend: Shards<AddrKey, BackendEntry>,
    /// Backend checks from an unknown address, by USERNAME `uC:uB`.
    pub(super) sessions_by_backend_username: Shards<Box<[u8]>, SessionKey>,
}

impl Tables {
    pub(super) fn client(&self, listener: u16, from: SocketAddr) -> Option<ClientEntry> {
        self.clients_by_addr.get(&AddrKey::new(listener, from)).copied()
    }

    pub(super) fn clients_at(&self, listener: u16) -> usize {
        self.clients_by_addr.keys().filter(|key| key.socket() == listener).count()
    }

    pub(super) fn learn_client(&mut self, at: ClientAddr, session: SessionKey, slot: u8) {
        self.clients_by_addr
            .insert(AddrKey::new(at.listener, at.remote), ClientEntry::Here { session, slot });
    }

    pub(super) fn forget_client(&mut self, at: ClientAddr) {
        self.clients_by_addr.remove(&AddrKey::new(at.listener, at.remote));
    }

    /// Remembers which worker a client address belongs to. A session has few addresses; the oldest makes room.
    pub(super) fn learn_elsewhere(&mut self, id: SessionId, listener: u16, from: SocketAddr, worker: u32) {
        let key = AddrKey::new(listener, from);
        let Some(known) = self.known.get_mut(&id) else { return };
        if !known.elsewhere.contains(&key) {
            if known.elsewhere.len() >= MAX_PATHS {
                self.clients_by_addr.remove(&known.elsewhere.remove(0));
            }
            known.elsewhere.push(key);
        }
        self.clients_by_addr.insert(key, ClientEntry::Elsewhere { worker });
    }

    /// Takes a session out of every index.
    pub(super) fn remove_session(&mut self, key: SessionKey) -> Option<Session> {
        let mut session = self.sessions.remove(key.0)?;
        for at in session.client.addresses() {
            self.clients_by_addr.remove(&AddrKey::new(at.listener, at.remote));
        }
        for generation in session.generations() {
            for (socket, addr) in generation.backend.remotes() {
                self.by_backend.remove(&AddrKey::new(socket, addr));
            }
            self.sessions_by_backend_username.remove(&backend_username(&generation.registration)[..]);
        }
        self.remove_known(session.id);
        Some(session)
    }

    /// Forgets one generation's registration.
    pub(super) fn forget_registration(&mut self, old: &Registration) {
        let username = client_username(old);
        let named = self.registrations_by_username.get(&username[..]);
        // A later generation may go by the same name; it stays.
        if named.is_some_and(|named| named.session == old.session && named.generation == old.generation) {
            self.registrations_by_username.remove(&username[..]);
        }
        if let Some(known) = self.known.get_mut(&old.session) {
            known.registrations.retain(|known| known.generation != old.generation);
        }
    }

    /// Forgets a registration and all of its generations.
    pub(super) fn remove_known(&mut self, id: SessionId) -> Option<Known> {
        let known = self.known.remove(&id)?;
        for registration in &known.registrations {
            let username = client_username(registration);
            // Two callers of the REST API may have chosen the same pair; the later one has the name.
            if self.registrations_by_username.get(&username[..]).is_some_and(|named| named.session == id) {
                self.registrations_by_username.remove(&username[..]);
            }
        }
        for key in &known.elsewhere {
            self.clients_by_addr.remove(key);
        }
        Some(known)
    }
}

/// USERNAME of the client's checks: receiver first (RFC 8445 §7.2.2).
pub(super) fn client_username(registration: &Registration) -> Box<[u8]> {
    format!("{}:{}", registration.edge.ufrag, registration.client.ufrag).into_bytes().into()
}

/// USERNAME of the backend's checks.
pub(super) fn backend_username(registration: &Registration) -> Box<[u8]> {
    format!("{}:{}", registration.client.ufrag, registration.backend.ufrag).into_bytes().into()
}
