//! \[pure\] The JSON protocol of GStreamer's `webrtcsink` and `webrtcsrc`, which the npm package `gstwebrtc-api` speaks too.
//!
//! Peers say which roles they have; listeners hear of it. Who wants to watch a producer asks for a session with it, and the two
//! exchange `peer` messages, which pass as they are. A fault is answered with `error`; nothing closes the connection.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;

use super::protocol::{
    Context, Input, Keepalive, Knock, PeerKey, Person, Ping, Protocol, Refusal, Room, Size,
};
use super::token::Token;
use crate::config::{GstRules, RoomLimits, RoomRules};
use crate::json_edit::{self, Kind, Value, quote};

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const VERSIONS: [&str; 2] = ["v1_0", "v1_1"];

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Producer,
    Listener,
    Consumer,
}

#[derive(Clone, Copy)]
struct Session {
    producer: PeerKey,
    consumer: PeerKey,
}

/// What the sender is told.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("expected a JSON object with a type")]
    NotAMessage,
    #[error("unknown message type {0}")]
    UnknownType(String),
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("the protocol version is chosen with the first message")]
    LateVersion,
    #[error("a peer cannot be producer and consumer")]
    TwoRoles,
    #[error("as many producers as there may be")]
    TooManyProducers,
    #[error("as many sessions as the producer may have")]
    TooManySessions,
    #[error("there is no peer {0}")]
    NoPeer(String),
    #[error("neither of the two is a producer or a waiting consumer")]
    NoProducer,
    #[error("a session is with somebody else")]
    OwnSession,
    #[error("this session is between others")]
    NotInSession,
    #[error("only the producer sends offers in a session")]
    OfferOfConsumer,
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
            let details = json_text(&fault.to_string());
            cx.send(peer, format!(r#"{{"type":"error","details":{details}}}"#));
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
        let version = required(message, "version")?;
        if !VERSIONS.contains(&&*version) {
            return Err(Fault::Expected("version v1_0 or v1_1"));
        }
        match self.peers.get(&peer) {
            Some(peer) if peer.has_spoken => Err(Fault::LateVersion),
            _ => Ok(()),
        }
    }

    fn set_status(&mut self, cx: &mut Context<'_>, key: PeerKey, message: &Value<'_>) -> Result<(), Fault> {
        let roles = roles(message)?;
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
        let status = status(&peer.id, &peer.roles, &peer.meta);
        for listener in self.listeners() {
            cx.send(listener, status.clone());
        }
    }

    fn list(&self, cx: &mut Context<'_>, to: PeerKey, kind: &str, key: &str, role: Role) {
        let mut text = format!(r#"{{"type":"{kind}","{key}":["#).into_bytes();
        for (at, peer) in self.peers.values().filter(|peer| peer.is(role)).enumerate() {
            let comma = if at == 0 { "" } else { "," };
            text.extend_from_slice(format!(r#"{comma}{{"id":"{}","meta":"#, peer.id).as_bytes());
            text.extend_from_slice(&peer.meta);
            text.push(b'}');
        }
        text.extend_from_slice(b"]}");
        cx.send(to, text);
    }

    fn start_session(
        &mut self,
        cx: &mut Context<'_>,
        from: PeerKey,
        message: &Value<'_>,
    ) -> Result<(), Fault> {
        let id = required(message, "peerId")?;
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
        let id = uuid(cx.random());
        let Session { producer, consumer } = session;
        let (producer_id, consumer_id) = (self.id(producer), self.id(consumer));
        let started = format!(r#"{{"type":"sessionStarted","peerId":"{producer_id}","sessionId":"{id}"}}"#);
        let mut start =
            format!(r#"{{"type":"startSession","peerId":"{consumer_id}","sessionId":"{id}","offer":"#);
        start.push_str(std::str::from_utf8(offer).unwrap_or("null"));
        start.push('}');
        cx.send(consumer, started);
        cx.send(producer, start);
        self.sessions.insert(id, session);
    }

    fn end_session(&mut self, cx: &mut Context<'_>, from: PeerKey, message: &Value<'_>) -> Result<(), Fault> {
        let id = required(message, "sessionId")?;
        // The other side may have ended it already.
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let other = session.other(from).ok_or(Fault::NotInSession)?;
        self.sessions.remove(&id);
        cx.send(other, ended(&id));
        Ok(())
    }

    fn end_all(&mut self, cx: &mut Context<'_>, from: PeerKey, concerns: impl Fn(&Session) -> bool) {
        self.sessions.retain(|id, session| {
            let ends = concerns(session);
            if let Some(other) = session.other(from).filter(|_| ends) {
                cx.send(other, ended(id));
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
        let id = required(message, "sessionId")?;
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
        let status = status(&peer.id, &[], &peer.meta);
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
        let after = self.rules.keepalive;
        Keepalive {
            ping: Some(Ping::AfterSilence(after)),
            silence: Some(after * 3),
            close_code: 1011,
            write_timeout: WRITE_TIMEOUT,
        }
    }

    fn open(&mut self, cx: &mut Context<'_>, key: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal> {
        self.token.check(knock)?;
        let id = uuid(cx.random());
        cx.send(key, format!(r#"{{"type":"welcome","peerId":"{id}"}}"#));
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

impl Role {
    const ALL: [(&str, Role); 3] =
        [("producer", Role::Producer), ("listener", Role::Listener), ("consumer", Role::Consumer)];

    fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, role)| role)
    }

    fn name(self) -> &'static str {
        Role::ALL.iter().find(|(_, role)| *role == self).map_or("", |(name, _)| name)
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

fn roles(message: &Value<'_>) -> Result<Vec<Role>, Fault> {
    const ROLES: &str = "roles, a list of producer, listener and consumer";
    let list =
        message.member("roles").filter(|roles| roles.kind() == Kind::Array).ok_or(Fault::Expected(ROLES))?;
    let mut roles = Vec::new();
    for role in list.elements() {
        let role = role.string().and_then(|name| Role::named(&name)).ok_or(Fault::Expected(ROLES))?;
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

fn required(message: &Value<'_>, key: &'static str) -> Result<String, Fault> {
    let expected = match key {
        "peerId" => "peerId, a text",
        "sessionId" => "sessionId, a text",
        _ => "version, a text",
    };
    Ok(message.member(key).and_then(|value| value.string()).ok_or(Fault::Expected(expected))?.into_owned())
}

fn status(id: &str, roles: &[Role], meta: &[u8]) -> Bytes {
    let roles: Vec<String> = roles.iter().map(|role| format!("\"{}\"", role.name())).collect();
    let mut text =
        format!(r#"{{"type":"peerStatusChanged","roles":[{}],"meta":"#, roles.join(",")).into_bytes();
    text.extend_from_slice(meta);
    text.extend_from_slice(format!(r#","peerId":"{id}"}}"#).as_bytes());
    text.into()
}

fn ended(session: &str) -> String {
    format!(r#"{{"type":"endSession","sessionId":"{session}"}}"#)
}

fn json_text(text: &str) -> String {
    String::from_utf8(quote(text)).unwrap_or_default()
}

/// Version 4 (RFC 9562 §5.4).
fn uuid(random: [u8; 16]) -> String {
    let mut id = u128::from_be_bytes(random);
    id = id & !(0xf << 76) | 4 << 76;
    id = id & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{id:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
#[path = "webrtcsink_tests.rs"]
mod tests;
