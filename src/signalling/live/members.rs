//! \[pure\] Who is in which room, who lost the connection, and who leaves.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::envelope::{self, Object};
use super::published::{self, Of, size};
use super::{Live, MAX_UNSENT, MAX_UNSENT_BYTES, Member, Presence, SocketId, Visitor, configuration};
use crate::signalling::protocol::{Context, Effect};

impl Live {
    /// Sixteen random bytes make two that are equal unthinkable; the loop makes it impossible.
    pub(super) fn fresh_id(&self, cx: &mut Context<'_>) -> SocketId {
        loop {
            let id = cx.random::<16>().iter().fold(String::with_capacity(32), |mut id, byte| {
                let _ = write!(id, "{byte:02X}");
                id
            });
            if !self.members.contains_key(&id) {
                return id;
            }
        }
    }

    /// Says something to somebody; what cannot be said now waits. False: there is no place for more to wait.
    pub(super) fn tell(&mut self, cx: &mut Context<'_>, id: &SocketId, text: Bytes) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        match &mut member.place {
            Presence::Here(peer) => cx.send(*peer, text),
            Presence::Lost { unsent, bytes, .. } => {
                // Beyond the bound it gets nothing more; what came first explains most.
                if unsent.len() >= MAX_UNSENT || *bytes + text.len() > MAX_UNSENT_BYTES {
                    return false;
                }
                *bytes += text.len();
                unsent.push(text);
            }
        }
        true
    }

    pub(super) fn tell_all(&mut self, cx: &mut Context<'_>, ids: &[SocketId], text: &Bytes) {
        for id in ids {
            self.tell(cx, id, text.clone());
        }
    }

    /// Those in the room of somebody, without it.
    pub(super) fn others(&self, id: &SocketId) -> Vec<SocketId> {
        let room = self.members.get(id).and_then(|member| self.rooms.get(&member.room));
        room.into_iter().flatten().filter(|other| *other != id).cloned().collect()
    }

    /// How somebody is named as the sender of something.
    pub(super) fn session(&self, id: &SocketId) -> Object {
        published::session(id, self.members.get(id).map_or("", |member| &*member.user))
    }

    pub(super) fn orientation_of(&self, id: &SocketId) -> Option<Bytes> {
        let about = &self.members.get(id)?.about;
        Some(envelope::event("eventOrientationChange", about.orientation_of(self.session(id))))
    }

    pub(super) fn media_for(&self, others: usize) -> Object {
        configuration::user_media(&self.rules.video, others)
    }

    /// Somebody has lost the connection and may come back; the others see nothing of it.
    pub(super) fn lost(&mut self, cx: &Context<'_>, id: &SocketId, unsent: Vec<Bytes>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let bytes = unsent.iter().map(Bytes::len).sum();
        member.place = Presence::Lost { since: cx.now, unsent, bytes };
    }

    pub(super) fn give_up_lost(&mut self, cx: &mut Context<'_>) {
        let grace: Duration = self.rules.grace;
        let is_over = |member: &Member| match member.place {
            Presence::Lost { since, .. } => cx.now.saturating_duration_since(since) >= grace,
            Presence::Here(_) => false,
        };
        let over: Vec<SocketId> =
            self.members.iter().filter(|(_, member)| is_over(member)).map(|(id, _)| id.clone()).collect();
        for id in over {
            self.leave(cx, &id);
        }
    }

    /// The operator takes somebody out who has lost the connection; false: there is nobody like that.
    pub(super) fn evict(&mut self, cx: &mut Context<'_>, id: &SocketId) -> bool {
        let is_lost = |member: &Member| matches!(member.place, Presence::Lost { .. });
        let is_there = self.members.get(id).is_some_and(is_lost);
        if is_there {
            self.leave(cx, id);
        }
        is_there
    }

    pub(super) fn leave(&mut self, cx: &mut Context<'_>, id: &SocketId) {
        let others = self.others(id);
        let Some(member) = self.members.get(id) else { return };
        let (room, user) = (member.room.clone(), member.user.clone());
        self.hang_up(cx, id);
        self.members.remove(id);
        match self.rooms.get_mut(&room) {
            Some(ids) if ids.len() > 1 => ids.retain(|other| other != id),
            _ => drop(self.rooms.remove(&room)),
        }
        let left = Object::new().text("roomId", &room).number("roomSize", size(others.len()));
        let left = left.text("socketId", id).text("userId", &user);
        self.tell_all(cx, &others, &envelope::event("eventLeave", left));
        let configuration = self.media_for(others.len().saturating_sub(1));
        self.tell_all(cx, &others, &envelope::event("eventUserMediaConfiguration", configuration));
        let of = Of { room: &room, room_size: others.len(), socket_id: id, user_id: &user };
        cx.effects.push(Effect::Tell(published::left(of)));
    }

    /// A connection ended while Janus was still asked whether its owner may come in.
    pub(super) fn forget_joining(&mut self, cx: &mut Context<'_>, visitor: &Visitor) {
        let joining = visitor.pending.as_ref().and_then(|pending| pending.member.clone());
        let joining = joining.filter(|id| self.members.get(id).is_some_and(|member| !member.has_entered));
        if let Some(id) = joining {
            self.hang_up(cx, &id);
            self.members.remove(&id);
        }
    }

    pub(super) fn publish_join(&self, cx: &mut Context<'_>, id: &SocketId, room_size: usize) {
        let Some(member) = self.members.get(id) else { return };
        let of = Of { room: &member.room, room_size, socket_id: id, user_id: &member.user };
        cx.effects.push(Effect::Tell(published::joined(of, &member.about, member.client)));
    }
}
