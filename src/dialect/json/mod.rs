//! JSON APIs whose offers and answers stand at known places (xrtc.md §2.3): `ums`, and whatever a route describes by JSON
//! pointers, SRS and ZLMediaKit among them. A body that is an SDP and no JSON is one as a whole.
//!
//! Decides what of the two descriptions the other side may see, and edits just those strings. An answer belongs to the
//! request that it responds to, or to the last offer on its WebSocket. What stands elsewhere in a body is not looked at.

mod fuzzing;
mod pointer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::config::ServerUrl;
use crate::sdp::{Description, hide};
use crate::session::registration::{BackendCandidate, CandidateTransport, EndReason, SessionId};

use super::exchange::{Exchange, SdpType};
use super::facts::Facts;
use super::sessions::{Number, Sessions};
use super::view::{backend_view, full, names_candidate};
use super::{Carrier, ConnectionId, Context, Dialect, ExchangeId, Head, Message, Settings, Side, Verdict};
use crate::json_edit::{Edits, JsonError, Kind, Value, first_value, quote};

pub use fuzzing::fuzz;

use pointer::{Ambiguous, Pointer};

/// Where things stand in the bodies of an API.
#[derive(Clone, Debug)]
pub struct Places {
    offer: Pointer,
    answer: Pointer,
    session: Option<Pointer>,
    /// Shorter answers are none, bytes.
    shortest_answer: usize,
    /// A backend that tells no candidates is reached at udp 5000 and tcp 443 of its host.
    assumes_candidates: bool,
}

impl Places {
    /// Places that a route gives as JSON pointers.
    pub fn new(offer: &str, answer: &str, session: Option<&str>) -> Self {
        Places {
            offer: Pointer::new(offer),
            answer: Pointer::new(answer),
            session: session.map(Pointer::new),
            shortest_answer: 1,
            assumes_candidates: false,
        }
    }

    /// `ums`, a request of type `SESSION_REQUEST_WEBRTC_OFFER` and its response.
    pub fn ums() -> Self {
        const CHANNEL: &str = "/action/user_roster/0/audio_status/channels/0";
        let (offer, answer) = (format!("{CHANNEL}/webrtc_offer"), format!("{CHANNEL}/webrtc_answer"));
        let places = Places::new(&offer, &answer, Some("/action/session_key"));
        Places { shortest_answer: 10, assumes_candidates: true, ..places }
    }
}

/// A JSON dialect of one route.
pub struct Json {
    settings: Settings,
    places: Places,
    sessions: Sessions<Name>,
    waiting: HashMap<Asked, Waiting>,
}

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Request(ExchangeId),
    Socket(ConnectionId),
}

/// What waits for an answer.
enum Waiting {
    /// An offer of a new PeerConnection.
    New(Box<Exchange>),
    /// A new offer of one that is known.
    Known(Number),
    /// A DELETE of one.
    End(Number),
}

/// Names a PeerConnection in logs, by the request or WebSocket that made it.
#[derive(Clone, Copy, Debug)]
struct Name(Asked);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Asked::Request(ExchangeId(number)) => write!(f, "request {number}"),
            Asked::Socket(ConnectionId(number)) => write!(f, "socket {number}"),
        }
    }
}

/// A description in a body.
struct Found<'a> {
    sdp: Cow<'a, str>,
    /// The string's value; `None`: the body is the description.
    value: Option<Value<'a>>,
    session: Option<Box<str>>,
}

impl Json {
    /// A dialect that has seen nothing yet.
    pub fn new(settings: Settings, places: Places) -> Self {
        Json { settings, places, sessions: Sessions::default(), waiting: HashMap::new() }
    }

    fn request(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        head: &Head<'_>,
        message: &Message<'_>,
    ) -> Verdict {
        if let Carrier::Rest { method: "DELETE", path } = message.carrier {
            self.delete(asked, path, head);
        }
        let found = match find(&self.places.offer, self.places.session.as_ref(), message.body) {
            Ok(Some(found)) => found,
            Ok(None) => return Verdict::Pass,
            Err(reason) => return refuse(reason),
        };
        let description = match Description::read(&found.sdp) {
            Ok(description) => description,
            Err(error) => return refuse(error.to_string()),
        };
        let facts = Facts::of(&description);
        let known = found.session.as_deref().and_then(|name| self.sessions.number(name));
        let has_room = known.is_some() || self.sessions.has_room();
        let session = known.and_then(|number| Some((number, self.sessions.get(cx.now, number)?)));
        let waiting = match session {
            Some((number, session)) => {
                session.exchange.client_described(cx, &self.settings, &session.state, facts, SdpType::Offer);
                Waiting::Known(number)
            }
            None if !has_room => return full(),
            None => {
                let mut exchange = Exchange::default();
                exchange.client_described(cx, &self.settings, &Name(asked), facts, SdpType::Offer);
                Waiting::New(Box::new(exchange))
            }
        };
        self.waiting.insert(asked, waiting);
        found.replaced(message.body, hide(&found.sdp))
    }

    /// The path or the query of a DELETE may name a session.
    fn delete(&mut self, asked: Asked, path: &str, head: &Head<'_>) {
        let values = head.query.unwrap_or("").split('&').filter_map(|it| it.split_once('=')).map(|it| it.1);
        let number = path.split('/').chain(values).find_map(|name| self.sessions.number(name));
        if let Some(number) = number {
            self.waiting.insert(asked, Waiting::End(number));
        }
    }

    fn response(&mut self, cx: &mut Context<'_>, asked: Asked, head: &Head<'_>, body: &[u8]) -> Verdict {
        let is_good = matches!(head.status, 0 | 200..300);
        if let Some(Waiting::End(number)) = self.waiting.get(&asked) {
            if is_good {
                self.sessions.remove(cx.commands, *number, EndReason::Hangup);
            }
            self.waiting.remove(&asked);
        }
        let found = match find(&self.places.answer, self.places.session.as_ref(), body) {
            Ok(Some(found)) if found.sdp.len() >= self.places.shortest_answer => found,
            Ok(_) => return Verdict::Pass,
            Err(reason) => return refuse(reason),
        };
        let shown = is_good.then(|| self.answered(cx, asked, head, &found)).flatten();
        found.replaced(body, shown.unwrap_or_else(|| hide(&found.sdp)))
    }

    /// The answer as the client is to see it; `None` where it cannot be used: the client finds out that it does not connect,
    /// and learns nothing.
    fn answered(
        &mut self,
        cx: &mut Context<'_>,
        asked: Asked,
        head: &Head<'_>,
        found: &Found<'_>,
    ) -> Option<String> {
        let route = &self.settings.route;
        let description = match Description::read(&found.sdp) {
            Ok(description) => description,
            Err(error) => {
                tracing::warn!(%route, %error, "description of the backend cannot be used");
                return None;
            }
        };
        let mut facts = Facts::of_backend(&description, self.settings.mode);
        if self.places.assumes_candidates {
            assume_candidates(
                &mut facts,
                &description,
                host(head.server).or(self.settings.upstream.map(|it| it.ip())),
            );
        }
        let (read, told) = ((&*found.sdp, &description), (facts, SdpType::Answer));
        let mark = cx.commands.len();
        match self.waiting.remove(&asked)? {
            Waiting::New(mut exchange) => {
                let shown = backend_view(cx, &self.settings, (&mut exchange, &Name(asked)), read, told);
                let (told, names) = (mark..cx.commands.len(), (found.session.as_deref(), head.server));
                self.sessions.add(cx.commands, cx.now, names, (*exchange, Name(asked)), told);
                Some(shown)
            }
            Waiting::Known(number) => {
                let mut session = self.sessions.take(cx.now, number)?;
                let name = session.state;
                let shown = backend_view(cx, &self.settings, (&mut session.exchange, &name), read, told);
                self.sessions.put(number, session, &cx.commands[mark..]);
                Some(shown)
            }
            Waiting::End(_) => None,
        }
    }
}

impl Dialect for Json {
    fn reads_request(&self, method: &str, _path: &str) -> bool {
        !matches!(method, "GET" | "HEAD" | "OPTIONS")
    }

    fn reads_response(&self, method: &str, _path: &str, _status: u16, content_type: Option<&str>) -> bool {
        method == "DELETE" || (self.reads_request(method, "") && content_type.is_none_or(may_hold_sdp))
    }

    fn handle(&mut self, cx: &mut Context<'_>, message: Message<'_>) -> Verdict {
        self.handle_rest(cx, message, &Head::default())
    }

    fn handle_rest(&mut self, cx: &mut Context<'_>, message: Message<'_>, head: &Head<'_>) -> Verdict {
        let asked = match message.carrier {
            Carrier::Rest { .. } => Asked::Request(head.exchange),
            Carrier::WebSocket(connection) => Asked::Socket(connection),
        };
        match message.from {
            Side::Client => self.request(cx, asked, head, &message),
            Side::Backend => self.response(cx, asked, head, message.body),
        }
    }

    fn concluded(&mut self, exchange: ExchangeId) {
        self.waiting.remove(&Asked::Request(exchange));
    }

    fn pinned(&self, path: &str, query: Option<&str>) -> Option<ServerUrl> {
        let values = query.unwrap_or("").split('&').filter_map(|it| it.split_once('=')).map(|it| it.1);
        path.split('/').chain(values).find_map(|name| self.sessions.server(name)).cloned()
    }

    fn renew(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn closed(&mut self, _cx: &mut Context<'_>, connection: ConnectionId) {
        self.waiting.remove(&Asked::Socket(connection));
    }

    fn ended(&mut self, session: SessionId, _reason: EndReason) {
        self.sessions.ended(session);
    }

    fn sweep(&mut self, cx: &mut Context<'_>) {
        self.sessions.sweep(cx.now);
    }
}

impl Found<'_> {
    /// `body` with `sdp` in place of the description.
    fn replaced(&self, body: &[u8], sdp: String) -> Verdict {
        match self.value {
            _ if sdp == self.sdp => Verdict::Pass,
            None => Verdict::Replace(sdp.into_bytes()),
            Some(value) => {
                let mut edits = Edits::default();
                edits.replace(value.span(), quote(&sdp));
                Verdict::Replace(edits.apply(body))
            }
        }
    }
}

/// The description at `place` of a body, if there is one; an error where its receiver might find one that is not seen here.
fn find<'a>(place: &Pointer, session: Option<&Pointer>, body: &'a [u8]) -> Result<Option<Found<'a>>, String> {
    let hides_something = |rest: &[u8]| names_candidate(rest).then(|| "expected JSON".to_owned());
    let root = match first_value(body) {
        Ok(root) => root,
        Err(_) if body.starts_with(b"v=") => {
            let sdp = std::str::from_utf8(body).map_err(|_| "expected a description in UTF-8".to_owned())?;
            return Ok(Some(Found { sdp: Cow::Borrowed(sdp), value: None, session: None }));
        }
        Err(error @ JsonError::TooDeep(_)) => return Err(error.to_string()),
        Err(_) => return hides_something(body).map_or(Ok(None), Err),
    };
    if let Some(reason) = hides_something(&body[root.span().end..]) {
        return Err(reason);
    }
    let twice = |Ambiguous(key)| format!("expected the key `{key}` only once");
    let value = place.find(root).map_err(twice)?;
    let Some((value, sdp)) =
        value.and_then(|value| Some((value, value.string()?))).filter(|it| !it.1.is_empty())
    else {
        return Ok(None);
    };
    let session = session.map(|place| place.find(root).map_err(twice)).transpose()?.flatten();
    Ok(Some(Found { sdp, value: Some(value), session: session.and_then(name) }))
}

/// A string or a number that names a session.
fn name(value: Value<'_>) -> Option<Box<str>> {
    let name: Box<str> = match value.kind() {
        Kind::String => value.string()?.into(),
        Kind::Number => String::from_utf8_lossy(value.raw()).into(),
        _ => return None,
    };
    Some(name).filter(|name| !name.is_empty())
}

/// HTTP 400 with the reason; in a response, the backend's fault.
fn refuse(reason: String) -> Verdict {
    Verdict::Refuse { reason, body: Vec::new() }
}

/// What JSON and SDP are sent as; a backend that says less must not get its candidates past the edge.
fn may_hold_sdp(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    media.is_empty()
        || media.starts_with("text/")
        || media.contains("json")
        || media.contains("sdp")
        || media == "application/octet-stream"
}

fn host(server: Option<&ServerUrl>) -> Option<IpAddr> {
    server?.host.parse().ok()
}

/// Where a `ums` listens that does not say so: udp 5000 and tcp 443 of its host.
fn assume_candidates(facts: &mut Facts, description: &Description<'_>, host: Option<IpAddr>) {
    let options = description.sections.iter().map(|it| it.ice_options).chain([description.ice_options]);
    let trickles = options.flatten().any(|it| it.split_ascii_whitespace().any(|it| it == "trickle"));
    let Some(host) = host.filter(|_| facts.candidates.is_empty() && !trickles) else { return };
    for section in facts.transports().collect::<Vec<_>>() {
        for (transport, port, priority) in [
            (CandidateTransport::Udp, 5000, 2_013_266_431),
            (CandidateTransport::TcpPassive, 443, 1_010_827_775),
        ] {
            facts.add(section, BackendCandidate { transport, addr: SocketAddr::new(host, port), priority });
        }
    }
}
