//! \[pure\] Between those in a room and their sessions at Janus: what Janus says becomes what the client is told.

use super::code::Code;
use super::envelope::{self, Object};
use super::published;
use super::relay::{MIXER, PUBLISHER};
use super::routed::{Feed, Happening, Leg, Routed};
use super::{Live, Member, Presence, SocketId};
use crate::signalling::protocol::{Context, Effect, FromServer, LinkKey, PeerKey};

impl Live {
    /// Begins a session at Janus for somebody.
    pub(super) fn dial(&mut self, cx: &mut Context<'_>, id: &SocketId) {
        self.last_link += 1;
        let link = LinkKey(self.last_link);
        let is_mixed = self.is_mixed(id);
        let Some(member) = self.members.get_mut(id) else { return };
        member.link = Some(link);
        member.routed = Some(Routed::begin(self.janus.place(&member.room, id, &member.user, is_mixed)));
        cx.effects.push(Effect::Dial(link, member.room.clone()));
        self.members_by_link.insert(link, id.clone());
        self.flush(cx, id);
    }

    /// Begins a session at Janus anew where the one before has ended.
    pub(super) fn redial(&mut self, cx: &mut Context<'_>, id: &SocketId) {
        if self.members.get(id).is_some_and(|member| member.routed.is_none()) {
            self.dial(cx, id);
        }
    }

    /// Hands something to somebody's session at Janus; its answer is waited for.
    pub(super) fn ask_janus(
        &mut self,
        cx: &mut Context<'_>,
        peer: PeerKey,
        id: &SocketId,
        action: &'static str,
        ask: impl FnOnce(&mut Routed) -> Result<(), Code>,
    ) -> Result<(), Code> {
        let member = self.members.get_mut(id).ok_or(Code::Session)?;
        let routed = member.routed.as_mut().ok_or(Code::Network)?;
        ask(routed)?;
        self.flush(cx, id);
        self.wait(cx, peer, action);
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>, id: &SocketId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if let (Some(link), Some(routed)) = (member.link, &mut member.routed) {
            cx.effects.extend(routed.outgoing().into_iter().map(|text| Effect::ToServer(link, text)));
        }
    }

    pub(super) fn server_said(&mut self, cx: &mut Context<'_>, link: LinkKey, said: FromServer) {
        let Some(id) = self.members_by_link.get(&link).cloned() else { return };
        match said {
            FromServer::Text(text) => {
                let routed = self.members.get_mut(&id).and_then(|member| member.routed.as_mut());
                let happenings = routed.map(|routed| routed.message(&text)).unwrap_or_default();
                self.flush(cx, &id);
                happenings.into_iter().for_each(|happening| self.happened(cx, &id, happening));
            }
            FromServer::Gone => self.unlinked(cx, &id, Code::Network),
        }
    }

    fn happened(&mut self, cx: &mut Context<'_>, id: &SocketId, happening: Happening) {
        match happening {
            Happening::Entered => self.let_in(cx, id),
            Happening::Answer(jsep) => {
                self.describe(cx, id, published::session(PUBLISHER, ""), &jsep);
                self.finish(cx, id, Ok(()));
            }
            Happening::Started | Happening::Trickled => self.finish(cx, id, Ok(())),
            Happening::Failed(code) => self.finish(cx, id, Err(code)),
            Happening::Offer(leg, jsep) => {
                if let Some(from) = self.owner(id, &leg) {
                    self.describe(cx, id, from, &jsep);
                }
            }
            Happening::Up(leg) => {
                if let Some(from) = self.owner(id, &leg) {
                    self.is_up(cx, id, from);
                }
            }
            Happening::Ended => self.unlinked(cx, id, Code::JanusSession),
        }
    }

    fn let_in(&mut self, cx: &mut Context<'_>, id: &SocketId) {
        // Who was in before its session at Janus was begun anew is in already.
        let Some(member) = self.members.get(id).filter(|member| !member.has_entered) else { return };
        let Presence::Here(peer) = member.place else { return };
        // Others may have come in while Janus was asked.
        if let Err(code) = self.check_room(&member.room) {
            return self.finish(cx, id, Err(code));
        }
        if let Some(visitor) = self.visitors.get_mut(&peer) {
            visitor.pending = None;
        }
        self.enter(cx, peer, id);
        self.go_on(cx, peer);
    }

    /// From whom the media of `id` on this PeerConnection are.
    fn owner(&self, id: &SocketId, leg: &Leg) -> Option<Object> {
        match leg {
            Leg::Publisher => Some(published::session(PUBLISHER, "")),
            Leg::Mix => Some(published::session(MIXER, "")),
            Leg::Feed(feed) => self.publisher(id, feed),
        }
    }

    /// Who in the room of `id` publishes this.
    fn publisher(&self, id: &SocketId, feed: &Feed) -> Option<Object> {
        let others = self.others(id);
        others.iter().find(|other| self.janus.feed(other) == *feed).map(|other| self.session(other))
    }

    fn describe(&mut self, cx: &mut Context<'_>, id: &SocketId, from: Object, jsep: &[u8]) {
        let data = Object::new().object("from", from).raw("sdp", jsep);
        self.tell(cx, id, envelope::event("eventExchangeSdp", data));
    }

    fn is_up(&mut self, cx: &mut Context<'_>, id: &SocketId, from: Object) {
        self.tell(cx, id, envelope::event("eventWebrtcUp", Object::new().object("from", from)));
    }

    /// Answers what somebody waits for; one who waits to be let in is not.
    fn finish(&mut self, cx: &mut Context<'_>, id: &SocketId, result: Result<(), Code>) {
        let Some(member) = self.members.get(id) else { return };
        let place = match member.place {
            Presence::Here(peer) => Some(peer),
            Presence::Lost { .. } => None,
        };
        if !member.has_entered {
            self.hang_up(cx, id);
            self.members.remove(id);
        }
        if let Some(peer) = place {
            self.done(cx, peer, result);
        }
    }

    /// What a connection waits for will not come.
    pub(super) fn fail(&mut self, cx: &mut Context<'_>, peer: PeerKey, code: Code) {
        let pending = self.visitors.get(&peer).and_then(|visitor| visitor.pending.as_ref());
        match pending.and_then(|pending| pending.member.clone()) {
            Some(id) => self.finish(cx, &id, Err(code)),
            None => self.done(cx, peer, Err(code)),
        }
    }

    /// The session at Janus is gone: what is waited for fails, and who publishes again begins a new one.
    fn unlinked(&mut self, cx: &mut Context<'_>, id: &SocketId, code: Code) {
        self.hang_up(cx, id);
        let waiting = self.members.get(id).and_then(|member| match member.place {
            Presence::Here(peer) => Some(peer),
            Presence::Lost { .. } => None,
        });
        if let Some(peer) = waiting
            && self.visitors.get(&peer).is_some_and(|visitor| visitor.pending.is_some())
        {
            self.fail(cx, peer, code);
        }
    }

    /// Ends somebody's session at Janus, and the room there if nobody else is in it or about to come in.
    pub(super) fn hang_up(&mut self, cx: &mut Context<'_>, id: &SocketId) {
        let Some(member) = self.members.get(id).filter(|member| member.routed.is_some()) else { return };
        let others = self.members.iter().filter(|(other, it)| *other != id && it.room == member.room);
        let (mut is_last, mut is_last_of_mix) = (true, true);
        for (_, other) in others {
            is_last = false;
            is_last_of_mix &= !other.about.wants_mix;
        }
        if let Some(routed) = self.members.get_mut(id).and_then(|member| member.routed.as_mut()) {
            routed.end(is_last, is_last_of_mix);
        }
        self.flush(cx, id);
        let Some(member) = self.members.get_mut(id) else { return };
        member.routed = None;
        if let Some(link) = member.link.take() {
            self.members_by_link.remove(&link);
            cx.effects.push(Effect::HangUp(link));
        }
    }

    /// Who only hears the mix offers nothing by which a session that ended could begin anew.
    pub(super) fn bring_back_mixes(&mut self, cx: &mut Context<'_>) {
        let is_left = |member: &Member| member.has_entered && member.routed.is_none();
        let left =
            self.members.iter().filter(|(id, it)| is_left(it) && self.is_mixed(id) && self.is_routed(id));
        for id in left.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.dial(cx, &id);
        }
    }

    pub(super) fn keep_alive(&mut self, cx: &mut Context<'_>) {
        let linked: Vec<SocketId> = self.members_by_link.values().cloned().collect();
        for id in linked {
            if let Some(routed) = self.members.get_mut(&id).and_then(|member| member.routed.as_mut()) {
                routed.keep_alive();
            }
            self.flush(cx, &id);
        }
    }
}
