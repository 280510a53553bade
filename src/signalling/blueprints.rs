//! \[pure\] The `GETROOM` / `ENTERROOM` protocol of "WebRTC Blueprints": two in a room, found by a number.
//!
//! The key `type` of a JSON object decides. Every other message goes to the other one byte for byte; what is no JSON object
//! is ignored. Nobody is told when the other one leaves.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::protocol::{
    Context, Input, Keepalive, Knock, PeerKey, Person, Ping, Protocol, Refusal, Room, Size,
};
use super::token::Token;
use crate::auth::mint;
use crate::config::{BlueprintsRules, RoomLimits, RoomRules, TurnCredentials};
use crate::json_edit::{self, Kind, Value};

/// The protocol is for two.
const CAPACITY: usize = 2;
/// Numbers of rooms are below this.
const NUMBERS: u32 = 1_000_000;
/// So often a number is drawn that may be taken. With 900 000 rooms, nine numbers of ten being taken, one in 29 000
/// creations still fails.
const DRAWS: usize = 100;
/// So much longer than the time between two pings a client may be silent.
const SILENT_PINGS: u32 = 4;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const WRONG_ROOM: &[u8] = br#"{"type":"WRONGROOM"}"#;

/// All peers of a route.
pub(super) struct Blueprints {
    rules: BlueprintsRules,
    token: Token,
    max_rooms: usize,
    /// Everybody, and in which room.
    peers: HashMap<PeerKey, Option<u32>>,
    rooms: HashMap<u32, Vec<PeerKey>>,
}

impl Blueprints {
    /// No peers yet.
    pub(super) fn new(rules: &BlueprintsRules, limits: &RoomLimits) -> Self {
        Blueprints {
            rules: rules.clone(),
            token: Token::new(rules.token.as_ref()),
            max_rooms: limits.rooms,
            peers: HashMap::new(),
            rooms: HashMap::new(),
        }
    }

    fn text(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: Bytes) {
        let Some(message) = json_edit::whole_value(&text).ok().filter(|it| it.kind() == Kind::Object) else {
            return;
        };
        match message.member("type").and_then(|kind| kind.string()).as_deref() {
            Some("GETROOM") => self.get_room(cx, peer),
            Some("ENTERROOM") => self.enter_room(cx, peer, message.member("value")),
            _ => self.relay(cx, peer, text),
        }
    }

    fn get_room(&mut self, cx: &mut Context<'_>, peer: PeerKey) {
        // A room that the peer leaves empty makes place for the new one.
        let own = self.room_of(peer).and_then(|number| self.rooms.get(&number));
        let left_empty = usize::from(own.is_some_and(|members| members.len() == 1));
        let is_full = self.max_rooms > 0 && self.rooms.len() - left_empty >= self.max_rooms;
        let Some(number) = (!is_full).then(|| self.unused_number(cx)).flatten() else {
            return cx.send(peer, WRONG_ROOM);
        };
        self.leave(peer);
        self.join(peer, number);
        let credentials = self.rules.turn.as_ref().map(|turn| credentials(cx, turn)).unwrap_or_default();
        cx.send(peer, format!(r#"{{"type":"GETROOM","value":{number}{credentials}}}"#));
    }

    fn enter_room(&mut self, cx: &mut Context<'_>, peer: PeerKey, value: Option<Value<'_>>) {
        let number = value.and_then(room_number);
        let members = number.and_then(|number| self.rooms.get(&number));
        let may_enter =
            members.is_some_and(|members| members.len() == CAPACITY - 1 && !members.contains(&peer));
        let Some(number) = number.filter(|_| may_enter) else {
            return cx.send(peer, WRONG_ROOM);
        };
        self.leave(peer);
        self.join(peer, number);
        // Without credentials to give, the protocol answers nothing.
        if let Some(turn) = &self.rules.turn {
            let credentials = credentials(cx, turn);
            cx.send(peer, format!(r#"{{"type":"GETROOM"{credentials}}}"#));
        }
    }

    fn relay(&self, cx: &mut Context<'_>, sender: PeerKey, text: Bytes) {
        let members = self.room_of(sender).and_then(|number| self.rooms.get(&number));
        for member in members.into_iter().flatten().filter(|member| **member != sender) {
            cx.send(*member, text.clone());
        }
    }

    fn unused_number(&self, cx: &mut Context<'_>) -> Option<u32> {
        let mut draw = || u32::from_be_bytes(cx.random());
        // What lies above the largest multiple would make small numbers likelier.
        let fair = u32::MAX - u32::MAX % (NUMBERS - 1);
        let drawn = (0..DRAWS).map(|_| draw()).filter(|number| *number < fair);
        drawn.map(|number| 1 + number % (NUMBERS - 1)).find(|number| !self.rooms.contains_key(number))
    }

    fn room_of(&self, peer: PeerKey) -> Option<u32> {
        self.peers.get(&peer).copied().flatten()
    }

    fn join(&mut self, peer: PeerKey, number: u32) {
        self.peers.insert(peer, Some(number));
        self.rooms.entry(number).or_default().push(peer);
    }

    fn leave(&mut self, peer: PeerKey) {
        let Some(number) = self.room_of(peer) else { return };
        self.peers.insert(peer, None);
        let Some(members) = self.rooms.get_mut(&number) else { return };
        members.retain(|member| *member != peer);
        if members.is_empty() {
            self.rooms.remove(&number);
        }
    }
}

impl Protocol for Blueprints {
    fn keepalive(&self) -> Keepalive {
        Keepalive {
            ping: Some(Ping::Every(self.rules.keepalive)),
            silence: Some(self.rules.keepalive * SILENT_PINGS),
            close_code: 1011,
            write_timeout: WRITE_TIMEOUT,
        }
    }

    fn open(&mut self, _: &mut Context<'_>, peer: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal> {
        self.token.check(knock)?;
        self.peers.insert(peer, None);
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, peer: PeerKey, input: Input) {
        match input {
            Input::Text(text) => self.text(cx, peer, text),
            Input::Gone(_) => {
                self.leave(peer);
                self.peers.remove(&peer);
            }
            Input::Binary(_) | Input::Deadline | Input::Answer(_) => {}
        }
    }

    fn renew(&mut self, rules: &RoomRules, limits: &RoomLimits) {
        if let RoomRules::Blueprints(rules) = rules {
            self.rules = rules.clone();
            self.token = Token::new(rules.token.as_ref());
        }
        self.max_rooms = limits.rooms;
    }

    fn size(&self) -> Size {
        Size { rooms: self.rooms.len(), people: self.rooms.values().map(Vec::len).sum() }
    }

    fn rooms(&self) -> Vec<Room> {
        // Nobody has a name here; the number of the connection tells two apart.
        let person = |key: &PeerKey| Person { key: *key, id: key.0.to_string(), name: String::new() };
        let room = |(number, members): (&u32, &Vec<PeerKey>)| Room {
            name: number.to_string(),
            people: members.iter().map(person).collect(),
        };
        self.rooms.iter().map(room).collect()
    }
}

/// A number, or a text that is one.
fn room_number(value: Value<'_>) -> Option<u32> {
    match value.string() {
        Some(text) => text.trim().parse().ok(),
        None => value.integer().and_then(|number| u32::try_from(number).ok()),
    }
}

/// `,"url":…,"username":…,"credential":…`, good for a while.
fn credentials(cx: &mut Context<'_>, turn: &TurnCredentials) -> String {
    let id = format!("{:016x}", u64::from_be_bytes(cx.random()));
    let minted = mint(&turn.secret, &id, cx.unix.as_secs() + turn.lifetime.as_secs());
    let url = String::from_utf8(json_edit::quote(&turn.url)).unwrap_or_default();
    // Digits, hexadecimal digits and base64 need no escapes.
    let (username, credential) = (minted.username, minted.password.expose().to_owned());
    format!(r#","url":{url},"username":"{username}","credential":"{credential}""#)
}

#[cfg(test)]
#[path = "blueprints_tests.rs"]
mod tests;
