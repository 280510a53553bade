//! \[pure\] The room protocol of lambdaclass `webrtc-server`: log in, hear who joins and leaves, send to one by id.
//!
//! The room stands in the path. A newcomer gets no list of who is there: those who are hear of him and call. A relayed
//! message keeps every byte but for `to`, in whose place stands `from`.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::notice::{Change, notice};
use super::protocol::{
    Answer, Context, Effect, Input, Keepalive, Knock, PeerKey, Person, Protocol, Question, Refusal, Room,
    ServerEvent, Size,
};
use super::query;
use crate::config::{RoomLimits, RoomRules, WebrtcServerRules};
use crate::json_edit::{self, Edits, Kind, Value, quote};

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const UNAUTHORIZED: &[u8] = br#"{"event":"unauthorized"}"#;
const INVALID_MESSAGE: &[u8] = br#"{"event":"invalid_message"}"#;

/// All peers of a route.
pub(super) struct WebrtcServer {
    rules: WebrtcServerRules,
    max_peers: usize,
    max_rooms: usize,
    visitors: HashMap<PeerKey, Visitor>,
    keys_by_id: HashMap<String, PeerKey>,
    /// Members in the order of joining.
    rooms: HashMap<String, Vec<PeerKey>>,
}

/// A connection.
struct Visitor {
    room: String,
    client: std::net::IpAddr,
    /// Set with the login.
    member: Option<Member>,
}

struct Member {
    id: String,
    username: String,
}

impl WebrtcServer {
    /// No peers yet.
    pub(super) fn new(rules: &WebrtcServerRules, limits: &RoomLimits) -> Self {
        WebrtcServer {
            rules: rules.clone(),
            max_peers: limits.peers,
            max_rooms: limits.rooms,
            visitors: HashMap::new(),
            keys_by_id: HashMap::new(),
            rooms: HashMap::new(),
        }
    }

    fn text(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &[u8]) {
        let Some(visitor) = self.visitors.get(&peer) else { return };
        match &visitor.member {
            _ if text == b"ping" => cx.send(peer, &b"pong"[..]),
            None => authenticate(cx, peer, visitor, text),
            Some(member) => self.relay(cx, peer, &visitor.room, &member.id, text),
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, peer: PeerKey, answer: Answer) {
        let Answer::Login { username, is_valid } = answer else { return };
        let Some(visitor) = self.visitors.get_mut(&peer).filter(|visitor| visitor.member.is_none()) else {
            return;
        };
        let room = visitor.room.clone();
        if !is_valid || self.why_full(&room).is_some() {
            return cx.send(peer, UNAUTHORIZED);
        }
        self.join(cx, peer, room, username);
    }

    /// First those who are there hear of the newcomer, then he that he is in.
    fn join(&mut self, cx: &mut Context<'_>, peer: PeerKey, room: String, username: String) {
        let id = self.fresh_id(cx);
        let joined = about("joined", &id, &username);
        let members = self.rooms.entry(room.clone()).or_default();
        for member in members.iter() {
            cx.send(*member, joined.clone());
        }
        members.push(peer);
        cx.send(peer, format!(r#"{{"event":"authenticated","data":{{"peer_id":"{id}"}}}}"#));
        cx.effects.push(Effect::Deadline(None));
        self.keys_by_id.insert(id.clone(), peer);
        if let Some(visitor) = self.visitors.get_mut(&peer) {
            visitor.member = Some(Member { id: id.clone(), username: username.clone() });
        }
        self.tell(cx, Change::Join, &room, &id, &username);
    }

    fn gone(&mut self, cx: &mut Context<'_>, peer: PeerKey) {
        let Some(Visitor { room, member: Some(member), .. }) = self.visitors.remove(&peer) else { return };
        self.keys_by_id.remove(&member.id);
        let Some(members) = self.rooms.get_mut(&room) else { return };
        members.retain(|other| *other != peer);
        let left = about("left", &member.id, &member.username);
        for other in members.iter() {
            cx.send(*other, left.clone());
        }
        if members.is_empty() {
            self.rooms.remove(&room);
        }
        self.tell(cx, Change::Leave, &room, &member.id, &member.username);
    }

    fn tell(&self, cx: &mut Context<'_>, change: Change, room: &str, id: &str, username: &str) {
        if self.rules.webhook.is_none() {
            return;
        }
        let others = self.rooms.get(room).into_iter().flatten().filter_map(|key| self.member(*key));
        let others = others.filter(|other| other.id != id).map(|other| (&*other.username, &*other.id));
        let notice = notice(change, room, (username, id), others, cx.unix);
        cx.effects.push(Effect::Tell(notice));
    }

    fn relay(&self, cx: &mut Context<'_>, sender: PeerKey, room: &str, from: &str, text: &[u8]) {
        let Some((message, to)) = addressed(text) else {
            return cx.send(sender, INVALID_MESSAGE);
        };
        let Some(target) = to.string().and_then(|to| self.in_room(room, &to)) else {
            let mut reply = br#"{"event":"invalid_message","data":{"reason":"unknown_peer","to":"#.to_vec();
            reply.extend_from_slice(to.raw());
            reply.extend_from_slice(b"}}");
            return cx.send(sender, reply);
        };
        cx.send(target, sent_from(text, &message, from));
    }

    /// The member of that id, if it is in that room.
    fn in_room(&self, room: &str, id: &str) -> Option<PeerKey> {
        let key = *self.keys_by_id.get(id)?;
        self.visitors.get(&key).filter(|visitor| visitor.room == room).map(|_| key)
    }

    fn member(&self, key: PeerKey) -> Option<&Member> {
        self.visitors.get(&key)?.member.as_ref()
    }

    fn why_full(&self, room: &str) -> Option<&'static str> {
        let members = self.rooms.get(room);
        if self.max_peers > 0 && members.is_some_and(|members| members.len() >= self.max_peers) {
            return Some("the room is full");
        }
        (self.max_rooms > 0 && members.is_none() && self.rooms.len() >= self.max_rooms)
            .then_some("there are as many rooms as there may be")
    }

    /// Ten random bytes make two that are equal unthinkable; the loop makes it impossible.
    fn fresh_id(&self, cx: &mut Context<'_>) -> String {
        loop {
            let id = BASE64_STANDARD.encode(cx.random::<10>());
            if !self.keys_by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

impl Protocol for WebrtcServer {
    fn keepalive(&self) -> Keepalive {
        Keepalive {
            ping: None,
            silence: self.rules.idle_timeout,
            close_code: 1000,
            write_timeout: WRITE_TIMEOUT,
        }
    }

    fn open(&mut self, cx: &mut Context<'_>, peer: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal> {
        let room = room_in(knock.rest).ok_or(Refusal::NotFound)?;
        if let Some(reason) = self.why_full(&room) {
            return Err(Refusal::Full(reason));
        }
        self.visitors.insert(peer, Visitor { room, client: knock.client, member: None });
        cx.effects.push(Effect::Deadline(Some(cx.now + self.rules.auth_timeout)));
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, peer: PeerKey, input: Input) {
        match input {
            Input::Text(text) => self.text(cx, peer, &text),
            Input::Binary(_) => {}
            Input::Deadline => cx.close(peer, 1000, ""),
            Input::Answer(answer) => self.answered(cx, peer, answer),
            Input::Gone(_) => self.gone(cx, peer),
        }
    }

    fn renew(&mut self, rules: &RoomRules, limits: &RoomLimits) {
        if let RoomRules::WebrtcServer(rules) = rules {
            self.rules = rules.clone();
        }
        self.max_peers = limits.peers;
        self.max_rooms = limits.rooms;
    }

    fn size(&self) -> Size {
        Size { rooms: self.rooms.len(), people: self.keys_by_id.len() }
    }

    fn rooms(&self) -> Vec<Room> {
        let person = |key: &PeerKey| {
            let member = self.member(*key)?;
            Some(Person { key: *key, id: member.id.clone(), name: member.username.clone() })
        };
        let room = |(name, members): (&String, &Vec<PeerKey>)| Room {
            name: name.clone(),
            people: members.iter().filter_map(person).collect(),
        };
        self.rooms.iter().map(room).collect()
    }

    fn publish(&mut self, cx: &mut Context<'_>, room: &str, event: &ServerEvent) -> Option<usize> {
        let text = of_server(event);
        let members = self.rooms.get(room).map_or(&[][..], Vec::as_slice);
        for member in members {
            cx.send(*member, text.clone());
        }
        Some(members.len())
    }

    fn send(&mut self, cx: &mut Context<'_>, id: &str, event: &ServerEvent) -> bool {
        let Some(key) = self.keys_by_id.get(id) else { return false };
        cx.send(*key, of_server(event));
        true
    }
}

/// Asks whether this is who it says; every fault is answered alike.
fn authenticate(cx: &mut Context<'_>, peer: PeerKey, visitor: &Visitor, text: &[u8]) {
    match credentials(text) {
        Some((username, password)) => cx.effects.push(Effect::Ask(Question::Login {
            username,
            password,
            room: visitor.room.clone(),
            client: visitor.client,
        })),
        None => cx.send(peer, UNAUTHORIZED),
    }
}

fn credentials(text: &[u8]) -> Option<(String, String)> {
    let message = json_edit::whole_value(text).ok()?;
    let event = message.member("event")?.string()?;
    let data = message.member("data").filter(|_| event == "authenticate")?;
    let text_of = |key| Some(data.member(key)?.string()?.into_owned());
    Some((text_of("username")?, text_of("password")?))
}

/// A message that may be relayed, and its `to`: an object in which `event` and `to` are texts.
fn addressed(text: &[u8]) -> Option<(Value<'_>, Value<'_>)> {
    let message = json_edit::whole_value(text).ok()?;
    let is_text = |value: &Value<'_>| value.kind() == Kind::String;
    message.member("event").filter(is_text)?;
    let to = message.member("to").filter(is_text)?;
    Some((message, to))
}

/// The message with `"from":…` in place of its first `to` or `from`, and without any further one.
fn sent_from(text: &[u8], message: &Value<'_>, from: &str) -> Bytes {
    let mut edits = Edits::default();
    let mut own = [&b"\"from\":"[..], &quote(from)].concat();
    let mut end_of_last = 0;
    for (key, value) in message.placed_members() {
        let (start, end) = (key.span().start, value.span().end);
        if key.string().is_some_and(|key| key == "to" || key == "from") {
            match std::mem::take(&mut own) {
                further if further.is_empty() => edits.replace(end_of_last..end, Vec::new()),
                first => edits.replace(start..end, first),
            }
        }
        end_of_last = end;
    }
    edits.apply(text).into()
}

fn about(event: &str, id: &str, username: &str) -> Bytes {
    let username = String::from_utf8(quote(username)).unwrap_or_default();
    format!(r#"{{"event":"{event}","data":{{"peer_id":"{id}","username":{username}}}}}"#).into()
}

fn of_server(event: &ServerEvent) -> Bytes {
    let mut text = br#"{"event":"#.to_vec();
    text.extend_from_slice(&quote(&event.event));
    if let Some(data) = &event.data {
        text.extend_from_slice(br#","data":"#);
        text.extend_from_slice(data);
    }
    text.push(b'}');
    text.into()
}

/// The room in what follows the route's prefix: one segment that is not empty.
fn room_in(rest: &str) -> Option<String> {
    let segment = rest.strip_prefix('/').unwrap_or(rest);
    let room = query::decoded(segment).filter(|_| !segment.contains('/'))?;
    (!room.is_empty()).then_some(room)
}

#[cfg(test)]
#[path = "webrtc_server_tests.rs"]
mod tests;
