//! \[pure\] What those in a room tell each other: descriptions, candidates, messages, how the device is held. In the routed
//! mode descriptions and candidates go to Janus instead.

use super::code::Code;
use super::envelope::{self, Object, Request};
use super::janus::description;
use super::published;
use super::routed::Leg;
use super::{Live, LiveMode, SocketId};
use crate::json_edit::{self, Kind, Value};
use crate::sdp::Description;
use crate::signalling::protocol::{Context, Effect, PeerKey};

/// Whom a client means when it speaks to the media server.
pub(super) const PUBLISHER: &str = "publisher";
/// Who offers the sound of all, mixed; and the key of `join` by which a client asks for it.
pub(super) const MIXER: &str = "mcu";

/// A request whose `value` goes on to somebody as an event.
struct Relayed<'a> {
    action: &'static str,
    event: &'static str,
    key: &'static str,
    value: &'a [u8],
}

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
            let leg = self.leg(id, &to)?;
            // The mix is offered by the server.
            if leg == Leg::Mix && sdp.member("type").and_then(|it| it.string()).as_deref() == Some("offer") {
                return Err(Code::AlreadyNegotiated);
            }
            if leg == Leg::Publisher {
                self.redial(cx, id);
            }
            return self.ask_janus(cx, peer, id, "exchangeSdp", |routed| routed.describe(&leg, &jsep));
        }
        self.check_target(id, &to)?;
        let sdp = Relayed { action: "exchangeSdp", event: "eventExchangeSdp", key: "sdp", value: sdp.raw() };
        self.relay(cx, peer, (id, &to), &sdp)
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
            let leg = self.leg(id, &to)?;
            return self
                .ask_janus(cx, peer, id, "exchangeCandidate", |routed| routed.trickle(&leg, &candidate));
        }
        self.check_target(id, &to)?;
        let candidate = Relayed {
            action: "exchangeCandidate",
            event: "eventExchangeCandidate",
            key: "candidate",
            value: &candidate,
        };
        self.relay(cx, peer, (id, &to), &candidate)
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
        let value = message.as_ref().map_or(&b"null"[..], Value::raw);
        let message = Relayed { action: "sendMessage", event: "eventMessage", key: "message", value };
        self.relay(cx, peer, (id, &to), &message)
    }

    /// To one, from another, whose connection is `peer`: first it is told, then answered.
    fn relay(
        &mut self,
        cx: &mut Context<'_>,
        peer: PeerKey,
        (from, to): (&SocketId, &SocketId),
        what: &Relayed<'_>,
    ) -> Result<(), Code> {
        let data = Object::new().object("from", self.session(from)).raw(what.key, what.value);
        if !self.tell(cx, to, envelope::event(what.event, data)) {
            return Err(Code::Event);
        }
        cx.send(peer, envelope::success(what.action, None));
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

    pub(super) fn is_routed(&self, id: &SocketId) -> bool {
        self.members.get(id).is_some_and(|member| self.mode(&member.room) == LiveMode::Routed)
    }

    /// Which PeerConnection of `id` is meant by whom it speaks to.
    fn leg(&self, id: &SocketId, to: &str) -> Result<Leg, Code> {
        match to {
            PUBLISHER => Ok(Leg::Publisher),
            MIXER if self.is_mixed(id) => Ok(Leg::Mix),
            to => self.check_peer(id, to).map(|()| Leg::Feed(self.janus.feed(to))),
        }
    }

    /// Whether somebody hears the others mixed.
    pub(super) fn is_mixed(&self, id: &SocketId) -> bool {
        self.janus.mixes && self.members.get(id).is_some_and(|member| member.about.wants_mix)
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
