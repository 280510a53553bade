//! \[pure\] Somebody's session at Janus in the routed mode: one publisher handle, and a subscriber handle for each other
//! publisher of the room (live.md §9.3). It knows nothing of the client's protocol; what comes of a message of Janus is
//! a list of [`Happening`]s.

use std::collections::HashMap;

use bytes::Bytes;

use super::code::Code;
use super::envelope::Object;
use super::janus::{INVALID_SDP, Kind, Message, NO_SUCH_ROOM, PLUGIN, ROOM_EXISTS, number_of};
use crate::json_edit::{Value, quote};

/// Publishers that are subscribed to at a time. A room has eight unless configured otherwise.
const MAX_FEEDS: usize = 256;

/// How Janus names the room and who is in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The room's id, as JSON.
    room: String,
    /// The own id in it, as JSON.
    feed: Feed,
    display: String,
    publishers: usize,
    api_secret: Option<String>,
    admin_key: Option<String>,
}

/// How Janus is set up, as far as it concerns everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Janus {
    pub(super) string_ids: bool,
    pub(super) api_secret: Option<String>,
    pub(super) admin_key: Option<String>,
    /// Most publishers of a room.
    pub(super) publishers: usize,
}

impl Janus {
    pub(super) fn place(&self, room: &str, socket_id: &str, user_id: &str) -> Place {
        Place {
            room: self.id(room),
            feed: self.feed(socket_id),
            display: user_id.to_owned(),
            publishers: self.publishers,
            api_secret: self.api_secret.clone(),
            admin_key: self.admin_key.clone(),
        }
    }

    /// The publisher id of somebody.
    pub(super) fn feed(&self, socket_id: &str) -> Feed {
        Feed(self.id(socket_id).into())
    }

    fn id(&self, text: &str) -> String {
        match self.string_ids {
            true => String::from_utf8_lossy(&quote(text)).into_owned(),
            false => number_of(text).to_string(),
        }
    }
}

/// A publisher's id in a room, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Feed(Box<str>);

impl Feed {
    fn of(value: &Value<'_>) -> Self {
        Feed(String::from_utf8_lossy(value.raw()).into())
    }
}

/// What came of a message of Janus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// In the room; publishing is possible.
    Entered,
    /// The answer to the own offer.
    Answer(Vec<u8>),
    /// Media of the client flow.
    PublisherUp,
    /// Another one's media are offered.
    Offer(Feed, Vec<u8>),
    /// Another one's media flow.
    FeedUp(Feed),
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
    session: Option<u64>,
    publisher: Option<u64>,
    /// As JSON.
    private_id: Option<String>,
    /// In the room.
    has_entered: bool,
    has_offered: bool,
    /// An offer that came before the room was entered.
    early_offer: Option<Vec<u8>>,
    is_up: bool,
    /// Each publisher that is known, with the handle that subscribes to it.
    feeds: HashMap<Feed, Option<u64>>,
    sent: HashMap<u64, Sent>,
    last_transaction: u64,
    out: Vec<Bytes>,
}

/// What a transaction asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Session,
    Attach,
    CreateRoom { is_again: bool },
    Join { is_again: bool },
    Publish,
    AttachFeed(Feed),
    Subscribe(Feed),
    Start,
    Trickle,
}

impl Routed {
    /// Begins as soon as its messages are sent.
    pub(super) fn begin(place: Place) -> Self {
        let mut routed = Routed {
            place,
            session: None,
            publisher: None,
            private_id: None,
            has_entered: false,
            has_offered: false,
            early_offer: None,
            is_up: false,
            feeds: HashMap::new(),
            sent: HashMap::new(),
            last_transaction: 0,
            out: Vec::new(),
        };
        routed.send(Sent::Session, "create", None, Object::new());
        routed
    }

    /// What is to be sent to Janus, in order.
    pub(super) fn outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.out)
    }

    /// The client's offer.
    pub(super) fn publish(&mut self, jsep: &[u8]) -> Result<(), Code> {
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
        let handle = self.publisher;
        let body = Object::new().text("request", "configure").raw("audio", b"true").raw("video", b"true");
        self.send(Sent::Publish, "message", handle, Object::new().object("body", body).raw("jsep", jsep));
    }

    /// The client's answer to what a publisher sends.
    pub(super) fn start(&mut self, feed: &Feed, jsep: &[u8]) -> Result<(), Code> {
        let handle = self.feeds.get(feed).copied().flatten().ok_or(Code::Session)?;
        let body = Object::new().text("request", "start").raw("room", self.place.room.as_bytes());
        self.send(Sent::Start, "message", Some(handle), Object::new().object("body", body).raw("jsep", jsep));
        Ok(())
    }

    /// A candidate, for the own offer or, with a feed, for the answer to it.
    pub(super) fn trickle(&mut self, feed: Option<&Feed>, candidate: &[u8]) -> Result<(), Code> {
        let handle = match feed {
            None => self.publisher,
            Some(feed) => self.feeds.get(feed).copied().flatten(),
        };
        let handle = handle.ok_or(Code::Session)?;
        self.send(Sent::Trickle, "trickle", Some(handle), Object::new().raw("candidate", candidate));
        Ok(())
    }

    /// Janus forgets sessions that are silent for a minute.
    pub(super) fn keep_alive(&mut self) {
        if self.session.is_some() {
            self.push("keepalive", None, Object::new());
        }
    }

    /// Ends the session; the last one in a room takes it away.
    pub(super) fn end(&mut self, is_last: bool) {
        if let (true, Some(handle)) = (is_last, self.publisher) {
            let body = Object::new().text("request", "destroy").raw("room", self.place.room.as_bytes());
            self.push("message", Some(handle), Object::new().object("body", body));
        }
        if self.session.is_some() {
            self.push("destroy", None, Object::new());
        }
    }

    /// Takes in a message of Janus. What is to be sent because of it waits in [`Routed::outgoing`].
    pub(super) fn message(&mut self, text: &[u8]) -> Vec<Happening> {
        let Some(message) = Message::read(text) else { return Vec::new() };
        let mut happenings = Vec::new();
        let awaited = message.transaction.filter(|_| self.is_final(&message));
        match (awaited.and_then(|transaction| self.sent.remove(&transaction)), message.kind) {
            (Some(sent), _) => happenings.extend(self.answered(sent, &message)),
            (None, Kind::WebrtcUp) => happenings.extend(self.up(message.sender)),
            (None, Kind::HangUp) => self.hung_up(message.sender),
            (None, Kind::Timeout) => happenings.push(Happening::Ended),
            (None, Kind::Event) if message.sender != self.publisher => {
                happenings.extend(self.offered(&message));
            }
            _ => {}
        }
        if message.sender.is_some() && message.sender == self.publisher {
            self.who_publishes(&message);
        }
        happenings
    }

    /// An `ack` says only that an event will follow, but for a candidate it is all there is.
    fn is_final(&self, message: &Message<'_>) -> bool {
        let sent = message.transaction.and_then(|transaction| self.sent.get(&transaction));
        message.kind != Kind::Ack || sent == Some(&Sent::Trickle)
    }

    fn answered(&mut self, sent: Sent, message: &Message<'_>) -> Option<Happening> {
        if let Some(error) = message.error {
            return self.refused(sent, error);
        }
        match sent {
            Sent::Session => {
                self.session = message.made;
                self.attach(Sent::Attach);
                None
            }
            Sent::Attach => {
                self.publisher = message.made;
                self.create_room(false);
                None
            }
            Sent::CreateRoom { is_again } => {
                self.join(is_again);
                None
            }
            Sent::Join { .. } => {
                self.private_id =
                    message.said("private_id").map(|id| String::from_utf8_lossy(id.raw()).into_owned());
                self.has_entered = true;
                match self.early_offer.take() {
                    Some(jsep) => {
                        self.configure(&jsep);
                        None
                    }
                    None => Some(Happening::Entered),
                }
            }
            Sent::Publish => Some(match &message.jsep {
                Some(jsep) => Happening::Answer(jsep.clone()),
                None => self.publish_failed(Code::SdpEncode),
            }),
            Sent::AttachFeed(feed) => {
                self.subscribe(feed, message.made?);
                None
            }
            Sent::Subscribe(feed) => Some(Happening::Offer(feed, message.jsep.clone()?)),
            Sent::Start => Some(Happening::Started),
            Sent::Trickle => Some(Happening::Trickled),
        }
    }

    fn refused(&mut self, sent: Sent, error: u64) -> Option<Happening> {
        let for_sdp = |other| if error == INVALID_SDP { Code::SdpDecode } else { other };
        Some(match sent {
            Sent::Session => Happening::Failed(Code::JanusSession),
            Sent::Attach => Happening::Failed(Code::JanusAttach),
            Sent::CreateRoom { is_again } if error == ROOM_EXISTS => {
                self.join(is_again);
                return None;
            }
            Sent::CreateRoom { .. } => Happening::Failed(Code::JanusCreateRoom),
            // The last one who left took the room away after we had seen it.
            Sent::Join { is_again: false } if error == NO_SUCH_ROOM => {
                self.create_room(true);
                return None;
            }
            Sent::Join { .. } => Happening::Failed(Code::JanusJoin),
            Sent::Publish => self.publish_failed(for_sdp(Code::JanusConfigure)),
            Sent::AttachFeed(feed) | Sent::Subscribe(feed) => {
                // It left in between, or its next announcement tries again.
                self.forget(&feed);
                return None;
            }
            Sent::Start => Happening::Failed(for_sdp(Code::JanusStart)),
            Sent::Trickle => Happening::Failed(Code::JanusTrickle),
        })
    }

    fn publish_failed(&mut self, code: Code) -> Happening {
        self.has_offered = false;
        Happening::Failed(code)
    }

    fn create_room(&mut self, is_again: bool) {
        let body = Object::new()
            .text("request", "create")
            .raw("room", self.place.room.as_bytes())
            .number("publishers", i64::try_from(self.place.publishers).unwrap_or(i64::MAX))
            .text("audiocodec", "opus")
            .text("videocodec", "vp8");
        let body = match &self.place.admin_key {
            Some(key) => body.text("admin_key", key),
            None => body,
        };
        self.tell_publisher(Sent::CreateRoom { is_again }, body);
    }

    fn join(&mut self, is_again: bool) {
        let body = Object::new()
            .text("request", "join")
            .text("ptype", "publisher")
            .raw("room", self.place.room.as_bytes())
            .raw("id", self.place.feed.0.as_bytes())
            .text("display", &self.place.display);
        self.tell_publisher(Sent::Join { is_again }, body);
    }

    fn tell_publisher(&mut self, sent: Sent, body: Object) {
        let handle = self.publisher;
        self.send(sent, "message", handle, Object::new().object("body", body));
    }

    fn attach(&mut self, sent: Sent) {
        self.send(sent, "attach", None, Object::new().text("plugin", PLUGIN));
    }

    fn subscribe(&mut self, feed: Feed, handle: u64) {
        let Some(known) = self.feeds.get_mut(&feed) else {
            return self.push("detach", Some(handle), Object::new());
        };
        *known = Some(handle);
        let stream = Object::new().raw("feed", feed.0.as_bytes());
        let mut body = Object::new()
            .text("request", "join")
            .text("ptype", "subscriber")
            .raw("room", self.place.room.as_bytes())
            .array("streams", [stream]);
        if let Some(id) = &self.private_id {
            body = body.raw("private_id", id.as_bytes());
        }
        self.send(Sent::Subscribe(feed), "message", Some(handle), Object::new().object("body", body));
    }

    /// Others' media are offered once the own leg is up, so that a client sees its own answer first.
    fn up(&mut self, sender: Option<u64>) -> Option<Happening> {
        if sender.is_some() && sender == self.publisher {
            if !std::mem::replace(&mut self.is_up, true) {
                let known: Vec<Feed> = self.feeds.keys().cloned().collect();
                known.into_iter().for_each(|feed| self.attach(Sent::AttachFeed(feed)));
            }
            return Some(Happening::PublisherUp);
        }
        self.feed_of(sender?).map(Happening::FeedUp)
    }

    /// The publisher may offer again.
    fn hung_up(&mut self, sender: Option<u64>) {
        if sender.is_some() && sender == self.publisher {
            self.has_offered = false;
        }
    }

    /// A subscription changed by itself, such as when its publisher adds a stream.
    fn offered(&self, message: &Message<'_>) -> Option<Happening> {
        let feed = self.feed_of(message.sender?)?;
        Some(Happening::Offer(feed, message.jsep.clone()?))
    }

    fn feed_of(&self, handle: u64) -> Option<Feed> {
        self.feeds.iter().find(|(_, of)| **of == Some(handle)).map(|(feed, _)| feed.clone())
    }

    fn who_publishes(&mut self, message: &Message<'_>) {
        for key in ["unpublished", "leaving"] {
            if let Some(id) = message.said(key) {
                self.forget(&Feed::of(&id));
            }
        }
        let publishers = message.said("publishers").into_iter().flat_map(|list| list.elements());
        for id in publishers.filter_map(|publisher| publisher.member("id")) {
            let feed = Feed::of(&id);
            if self.feeds.contains_key(&feed) || self.feeds.len() >= MAX_FEEDS || feed == self.place.feed {
                continue;
            }
            self.feeds.insert(feed.clone(), None);
            if self.is_up {
                self.attach(Sent::AttachFeed(feed));
            }
        }
    }

    fn forget(&mut self, feed: &Feed) {
        if let Some(Some(handle)) = self.feeds.remove(feed) {
            self.push("detach", Some(handle), Object::new());
        }
    }

    fn send(&mut self, sent: Sent, janus: &str, handle: Option<u64>, rest: Object) {
        self.sent.insert(self.last_transaction + 1, sent);
        self.push(janus, handle, rest);
    }

    fn push(&mut self, janus: &str, handle: Option<u64>, rest: Object) {
        self.last_transaction += 1;
        let mut message = rest.text("janus", janus).text("transaction", &self.last_transaction.to_string());
        if let Some(session) = self.session {
            message = message.raw("session_id", session.to_string().as_bytes());
        }
        if let Some(handle) = handle {
            message = message.raw("handle_id", handle.to_string().as_bytes());
        }
        if let Some(secret) = &self.place.api_secret {
            message = message.text("apisecret", secret);
        }
        self.out.push(message.finish());
    }
}

#[cfg(test)]
#[path = "routed_tests.rs"]
mod tests;
