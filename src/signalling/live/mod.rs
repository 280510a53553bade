//! \[pure\] heytribe's `live-webrtcsignaling` (spec: live.md): people join rooms with a bearer and tell each other what they
//! need to connect, directly (p2p) or by a Janus VideoRoom that the edge uses in their names (routed).
//!
//! Somebody is more than a connection here: whoever loses it has some time to come back to the same place. So members
//! have an id of their own, and what is said to one without a connection waits.

mod about;
mod bearer;
mod code;
mod configuration;
mod envelope;
mod janus;
mod members;
mod published;
mod relay;
mod requests;
mod routed;
mod server;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::protocol::{
    Answer, Context, Departure, Effect, FromServer, Input, Keepalive, Knock, LinkKey, PeerKey, Person, Ping,
    Protocol, Question, Refusal, Room, Size,
};
use crate::config::{LiveMode, LiveRules, RoomLimits, RoomRules, Secret};
use about::{About, Join};
use bearer::Bearers;
use code::Code;
use routed::{Janus, Routed};

pub(super) use bearer::fuzz as fuzz_bearer;

/// The server asks so often whether a client is there (live.md §7).
const PING_EVERY: Duration = Duration::from_secs(5);
/// A client that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nobody joins is closed; clients join at once.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Rooms are told of so often.
const ROUND: Duration = Duration::from_secs(60);
/// Janus forgets a session after a minute of silence.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Janus answers within milliseconds; after so long it will not.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that may wait behind one that Janus has not answered: a browser's candidates come a dozen at a time.
const MAX_WAITING: usize = 128;
/// What may wait for somebody who lost the connection.
const MAX_UNSENT: usize = 8192;
/// And its size: 64 offers.
const MAX_UNSENT_BYTES: usize = 1 << 20;

/// All rooms of a route.
pub(super) struct Live {
    rules: LiveRules,
    bearers: Bearers,
    janus: Janus,
    max_peers: usize,
    max_rooms: usize,
    visitors: HashMap<PeerKey, Visitor>,
    members: HashMap<SocketId, Member>,
    /// In the order of joining.
    rooms: HashMap<String, Vec<SocketId>>,
    members_by_link: HashMap<LinkKey, SocketId>,
    last_link: u64,
    next_round: Option<Instant>,
    next_keep_alive: Option<Instant>,
}

/// The name of a member: 32 upper-case hexadecimal digits.
type SocketId = String;

/// A connection.
struct Visitor {
    client: IpAddr,
    member: Option<SocketId>,
    /// What is being found out; further requests wait behind it.
    pending: Option<Pending>,
    waiting: VecDeque<Bytes>,
}

/// A request that is not answered yet.
struct Pending {
    action: &'static str,
    since: Instant,
    /// For a `join`.
    join: Option<Box<Join>>,
    /// For an `exchangeSdp` or `exchangeCandidate`: nothing more is needed.
    member: Option<SocketId>,
}

/// Somebody in a room, with or without a connection.
struct Member {
    user: String,
    room: String,
    about: About,
    client: IpAddr,
    place: Presence,
    link: Option<LinkKey>,
    routed: Option<Routed>,
    /// False while Janus has not let it in.
    has_entered: bool,
}

/// Whether somebody can be spoken to.
enum Presence {
    Here(PeerKey),
    Lost { since: Instant, unsent: Vec<Bytes>, bytes: usize },
}

impl Live {
    /// No rooms yet. 0: no limit.
    pub(super) fn new(rules: &LiveRules, limits: &RoomLimits) -> Self {
        Live {
            bearers: bearers(rules),
            janus: janus(rules, limits),
            rules: rules.clone(),
            max_peers: limits.peers,
            max_rooms: limits.rooms,
            visitors: HashMap::new(),
            members: HashMap::new(),
            rooms: HashMap::new(),
            members_by_link: HashMap::new(),
            last_link: 0,
            next_round: None,
            next_keep_alive: None,
        }
    }

    fn mode(&self, room: &str) -> LiveMode {
        self.rules.rooms.get(room).copied().unwrap_or(self.rules.mode)
    }

    fn text(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: Bytes) {
        let Some(visitor) = self.visitors.get_mut(&peer) else { return };
        if visitor.pending.is_none() {
            return self.request(cx, peer, &text);
        }
        visitor.waiting.push_back(text);
        if visitor.waiting.len() > MAX_WAITING {
            cx.close(peer, 1008, "too many requests at a time");
        }
    }

    /// Further requests of this connection wait from now on.
    fn wait(&mut self, cx: &Context<'_>, peer: PeerKey, action: &'static str) -> Option<&mut Pending> {
        let visitor = self.visitors.get_mut(&peer)?;
        let member = visitor.member.clone();
        Some(visitor.pending.insert(Pending { action, since: cx.now, join: None, member }))
    }

    /// Answers the request that is waited for, and goes on with those that wait behind it.
    fn done(&mut self, cx: &mut Context<'_>, peer: PeerKey, result: Result<(), Code>) {
        let Some(pending) = self.visitors.get_mut(&peer).and_then(|visitor| visitor.pending.take()) else {
            return;
        };
        cx.send(
            peer,
            match result {
                Ok(()) => envelope::success(pending.action, None),
                Err(code) => envelope::failure(pending.action, code),
            },
        );
        self.go_on(cx, peer);
    }

    fn go_on(&mut self, cx: &mut Context<'_>, peer: PeerKey) {
        while let Some(visitor) = self.visitors.get_mut(&peer)
            && visitor.pending.is_none()
            && let Some(text) = visitor.waiting.pop_front()
        {
            self.request(cx, peer, &text);
        }
    }

    fn gone(&mut self, cx: &mut Context<'_>, peer: PeerKey, departure: Departure) {
        let Some(visitor) = self.visitors.remove(&peer) else { return };
        self.forget_joining(cx, &visitor);
        let Some(id) = visitor.member else { return };
        let is_here = |member: &Member| matches!(member.place, Presence::Here(key) if key == peer);
        match (self.members.get(&id).is_some_and(is_here), departure) {
            // It has come back by another connection; what this one could not take goes there.
            (false, Departure::Lost(unsent)) => unsent.into_iter().for_each(|text| {
                self.tell(cx, &id, text);
            }),
            (false, _) => {}
            (true, Departure::Lost(unsent)) => self.lost(cx, &id, unsent),
            // A goodbye without a code is one, too: what `close()` of a browser sends.
            (true, Departure::Left(code)) if !matches!(code, 1000 | 1001 | 1005) => {
                self.lost(cx, &id, Vec::new());
            }
            (true, Departure::Left(_) | Departure::Closed) => self.leave(cx, &id),
        }
    }

    /// Every request that has waited too long fails.
    fn time_out(&mut self, cx: &mut Context<'_>) {
        // A question about a bearer has a timeout of its own.
        let is_late = |visitor: &Visitor| {
            let of_janus = visitor.pending.as_ref().filter(|pending| pending.member.is_some());
            of_janus.is_some_and(|it| cx.now.saturating_duration_since(it.since) >= SERVER_TIMEOUT)
        };
        let late: Vec<PeerKey> =
            self.visitors.iter().filter(|(_, visitor)| is_late(visitor)).map(|(key, _)| *key).collect();
        for peer in late {
            self.fail(cx, peer, Code::JanusSession);
        }
    }

    fn round(&mut self, cx: &mut Context<'_>) {
        for (room, ids) in &self.rooms {
            let people: Vec<(&str, &str)> =
                ids.iter().filter_map(|id| Some((&**id, &*self.members.get(id)?.user))).collect();
            cx.effects.push(Effect::Tell(published::live(room, people.into_iter())));
        }
        if self.rules.events.ping {
            for (id, member) in self.members.iter().filter(|(_, member)| member.has_entered) {
                cx.effects.push(Effect::Tell(published::ping(&member.room, id)));
            }
        }
    }
}

impl Protocol for Live {
    fn keepalive(&self) -> Keepalive {
        Keepalive {
            ping: Some(Ping::Every(PING_EVERY)),
            silence: Some(SILENCE),
            close_code: 1001,
            write_timeout: WRITE_TIMEOUT,
        }
    }

    fn open(&mut self, cx: &mut Context<'_>, peer: PeerKey, knock: &Knock<'_>) -> Result<(), Refusal> {
        let visitor = Visitor { client: knock.client, member: None, pending: None, waiting: VecDeque::new() };
        self.visitors.insert(peer, visitor);
        cx.effects.push(Effect::Deadline(Some(cx.now + JOIN_TIMEOUT)));
        Ok(())
    }

    fn handle(&mut self, cx: &mut Context<'_>, peer: PeerKey, input: Input) {
        match input {
            Input::Text(text) => self.text(cx, peer, text),
            Input::Binary(_) => cx.send(peer, envelope::unreadable()),
            Input::Deadline => cx.close(peer, 1008, "expected join or reconnect"),
            Input::Answer(Answer::Bearer { user }) => self.known(cx, peer, user),
            Input::Answer(_) => {}
            Input::Gone(departure) => self.gone(cx, peer, departure),
        }
    }

    fn server(&mut self, cx: &mut Context<'_>, link: LinkKey, said: FromServer) {
        self.server_said(cx, link, said);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.give_up_lost(cx);
        self.time_out(cx);
        if self.next_round.is_none_or(|next| next <= cx.now) {
            self.next_round = Some(cx.now + ROUND);
            self.round(cx);
        }
        if self.next_keep_alive.is_none_or(|next| next <= cx.now) {
            self.next_keep_alive = Some(cx.now + KEEP_ALIVE);
            self.keep_alive(cx);
            self.bring_back_mixes(cx);
        }
    }

    fn evict(&mut self, cx: &mut Context<'_>, id: &str) -> bool {
        Live::evict(self, cx, &id.to_owned())
    }

    fn renew(&mut self, rules: &RoomRules, limits: &RoomLimits) {
        if let RoomRules::Live(rules) = rules {
            self.bearers = bearers(rules);
            self.janus = janus(rules, limits);
            self.rules = (**rules).clone();
        }
        (self.max_peers, self.max_rooms) = (limits.peers, limits.rooms);
    }

    fn size(&self) -> Size {
        Size { rooms: self.rooms.len(), people: self.rooms.values().map(Vec::len).sum() }
    }

    fn rooms(&self) -> Vec<Room> {
        let person = |id: &SocketId| {
            let member = self.members.get(id)?;
            let key = match member.place {
                Presence::Here(key) => key,
                Presence::Lost { .. } => PeerKey(0),
            };
            Some(Person { key, id: id.clone(), name: member.user.clone() })
        };
        let room = |(name, ids): (&String, &Vec<SocketId>)| Room {
            name: name.clone(),
            people: ids.iter().filter_map(person).collect(),
        };
        self.rooms.iter().map(room).collect()
    }
}

fn bearers(rules: &LiveRules) -> Bearers {
    let table = rules.auth.users.iter().map(|(user, bearer)| (bearer.expose(), &**user));
    Bearers::new(rules.jwt_secret.as_ref().map(Secret::expose), table)
}

fn janus(rules: &LiveRules, limits: &RoomLimits) -> Janus {
    let text = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    Janus {
        string_ids: rules.janus.string_ids,
        api_secret: text(&rules.janus.api_secret),
        admin_key: text(&rules.janus.admin_key),
        mixes: rules.janus.audiobridge,
        publishers: if limits.peers == 0 { usize::from(u16::MAX) } else { limits.peers },
    }
}

#[cfg(test)]
mod tests;
