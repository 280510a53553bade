//! \[pure\] The JSON protocol of GStreamer's `webrtcsink` and `webrtcsrc`, which the npm package `gstwebrtc-api` speaks too.
//!
//! Peers say which roles they have; listeners hear of it. Who wants to watch a producer asks for a session with it, and the two
//! exchange `peer` messages, which pass as they are. A fault is answered with `error`; nothing closes the connection.

mod message;

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::protocol::{Context, Input, Keepalive, Knock, PeerKey, Person, Protocol, Refusal, Room, Size};
use super::token::Token;
use crate::config::{GstRules, RoomLimits, RoomRules};
use crate::json_edit::{self, Kind, Value};
use message::{Fault, Role};

/// All peers of a route.
pub(super) struct Webrtcsink {
    rules: GstRules,
    token: Token,
    /// Consumers of one producer.
    max_peers: usize,
    /// Producers.
    max_rooms: usize,
    /// In the order of their coming.
    peers: BTreeMap<PeerKey, Peer>,
    keys_by_id: HashMap<String, PeerKey>,
    sessions: BTreeMap<String, Session>,
}

struct Peer {
    id: String,
    roles: Vec<Role>,
    /// JSON.
    meta: Vec<u8>,
    has_spoken: bool,
}

#[derive(Clone, Copy)]
struct Session {
    producer: PeerKey,
    consumer: PeerKey,
}

impl Webrtcsink {
    /// No peers yet.
    pub(super) fn new(rules: &GstRules, limits: &RoomLimits) -> Self {
        Webrtcsink {
            rules: rules.clone(),
            token: Token::new(rules.token.as_ref()),
            max_peers: limits.peers,
            max_rooms: limits.rooms,
            peers: BTreeMap::new(),
            keys_by_id: HashMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    fn text(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &Bytes) {
        let done = self.message(cx, peer, text);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.has_spoken = true;
        }
        if let Err(fault) = done {
            cx.send(peer, message::error(&fault));
        }
    }

    fn message(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &Bytes) -> Result<(), Fault> {
        let message = json_edit::whole_value(text).map_err(|_| Fault::NotAMessage)?;
        let kind = message.member("type").and_then(|kind| kind.string()).ok_or(Fault::NotAMessage)?;
        match &*kind {
            "setProtocolVersion" => self.set_version(peer, &message),
            "setPeerStatus" => self.set_status(cx, peer, &message),
            "list" => {
                self.list(cx, peer, "list", "producers", Role::Producer);
                Ok(())
            }
            "listConsumers" => {
                self.list(cx, peer, "listConsumers", "consumers", Role::Consumer);
                Ok(())
            }
            "startSession" => self.start_session(cx, peer, &message),
            "endSession" => self.end_session(cx, peer, &message),
            "peer" => self.pass(cx, peer, &message, text),
            other => Err(Fault::UnknownType(other.to_owned())),
        }
    }

    /// Both versions are the same to a server.
    fn set_version(&self, peer: PeerKey, message: &Value<'_>) -> Result<(), Fault> {
        message::check_version(message)?;
        match self.peers.get(&peer) {
            Some(peer) if peer.has_spoken => Err(Fault::LateVersion),
            _ => Ok(()),
        }
    }

    fn set_status(&mut self, cx: &mut Context<'_>, key: PeerKey, message: &Value<'_>) -> Result<(), Fault> {
        let roles = message::roles(message)?;
        let is = |role| roles.contains(&role);
        if is(Role::Producer) && is(Role::Consumer) {
            return Err(Fault::TwoRoles);
        }
        let producers = self.peers.iter().filter(|(other, it)| **other != key && it.is(Role::Producer));
        if self.max_rooms > 0 && is(Role::Producer) && producers.count() >= self.max_rooms {
            return Err(Fault::TooManyProducers);
        }
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let gives_up = |role| peer.is(role) && !is(role);
        let (no_producer, no_consumer) = (gives_up(Role::Producer), gives_up(Role::Consumer));
        peer.meta = message.member("meta").map_or(b"null".to_vec(), |meta| meta.raw().to_vec());
        peer.roles = roles;
        if no_producer {
            self.end_all(cx, key, |session| session.producer == key);
        }
        if no_consumer {
            self.end_all(cx, key, |session| session.consumer == key);
        }
        self.announce(cx, key);
        Ok(())
    }

    /// Tells all listeners, the peer itself among them, what it is now.
    fn announce(&self, cx: &mut Context<'_>, key: PeerKey) {
        let Some(peer) = self.peers.get(&key) else { return };
        let status = message::status(&peer.id, &peer.roles, &peer.meta);
        for listener in self.listeners() {
            cx.send(listener, status.clone());
        }
    }

    fn list(&self, cx: &mut Context<'_>, to: PeerKey, kind: &str, key: &str, role: Role) {
        let peers = self.peers.values().filter(|peer| peer.is(role)).map(|peer| (&*peer.id, &*peer.meta));
        cx.send(to, message::list(kind, key, peers));
    }

    fn start_session(
        &mut self,
        cx: &mut Context<'_>,
        from: PeerKey,
        message: &Value<'_>,
    ) -> Result<(), Fault> {
        let id = message::required(message, "peerId")?;
        let offer = message.member("offer").filter(|offer| offer.raw() != b"null");
        if offer.is_some_and(|offer| offer.kind() != Kind::String) {
            return Err(Fault::Expected("offer as a text"));
        }
        let to = *self.keys_by_id.get(&id).ok_or(Fault::NoPeer(id))?;
        let is = |role| self.peers.get(&to).is_some_and(|peer| peer.is(role));
        let session = if is(Role::Producer) {
            Session { producer: to, consumer: from }
        } else if is(Role::Consumer) {
            Session { producer: from, consumer: to }
        } else {
            return Err(Fault::NoProducer);
        };
        self.check_places(session)?;
        self.begin(cx, session, offer.map_or(b"null", |offer| offer.raw()));
        Ok(())
    }

    fn check_places(&self, session: Session) -> Result<(), Fault> {
        if session.producer == session.consumer {
            return Err(Fault::OwnSession);
        }
        let sessions = self.sessions.values().filter(|it| it.producer == session.producer).count();
        if self.max_peers > 0 && sessions >= self.max_peers {
            return Err(Fault::TooManySessions);
        }
        Ok(())
    }

    fn begin(&mut self, cx: &mut Context<'_>, session: Session, offer: &[u8]) {
        let id = message::uuid(cx.random());
        let Session { producer, consumer } = session;
        let (producer_id, consumer_id) = (self.id(producer), self.id(consumer));
        cx.send(consumer, message::started(producer_id, &id));
        cx.send(producer, message::start(consumer_id, &id, offer));
        self.sessions.insert(id, session);
    }

    fn end_session(&mut self, cx: &mut Context<'_>, from: PeerKey, message: &Value<'_>) -> Result<(), Fault> {
        let id = message::required(message, "sessionId")?;
        // The other side may have ended it already.
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let other = session.other(from).ok_or(Fault::NotInSession)?;
        self.sessions.remove(&id);
        cx.send(other, message::ended(&id));
        Ok(())
    }

    fn end_all(&mut self, cx: &mut Context<'_>, from: PeerKey, concerns: impl Fn(&Session) -> bool) {
        self.sessions.retain(|id, session| {
            let ends = concerns(session);
            if let Some(other) = session.other(from).filter(|_| ends) {
                cx.send(other, message::ended(id));
            }
            !ends
        });
    }

    fn pass(
        &self,
        cx: &mut Context<'_>,
        from: PeerKey,
        message: &Value<'_>,
        text: &Bytes,
    ) -> Result<(), Fault> {
        let id = message::required(message, "sessionId")?;
        let is_object = |value: &Value<'_>| value.kind() == Kind::Object;
        let sdp = message.member("sdp").filter(is_object);
        let ice = message.member("ice").filter(is_object);
        if sdp.is_some() == ice.is_some() {
            return Err(Fault::Expected("sdp or ice, an object"));
        }
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let other = session.other(from).ok_or(Fault::NotInSession)?;
        let is_offer =
            sdp.and_then(|sdp| sdp.member("type")).and_then(|it| it.string()).as_deref() == Some("offer");
        if is_offer && from == session.consumer {
            return Err(Fault::OfferOfConsumer);
        }
        cx.send(other, text.clone());
        Ok(())
    }

    fn gone(&mut self, cx: &mut Context<'_>, key: PeerKey) {
        let Some(peer) = self.peers.remove(&key) else { return };
        self.keys_by_id.remove(&peer.id);
        self.end_all(cx, key, |session| session.other(key).is_some());
        let status = message::status(&peer.id, &[], &peer.meta);
        for listener in self.listeners() {
            cx.send(listener, status.clone());
        }
    }

    fn listeners(&self) -> impl Iterator<Item = PeerKey> {
        self.peers.iter().filter(|(_, peer)| peer.is(Role::Listener)).map(|(key, _)| *key)
    }

    fn id(&self, peer: PeerKey) -> &str {
        self.peers.get(&peer).map_or("", |peer| &peer.id)
    }

    fn person(&self, key: PeerKey) -> Person {
        let meta = self.peers.get(&key).map_or(&b"null"[..], |peer| &peer.meta);
        let name = json_edit::whole_value(meta).ok().and_then(|meta| meta.member("name")?.string());
        Person { key, id: self.id(key).to_owned(), name: name.unwrap_or_default().into_owned() }
    }
}

impl Protocol for Webrtcsink {
    fn keepalive(&self) -> Keepalive {
        Keepalive::after_silence(self.rules.keepalive)
    }

    fn open(&mut self, cx: &mut Context<'_>, key: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal> {
        self.token.check(knock)?;
        let id = message::uuid(cx.random());
        cx.send(key, message::welcome(&id));
        self.keys_by_id.insert(id.clone(), key);
        self.peers.insert(key, Peer { id, roles: Vec::new(), meta: b"null".to_vec(), has_spoken: false });
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, peer: PeerKey, input: Input) {
        match input {
            Input::Text(text) => self.text(cx, peer, &text),
            Input::Gone(_) => self.gone(cx, peer),
            Input::Binary(_) | Input::Deadline | Input::Answer(_) => {}
        }
    }

    fn renew(&mut self, rules: &RoomRules, limits: &RoomLimits) {
        if let RoomRules::Webrtcsink(rules) = rules {
            self.rules = rules.clone();
            self.token = Token::new(rules.token.as_ref());
        }
        self.max_peers = limits.peers;
        self.max_rooms = limits.rooms;
    }

    fn size(&self) -> Size {
        let producers = self.peers.values().filter(|peer| peer.is(Role::Producer)).count();
        Size { rooms: producers, people: self.peers.len() }
    }

    /// A producer with those who watch it is a room.
    fn rooms(&self) -> Vec<Room> {
        let producers = self.peers.iter().filter(|(_, peer)| peer.is(Role::Producer));
        let room = |(key, peer): (&PeerKey, &Peer)| {
            let consumers = self.sessions.values().filter(|session| session.producer == *key);
            let everybody = std::iter::once(*key).chain(consumers.map(|session| session.consumer));
            Room { name: peer.id.clone(), people: everybody.map(|key| self.person(key)).collect() }
        };
        producers.map(room).collect()
    }

    fn page(&self, path: &str) -> Option<&'static str> {
        (self.rules.health.as_deref() == Some(path)).then_some("OK\n")
    }
}

impl Peer {
    fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

impl Session {
    /// Who is on the other side; `None` for somebody on neither.
    fn other(&self, peer: PeerKey) -> Option<PeerKey> {
        match peer {
            peer if peer == self.producer => Some(self.consumer),
            peer if peer == self.consumer => Some(self.producer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
