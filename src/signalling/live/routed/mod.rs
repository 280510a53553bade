//! \[pure\] Somebody's session at Janus in the routed mode: one publisher handle, and a subscriber handle for each other
//! publisher of the room (live.md §9.3); for who asks for it, one more handle by which all sound goes both ways, mixed. It
//! knows nothing of the client's protocol; what comes of a message of Janus is a list of [`Happening`]s.

mod feeds;
mod names;
mod plugin;
mod talk;

use bytes::Bytes;

use super::code::Code;
use super::envelope::Object;
use super::janus::{INVALID_SDP, Kind, Message};
use feeds::Feeds;
use plugin::Plugin;
use talk::{Asked, Talk};

pub(super) use names::{Feed, Janus, Place};

/// Which of a client's PeerConnections is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    /// Its own media.
    Publisher,
    /// Everybody's sound, mixed, and its own.
    Mix,
    /// Somebody else's media.
    Feed(Feed),
}

/// What came of a message of Janus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// In the room; publishing is possible.
    Entered,
    /// The answer to the own offer.
    Answer(Vec<u8>),
    /// Another one's media, or the mix, are offered.
    Offer(Leg, Vec<u8>),
    /// Media flow.
    Up(Leg),
    /// The answer to an offer was taken.
    Started,
    /// A candidate was taken.
    Trickled,
    /// What was asked for last does not work.
    Failed(Code),
    /// The session is over.
    Ended,
}

/// A session at Janus, from the first message on.
#[derive(Debug)]
pub(super) struct Routed {
    place: Place,
    talk: Talk,
    publisher: Option<u64>,
    mixer: Option<u64>,
    feeds: Feeds,
    /// In the room.
    has_entered: bool,
    has_offered: bool,
    /// An offer that came before the room was entered.
    early_offer: Option<Vec<u8>>,
}

impl Routed {
    /// Begins as soon as its messages are sent.
    pub(super) fn begin(place: Place) -> Self {
        let mut talk = Talk::new(place.api_secret.clone());
        talk.ask(Asked::Session, "create", None, Object::new());
        Routed {
            place,
            talk,
            publisher: None,
            mixer: None,
            feeds: Feeds::default(),
            has_entered: false,
            has_offered: false,
            early_offer: None,
        }
    }

    /// What is to be sent to Janus, in order.
    pub(super) fn outgoing(&mut self) -> Vec<Bytes> {
        self.talk.outgoing()
    }

    /// What the client says about one of its PeerConnections: the offer of its own media, else an answer.
    pub(super) fn describe(&mut self, leg: &Leg, jsep: &[u8]) -> Result<(), Code> {
        if *leg == Leg::Publisher {
            return self.publish(jsep);
        }
        let handle = self.handle(leg).ok_or(Code::Session)?;
        let body = match leg {
            Leg::Mix => Object::new().text("request", "configure"),
            _ => Object::new().text("request", "start").raw("room", self.place.room.as_bytes()),
        };
        self.talk.describe(Asked::Start, Some(handle), body, jsep);
        Ok(())
    }

    fn publish(&mut self, jsep: &[u8]) -> Result<(), Code> {
        if std::mem::replace(&mut self.has_offered, true) {
            return Err(Code::AlreadyNegotiated);
        }
        match self.has_entered {
            true => self.configure(jsep),
            false => self.early_offer = Some(jsep.to_vec()),
        }
        Ok(())
    }

    fn configure(&mut self, jsep: &[u8]) {
        let body = Object::new().text("request", "configure").raw("audio", b"true").raw("video", b"true");
        self.talk.describe(Asked::Publish, self.publisher, body, jsep);
    }

    /// A candidate of the client.
    pub(super) fn trickle(&mut self, leg: &Leg, candidate: &[u8]) -> Result<(), Code> {
        let handle = self.handle(leg).ok_or(Code::Session)?;
        let candidate = Object::new().raw("candidate", candidate);
        self.talk.ask(Asked::Trickle, "trickle", Some(handle), candidate);
        Ok(())
    }

    fn handle(&self, leg: &Leg) -> Option<u64> {
        match leg {
            Leg::Publisher => self.publisher,
            Leg::Mix => self.mixer,
            Leg::Feed(feed) => self.feeds.handle(feed),
        }
    }

    /// Whose handle this is.
    fn leg(&self, handle: u64) -> Option<Leg> {
        match Some(handle) {
            own if own == self.publisher => Some(Leg::Publisher),
            mix if mix == self.mixer => Some(Leg::Mix),
            _ => self.feeds.feed_of(handle).map(Leg::Feed),
        }
    }

    /// Janus forgets sessions that are silent for a minute.
    pub(super) fn keep_alive(&mut self) {
        if self.talk.session.is_some() {
            self.talk.tell("keepalive", None, Object::new());
        }
    }

    /// Ends the session; the last one in a room takes it away, and the last one who hears the mix the one of the mix.
    pub(super) fn end(&mut self, is_last: bool, is_last_of_mix: bool) {
        for handle in [self.publisher.filter(|_| is_last), self.mixer.filter(|_| is_last_of_mix)] {
            if handle.is_some() {
                let body = Plugin::destroy(&self.place);
                self.talk.tell("message", handle, Object::new().object("body", body));
            }
        }
        if self.talk.session.is_some() {
            self.talk.tell("destroy", None, Object::new());
        }
    }

    /// Takes in a message of Janus. What is to be sent because of it waits in [`Routed::outgoing`].
    pub(super) fn message(&mut self, text: &[u8]) -> Vec<Happening> {
        let Some(message) = Message::read(text) else { return Vec::new() };
        let leg = message.sender.and_then(|handle| self.leg(handle));
        let happenings = match (self.talk.answered(&message), message.kind, &leg) {
            (Some(asked), ..) => self.answered(asked, &message),
            (None, Kind::Timeout, _) => vec![Happening::Ended],
            (None, _, None) => Vec::new(),
            (None, Kind::WebrtcUp, Some(leg)) => self.up(leg.clone()),
            (None, Kind::HangUp, Some(leg)) => self.hung_up(leg),
            (None, Kind::Event, Some(Leg::Publisher)) if is_destroyed(&message) => vec![Happening::Ended],
            (None, Kind::Event, Some(leg @ Leg::Feed(_))) => offer(leg.clone(), &message),
            _ => Vec::new(),
        };
        if leg == Some(Leg::Publisher) {
            self.feeds.told(&mut self.talk, &self.place.feed, &message);
        }
        happenings
    }

    fn answered(&mut self, asked: Asked, message: &Message<'_>) -> Vec<Happening> {
        if let Some(error) = message.error {
            return self.refused(asked, error).into_iter().collect();
        }
        match asked {
            Asked::Session => {
                self.talk.session = message.made;
                self.talk.attach(Asked::Attach(Plugin::VideoRoom), Plugin::VideoRoom);
            }
            Asked::Attach(of) => {
                *self.seat(of) = message.made;
                self.create_room(of, false);
            }
            Asked::CreateRoom { of, is_again } => self.join(of, is_again),
            Asked::Join { of, .. } => return self.joined(of, message),
            Asked::Publish => {
                return match &message.jsep {
                    Some(jsep) => vec![Happening::Answer(jsep.clone())],
                    None => vec![self.publish_failed(Code::SdpEncode)],
                };
            }
            Asked::AttachFeed(feed) => {
                if let Some(handle) = message.made {
                    self.feeds.subscribe(&mut self.talk, &self.place, feed, handle);
                }
            }
            Asked::Subscribe(feed) => return offer(Leg::Feed(feed), message),
            Asked::Start => return vec![Happening::Started],
            Asked::Trickle => return vec![Happening::Trickled],
        }
        Vec::new()
    }

    fn refused(&mut self, asked: Asked, error: u64) -> Option<Happening> {
        let for_sdp = |other| if error == INVALID_SDP { Code::SdpDecode } else { other };
        let code = match asked {
            Asked::Session => Code::JanusSession,
            Asked::Attach(_) => Code::JanusAttach,
            Asked::CreateRoom { of, is_again } if error == of.room_exists() => {
                self.join(of, is_again);
                return None;
            }
            // The last one who left took the room away after we had seen it.
            Asked::Join { of, is_again: false } if error == of.no_such_room() => {
                self.create_room(of, true);
                return None;
            }
            // Nobody waits for a mix that is offered again.
            Asked::CreateRoom { .. } | Asked::Join { .. } if self.has_entered => return None,
            Asked::CreateRoom { .. } => Code::JanusCreateRoom,
            Asked::Join { .. } => Code::JanusJoin,
            Asked::Publish => return Some(self.publish_failed(for_sdp(Code::JanusConfigure))),
            Asked::AttachFeed(feed) | Asked::Subscribe(feed) => {
                // It left in between, or its next announcement tries again.
                self.feeds.forget(&mut self.talk, &feed);
                return None;
            }
            Asked::Start => for_sdp(Code::JanusStart),
            Asked::Trickle => Code::JanusTrickle,
        };
        Some(Happening::Failed(code))
    }

    fn publish_failed(&mut self, code: Code) -> Happening {
        self.has_offered = false;
        Happening::Failed(code)
    }

    /// Where the handle of a plugin's room is kept.
    fn seat(&mut self, of: Plugin) -> &mut Option<u64> {
        match of {
            Plugin::VideoRoom => &mut self.publisher,
            Plugin::AudioBridge => &mut self.mixer,
        }
    }

    fn create_room(&mut self, of: Plugin, is_again: bool) {
        let handle = *self.seat(of);
        self.talk.message(Asked::CreateRoom { of, is_again }, handle, of.create(&self.place));
    }

    fn join(&mut self, of: Plugin, is_again: bool) {
        let handle = *self.seat(of);
        self.talk.message(Asked::Join { of, is_again }, handle, of.join(&self.place));
    }

    /// First the VideoRoom, then the mix where it is wanted: only then the client is in.
    fn joined(&mut self, of: Plugin, message: &Message<'_>) -> Vec<Happening> {
        match of {
            Plugin::VideoRoom => {
                self.feeds.entered(message);
                if !self.place.is_mixed {
                    return self.entered();
                }
                self.talk.attach(Asked::Attach(Plugin::AudioBridge), Plugin::AudioBridge);
                Vec::new()
            }
            Plugin::AudioBridge => {
                let offer = offer(Leg::Mix, message);
                match offer.is_empty() {
                    true if self.has_entered => Vec::new(),
                    true => vec![Happening::Failed(Code::SdpEncode)],
                    false => [self.entered(), offer].concat(),
                }
            }
        }
    }

    fn entered(&mut self) -> Vec<Happening> {
        if std::mem::replace(&mut self.has_entered, true) {
            return Vec::new();
        }
        match self.early_offer.take() {
            Some(jsep) => {
                self.configure(&jsep);
                Vec::new()
            }
            None => vec![Happening::Entered],
        }
    }

    fn up(&mut self, leg: Leg) -> Vec<Happening> {
        if leg == Leg::Publisher {
            self.feeds.want(&mut self.talk);
        }
        vec![Happening::Up(leg)]
    }

    /// The publisher may offer again; the mix is.
    fn hung_up(&mut self, leg: &Leg) -> Vec<Happening> {
        match leg {
            Leg::Publisher => self.has_offered = false,
            Leg::Mix => self.join(Plugin::AudioBridge, false),
            Leg::Feed(_) => {}
        }
        Vec::new()
    }
}

/// Also without being asked for, such as when a publisher adds a stream.
fn offer(leg: Leg, message: &Message<'_>) -> Vec<Happening> {
    message.jsep.iter().map(|jsep| Happening::Offer(leg.clone(), jsep.clone())).collect()
}

/// The operator of Janus took the room away.
fn is_destroyed(message: &Message<'_>) -> bool {
    message.said("videoroom").and_then(|it| it.string()).as_deref() == Some("destroyed")
}

#[cfg(test)]
mod tests;
