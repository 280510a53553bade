//! \[pure\] What those in a room tell each other: descriptions, candidates, messages, how the device is held. In the routed
//! mode descriptions and candidates go to Janus instead.

use super::code::Code;
use super::envelope::{self, Object, Request};
use super::janus::description;
use super::published;
use super::{Live, LiveMode, SocketId};
use crate::json_edit::{self, Kind, Value};
use crate::sdp::Description;
use crate::signalling::protocol::{Context, Effect, PeerKey};

/// Whom a client means when it speaks to the media server.
pub(super) const PUBLISHER: &str = "publisher";

impl Live {
    pub(super) fn exchange_sdp(
        &mut self,
        cx: &mut Context<'_>,
        peer: PeerKey,
        id: &SocketId,
        request: &Request<'_>,
    ) -> Result<(), Code> {
        let to = request.text("to")?.into_owned();
        let sdp = request.field("sdp").ok_or(Code::FieldMissing)?;
        let jsep = description(&sdp).ok_or(Code::Json)?;
        let text = sdp.member("sdp").and_then(|sdp| sdp.string()).ok_or(Code::Json)?;
        Description::read(&text).map_err(|_| Code::SdpDecode)?;
        if self.is_routed(id) {
            return self.ask_janus(cx, peer, id, "exchangeSdp", |routed, janus| match &*to {
                PUBLISHER => routed.publish(&jsep),
                to => routed.start(&janus.feed(to), &jsep),
            });
        }
        self.check_target(id, &to)?;
        let data = Object::new().object("from", self.session(id)).raw("sdp", sdp.raw());
        self.tell(cx, &to, envelope::event("eventExchangeSdp", data));
        cx.send(peer, envelope::success("exchangeSdp", None));
        Ok(())
    }

    pub(super) fn exchange_candidate(
        &mut self,
        cx: &mut Context<'_>,
        peer: PeerKey,
        id: &SocketId,
        request: &Request<'_>,
    ) -> Result<(), Code> {
        let to = request.text("to")?.into_owned();
        let candidate =
            candidate(&request.field("candidate").ok_or(Code::FieldMissing)?).ok_or(Code::Json)?;
        if self.is_routed(id) {
            return self.ask_janus(cx, peer, id, "exchangeCandidate", |routed, janus| match &*to {
                PUBLISHER => routed.trickle(None, &candidate),
                to => routed.trickle(Some(&janus.feed(to)), &candidate),
            });
        }
        self.check_target(id, &to)?;
        let data = Object::new().object("from", self.session(id)).raw("candidate", &candidate);
        self.tell(cx, &to, envelope::event("eventExchangeCandidate", data));
        cx.send(peer, envelope::success("exchangeCandidate", None));
        Ok(())
    }

    pub(super) fn send_message(
        &mut self,
        cx: &mut Context<'_>,
        peer: PeerKey,
        id: &SocketId,
        request: &Request<'_>,
    ) -> Result<(), Code> {
        let to = request.text("to")?.into_owned();
        self.check_peer(id, &to)?;
        let message = request.field("message");
        let message = message.as_ref().map_or(&b"null"[..], Value::raw);
        let data = Object::new().object("from", self.session(id)).raw("message", message);
        self.tell(cx, &to, envelope::event("eventMessage", data));
        cx.send(peer, envelope::success("sendMessage", None));
        Ok(())
    }

    pub(super) fn turned(
        &mut self,
        cx: &mut Context<'_>,
        peer: PeerKey,
        id: &SocketId,
        request: &Request<'_>,
    ) -> Result<(), Code> {
        self.members.get_mut(id).ok_or(Code::Session)?.about.turned(request)?;
        cx.send(peer, envelope::success("orientationChange", None));
        if let Some(event) = self.orientation_of(id) {
            let others = self.others(id);
            self.tell_all(cx, &others, &event);
        }
        Ok(())
    }

    pub(super) fn network_changed(&mut self, id: &SocketId, request: &Request<'_>) -> Result<(), Code> {
        self.members.get_mut(id).ok_or(Code::Session)?.about.network_changed(request)
    }

    pub(super) fn froze(&self, cx: &mut Context<'_>, id: &SocketId) -> Result<(), Code> {
        let member = self.members.get(id).ok_or(Code::Session)?;
        self.notify(cx, self.rules.events.freeze, published::freeze(&member.room, id))
    }

    pub(super) fn cpu(&self, cx: &mut Context<'_>, id: &SocketId, request: &Request<'_>) -> Result<(), Code> {
        let member = self.members.get(id).ok_or(Code::Session)?;
        let used = request.number("cpuUsed")?;
        self.notify(cx, self.rules.events.cpu, published::cpu(&member.room, id, used))
    }

    /// Publishes a notice of a client, if such are wanted and there is a place for it.
    fn notify(
        &self,
        cx: &mut Context<'_>,
        is_wanted: bool,
        notice: crate::signalling::protocol::Notice,
    ) -> Result<(), Code> {
        if !is_wanted {
            return Ok(());
        }
        if cx.notices_are_full {
            return Err(Code::EventsFull);
        }
        cx.effects.push(Effect::Tell(notice));
        Ok(())
    }

    fn is_routed(&self, id: &SocketId) -> bool {
        self.members.get(id).is_some_and(|member| self.mode(&member.room) == LiveMode::Routed)
    }

    /// Somebody else, or the media server that there is none of in this mode.
    fn check_target(&self, id: &SocketId, to: &str) -> Result<(), Code> {
        if to == PUBLISHER { Err(Code::Network) } else { self.check_peer(id, to) }
    }

    fn check_peer(&self, id: &SocketId, to: &str) -> Result<(), Code> {
        let room_of = |id: &str| self.members.get(id).filter(|it| it.has_entered).map(|it| &it.room);
        if room_of(to).is_some() && room_of(to) == room_of(id) { Ok(()) } else { Err(Code::NoSuchPeer) }
    }
}

/// A candidate as an object: it comes as one, or as a text that holds one.
fn candidate(value: &Value<'_>) -> Option<Vec<u8>> {
    match value.kind() {
        Kind::Object => Some(value.raw().to_vec()),
        Kind::String => {
            let text = value.string()?;
            let inner = json_edit::whole_value(text.as_bytes()).ok()?;
            (inner.kind() == Kind::Object).then(|| inner.raw().to_vec())
        }
        _ => None,
    }
}
