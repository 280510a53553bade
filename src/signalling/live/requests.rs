//! \[pure\] What clients ask for: joining and coming back. What is exchanged between those who are in is in `relay`.

use super::about::Join;
use super::code::Code;
use super::envelope::{self, Object, Request};
use super::published::{self, size};
use super::{Live, LiveMode, Member, Presence, Question, SocketId, Visitor};
use crate::signalling::protocol::{Context, Effect, PeerKey};

impl Live {
    pub(super) fn request(&mut self, cx: &mut Context<'_>, peer: PeerKey, text: &[u8]) {
        let Some(request) = Request::read(text) else { return cx.send(peer, envelope::unreadable()) };
        let Some(visitor) = self.visitors.get(&peer) else { return };
        let result = match (&*request.action, visitor.member.clone()) {
            _ if request.check().is_err() => Err(Code::Json),
            ("join", Some(_)) => Err(Code::AlreadyJoined),
            ("join", None) => self.join(cx, peer, &request),
            ("reconnect", None) => self.reconnect(cx, peer, &request),
            ("reconnect", Some(_)) => Err(Code::AlreadyJoined),
            (_, None) => Err(Code::NotAuthenticated),
            ("exchangeSdp", Some(id)) => self.exchange_sdp(cx, peer, &id, &request),
            ("exchangeCandidate", Some(id)) => self.exchange_candidate(cx, peer, &id, &request),
            ("orientationChange", Some(id)) => self.turned(cx, peer, &id, &request),
            ("sendMessage", Some(id)) => self.send_message(cx, peer, &id, &request),
            ("eventFreeze", Some(id)) => self.froze(cx, &id),
            ("eventCpu", Some(id)) => self.cpu(cx, &id, &request),
            ("eventNetworkChange", Some(id)) => self.network_changed(&id, &request),
            _ => Err(Code::UnknownAction),
        };
        if let Err(code) = result {
            cx.send(peer, envelope::failure(&request.action, code));
        }
    }

    fn join(&mut self, cx: &mut Context<'_>, peer: PeerKey, request: &Request<'_>) -> Result<(), Code> {
        let join = Join::read(request)?;
        if let Some(user) = self.bearers.user(&join.bearer, cx.unix) {
            return self.admit(cx, peer, join, user);
        }
        if self.rules.auth.webhook.is_none() {
            return Err(Code::AuthFailed);
        }
        let client = self.visitors.get(&peer).map(|visitor| visitor.client).ok_or(Code::AuthFailed)?;
        let (bearer, room) = (join.bearer.clone(), join.room.clone());
        if let Some(pending) = self.wait(cx, peer, "join") {
            pending.join = Some(Box::new(join));
        }
        cx.effects.push(Effect::Ask(Question::Bearer { bearer, room, client }));
        Ok(())
    }

    /// The answer to whose bearer it is.
    pub(super) fn known(&mut self, cx: &mut Context<'_>, peer: PeerKey, user: Option<String>) {
        let pending = self.visitors.get_mut(&peer).and_then(|visitor| visitor.pending.take());
        let Some(join) = pending.and_then(|pending| pending.join) else { return };
        let result = user.ok_or(Code::AuthFailed).and_then(|user| self.admit(cx, peer, *join, user));
        if let Err(code) = result {
            cx.send(peer, envelope::failure("join", code));
        }
        self.go_on(cx, peer);
    }

    /// Lets somebody in, in the routed mode by way of Janus.
    fn admit(&mut self, cx: &mut Context<'_>, peer: PeerKey, join: Join, user: String) -> Result<(), Code> {
        self.check_room(&join.room)?;
        let client = self.visitors.get(&peer).map(|visitor| visitor.client).ok_or(Code::AuthFailed)?;
        let id = self.fresh_id(cx);
        let is_routed = self.mode(&join.room) == LiveMode::Routed;
        let member = Member {
            user,
            room: join.room,
            about: join.about,
            client,
            place: Presence::Here(peer),
            link: None,
            routed: None,
            has_entered: false,
        };
        self.members.insert(id.clone(), member);
        if !is_routed {
            self.enter(cx, peer, &id);
            return Ok(());
        }
        self.dial(cx, &id);
        if let Some(pending) = self.wait(cx, peer, "join") {
            pending.member = Some(id);
        }
        Ok(())
    }

    pub(super) fn check_room(&self, room: &str) -> Result<(), Code> {
        match self.rooms.get(room) {
            Some(ids) if self.max_peers > 0 && ids.len() >= self.max_peers => Err(Code::RoomFull),
            None if self.max_rooms > 0 && self.rooms.len() >= self.max_rooms => Err(Code::RoomFull),
            _ => Ok(()),
        }
    }

    /// The newcomer hears how everybody holds the device, the others hear of it, then it hears that it is in.
    pub(super) fn enter(&mut self, cx: &mut Context<'_>, peer: PeerKey, id: &SocketId) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.has_entered = true;
        let room = member.room.clone();
        let others = self.rooms.entry(room.clone()).or_default().clone();
        for other in &others {
            if let Some(event) = self.orientation_of(other) {
                cx.send(peer, event);
            }
        }
        let configuration = envelope::event("eventUserMediaConfiguration", self.media_for(others.len()));
        self.tell_all(cx, &others, &configuration);
        if let Some(event) = self.orientation_of(id) {
            self.tell_all(cx, &others, &event);
        }
        cx.send(peer, envelope::success("join", Some(self.welcome(id, &others))));
        self.rooms.entry(room).or_default().push(id.clone());
        if let Some(visitor) = self.visitors.get_mut(&peer) {
            visitor.member = Some(id.clone());
        }
        cx.effects.push(Effect::Deadline(None));
        self.publish_join(cx, id, others.len() + 1);
    }

    fn welcome(&self, id: &SocketId, others: &[SocketId]) -> Object {
        let user = |id: &SocketId| self.members.get(id).map_or("", |member| &*member.user);
        let sessions: Vec<Object> = others.iter().map(|id| published::session(id, user(id))).collect();
        Object::new()
            .text("socketId", id)
            .text("userId", user(id))
            .number("roomSize", size(others.len() + 1))
            .object("userMediaConfiguration", self.media_for(others.len()))
            .array("sessions", sessions)
    }

    fn reconnect(&mut self, cx: &mut Context<'_>, peer: PeerKey, request: &Request<'_>) -> Result<(), Code> {
        let id = request.text("socketId")?.into_owned();
        let member = self.members.get_mut(&id).filter(|member| member.has_entered);
        let member = member.ok_or(Code::NobodyToReconnect)?;
        let before = std::mem::replace(&mut member.place, Presence::Here(peer));
        let people = self.rooms.get(&member.room).map_or(0, Vec::len);
        let size = Object::new().number("roomSize", size(people));
        cx.send(peer, envelope::success("reconnect", Some(size)));
        match before {
            Presence::Here(old) => {
                self.take_over(old, peer);
                cx.effects.push(Effect::CutOff(old, 1000, "taken over by another connection".into()));
            }
            Presence::Lost { unsent, .. } => unsent.into_iter().for_each(|text| cx.send(peer, text)),
        }
        if let Some(visitor) = self.visitors.get_mut(&peer) {
            visitor.member = Some(id);
        }
        cx.effects.push(Effect::Deadline(None));
        Ok(())
    }

    /// What the old connection still waits for is answered to the new one.
    fn take_over(&mut self, old: PeerKey, new: PeerKey) {
        let Some(Visitor { pending, waiting, .. }) = self.visitors.get_mut(&old) else { return };
        let (pending, mut waiting) = (pending.take(), std::mem::take(waiting));
        if let Some(visitor) = self.visitors.get_mut(&new) {
            visitor.pending = pending;
            waiting.append(&mut visitor.waiting);
            visitor.waiting = waiting;
        }
    }
}
