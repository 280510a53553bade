//! \[pure\] GStreamer's simple signalling: `HELLO`, then a session with one peer (`SESSION`, `CALL`) or a room (`ROOM`).
//!
//! Commands are words, not JSON. In a session every frame goes to the other side as it is, whatever it says. Faults at
//! registration close the connection with 1002; later ones are answered with a text that starts with `ERROR`.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::protocol::{
    Context, Effect, Input, Keepalive, Knock, PeerKey, Person, Protocol, Refusal, Room, Size,
};
use super::token::Token;
use crate::config::{GstRules, RoomLimits, RoomRules};

/// A client has this long to say who it is; the original waits forever.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// What [`super::protocol::Protocol::page`] answers at the health path.
const HEALTH: &str = "OK\n";

/// All peers of a route.
pub(super) struct Gst {
    rules: GstRules,
    token: Token,
    max_peers: usize,
    max_rooms: usize,
    peers: HashMap<PeerKey, Peer>,
    keys_by_uid: HashMap<String, PeerKey>,
    /// Members in the order of joining.
    rooms: HashMap<String, Vec<PeerKey>>,
}

struct Peer {
    uid: String,
    state: State,
}

enum State {
    /// Has not said `HELLO` yet.
    New,
    /// Waits for a call, or makes one.
    Free,
    InSession(PeerKey),
    InRoom(String),
}

impl Gst {
    /// No peers yet.
    pub(super) fn new(rules: &GstRules, limits: &RoomLimits) -> Self {
        Gst {
            rules: rules.clone(),
            token: Token::new(rules.token.as_ref()),
            max_peers: limits.peers,
            max_rooms: limits.rooms,
            peers: HashMap::new(),
            keys_by_uid: HashMap::new(),
            rooms: HashMap::new(),
        }
    }

    fn text(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: Bytes) {
        match self.peers.get(&peer).map(|peer| &peer.state) {
            Some(State::New) => self.hello(cx, peer, &text),
            Some(State::Free) => self.command(cx, peer, &text),
            Some(State::InSession(other)) => cx.send(*other, text),
            Some(State::InRoom(_)) => self.in_room(cx, peer, &text),
            None => {}
        }
    }

    fn hello(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &[u8]) {
        let text = utf8(text);
        let mut words = text.split_whitespace();
        if words.next() != Some("HELLO") {
            return cx.close(peer, 1002, "invalid protocol");
        }
        let (Some(uid), None) = (words.next(), words.next()) else {
            return cx.close(peer, 1002, "invalid peer uid");
        };
        if self.keys_by_uid.contains_key(uid) {
            return cx.close(peer, 1002, "invalid peer uid");
        }
        let Some(known) = self.peers.get_mut(&peer) else { return };
        *known = Peer { uid: uid.to_owned(), state: State::Free };
        self.keys_by_uid.insert(uid.to_owned(), peer);
        cx.effects.push(Effect::Deadline(None));
        cx.send(peer, &b"HELLO"[..]);
    }

    /// Outside of session and room; what is no command is ignored.
    fn command(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &[u8]) {
        let (word, rest) = first_word(utf8(text));
        match word {
            "SESSION" => self.call(cx, peer, rest.trim_end(), "SESSION_OK"),
            "CALL" => self.call(cx, peer, rest.trim_end(), "CALL_OK"),
            "ROOM" => self.enter(cx, peer, rest.trim_end()),
            _ => {}
        }
    }

    fn call(&mut self, cx: &mut Context<'_>, caller: PeerKey, uid: &str, done: &'static str) {
        if uid.is_empty() {
            return cx.send(caller, &b"ERROR invalid msg"[..]);
        }
        let Some(&callee) = self.keys_by_uid.get(uid) else {
            return cx.send(caller, format!("ERROR peer '{uid}' not found"));
        };
        let is_free = self.peers.get(&callee).is_some_and(|peer| matches!(peer.state, State::Free));
        if callee == caller || !is_free {
            return cx.send(caller, format!("ERROR peer '{uid}' busy"));
        }
        self.set_state(caller, State::InSession(callee));
        self.set_state(callee, State::InSession(caller));
        cx.send(caller, done.as_bytes());
    }

    fn enter(&mut self, cx: &mut Context<'_>, peer: PeerKey, name: &str) {
        if name.is_empty() || name == "session" || name.contains(char::is_whitespace) {
            return cx.send(peer, format!("ERROR invalid room id '{name}'"));
        }
        let members = self.rooms.get(name);
        if self.max_peers > 0 && members.is_some_and(|members| members.len() >= self.max_peers) {
            return cx.send(peer, format!("ERROR room '{name}' is full"));
        }
        if self.max_rooms > 0 && members.is_none() && self.rooms.len() >= self.max_rooms {
            return cx.send(peer, &b"ERROR too many rooms"[..]);
        }
        let members = members.cloned().unwrap_or_default();
        let uids: Vec<&str> = members.iter().map(|member| self.uid(*member)).collect();
        cx.send(peer, format!("ROOM_OK {}", uids.join(" ")));
        let joined = Bytes::from(format!("ROOM_PEER_JOINED {}", self.uid(peer)));
        for member in members {
            cx.send(member, joined.clone());
        }
        self.rooms.entry(name.to_owned()).or_default().push(peer);
        self.set_state(peer, State::InRoom(name.to_owned()));
    }

    fn in_room(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &[u8]) {
        let (word, rest) = first_word(utf8(text));
        match word {
            "ROOM_PEER_MSG" => self.message(cx, peer, rest),
            "ROOM_PEER_LIST" => self.list(cx, peer),
            _ => not_in_room(cx, peer),
        }
    }

    fn message(&self, cx: &mut Context<'_>, sender: PeerKey, rest: &str) {
        let (uid, message) = first_word(rest);
        if message.is_empty() {
            return not_in_room(cx, sender);
        }
        let Some(target) = self.keys_by_uid.get(uid) else {
            return cx.send(sender, format!("ERROR peer '{uid}' not found"));
        };
        if !self.members_with(sender).contains(target) {
            return cx.send(sender, format!("ERROR peer '{uid}' is not in the room"));
        }
        cx.send(*target, format!("ROOM_PEER_MSG {} {message}", self.uid(sender)));
    }

    fn list(&self, cx: &mut Context<'_>, peer: PeerKey) {
        let others = self.members_with(peer).iter().filter(|member| **member != peer);
        let uids: Vec<&str> = others.map(|member| self.uid(*member)).collect();
        cx.send(peer, format!("ROOM_PEER_LIST {}", uids.join(" ")));
    }

    fn gone(&mut self, cx: &mut Context<'_>, key: PeerKey) {
        let Some(peer) = self.peers.remove(&key) else { return };
        if self.keys_by_uid.get(&peer.uid) == Some(&key) {
            self.keys_by_uid.remove(&peer.uid);
        }
        match peer.state {
            State::New | State::Free => {}
            State::InSession(other) => self.hang_up(cx, other),
            State::InRoom(room) => self.leave(cx, key, &peer.uid, &room),
        }
    }

    /// The end of one side's connection tells the other one that the call has ended.
    fn hang_up(&mut self, cx: &mut Context<'_>, other: PeerKey) {
        self.set_state(other, State::Free);
        cx.close(other, 1000, "");
    }

    fn leave(&mut self, cx: &mut Context<'_>, key: PeerKey, uid: &str, room: &str) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        members.retain(|member| *member != key);
        let left = Bytes::from(format!("ROOM_PEER_LEFT {uid}"));
        for member in members.iter() {
            cx.send(*member, left.clone());
        }
        if members.is_empty() {
            self.rooms.remove(room);
        }
    }

    /// Everybody in the room of `peer`.
    fn members_with(&self, peer: PeerKey) -> &[PeerKey] {
        match self.peers.get(&peer).map(|peer| &peer.state) {
            Some(State::InRoom(room)) => self.rooms.get(room).map_or(&[], Vec::as_slice),
            _ => &[],
        }
    }

    fn uid(&self, peer: PeerKey) -> &str {
        self.peers.get(&peer).map_or("", |peer| &peer.uid)
    }

    fn set_state(&mut self, peer: PeerKey, state: State) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.state = state;
        }
    }

    fn person(&self, key: PeerKey) -> Person {
        Person { key, id: self.uid(key).to_owned(), name: String::new() }
    }

    /// Both sides of every session, once each.
    fn sessions(&self) -> impl Iterator<Item = (PeerKey, PeerKey)> {
        self.peers.iter().filter_map(|(key, peer)| match peer.state {
            State::InSession(other) if *key < other => Some((*key, other)),
            _ => None,
        })
    }
}

impl Protocol for Gst {
    fn keepalive(&self) -> Keepalive {
        Keepalive::after_silence(self.rules.keepalive)
    }

    fn open(&mut self, cx: &mut Context<'_>, peer: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal> {
        self.token.check(knock)?;
        self.peers.insert(peer, Peer { uid: String::new(), state: State::New });
        cx.effects.push(Effect::Deadline(Some(cx.now + HELLO_TIMEOUT)));
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, peer: PeerKey, input: Input) {
        match input {
            Input::Text(text) => self.text(cx, peer, text),
            Input::Binary(data) => match self.peers.get(&peer).map(|peer| &peer.state) {
                Some(State::New) => cx.close(peer, 1002, "invalid protocol"),
                Some(State::InSession(other)) => cx.effects.push(Effect::SendBinary(*other, data)),
                Some(State::InRoom(_)) => not_in_room(cx, peer),
                Some(State::Free) | None => {}
            },
            Input::Deadline => cx.close(peer, 1002, "invalid protocol"),
            Input::Answer(_) => {}
            Input::Gone(_) => self.gone(cx, peer),
        }
    }

    fn renew(&mut self, rules: &RoomRules, limits: &RoomLimits) {
        if let RoomRules::Gst(rules) = rules {
            self.rules = rules.clone();
            self.token = Token::new(rules.token.as_ref());
        }
        self.max_peers = limits.peers;
        self.max_rooms = limits.rooms;
    }

    fn size(&self) -> Size {
        let in_session = |peer: &&Peer| matches!(peer.state, State::InSession(_));
        let in_sessions = self.peers.values().filter(in_session).count();
        let in_rooms: usize = self.rooms.values().map(Vec::len).sum();
        Size { rooms: self.rooms.len() + in_sessions / 2, people: in_rooms + in_sessions }
    }

    fn rooms(&self) -> Vec<Room> {
        let rooms = self.rooms.iter().map(|(name, members)| Room {
            name: name.clone(),
            people: members.iter().map(|member| self.person(*member)).collect(),
        });
        let sessions = self.sessions().map(|(one, other)| Room {
            name: format!("{} - {}", self.uid(one), self.uid(other)),
            people: vec![self.person(one), self.person(other)],
        });
        rooms.chain(sessions).collect()
    }

    fn page(&self, path: &str) -> Option<&'static str> {
        (self.rules.health.as_deref() == Some(path)).then_some(HEALTH)
    }
}

fn not_in_room(cx: &mut Context<'_>, peer: PeerKey) {
    cx.send(peer, &b"ERROR invalid msg, already in room"[..]);
}

/// The first word, and what follows the white space behind it.
fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// The shell lets only UTF-8 through.
fn utf8(text: &[u8]) -> &str {
    std::str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
#[path = "gst_tests.rs"]
mod tests;
