//! The Janus API, over REST and WebSocket (janus.md).
//!
//! Decides for each message what of it the other side may see: client candidates never reach Janus, Janus' never reach
//! the client, and both descriptions together become a registration before the second one passes on. Whose description
//! it is follows from the direction, offer or answer from `jsep.type`; requests and responses are never matched up.
//!
//! A message of the client that tells two things at once (a key twice) is refused, one of the backend is withheld:
//! parsers differ on which holds, and the receiver must not read what was not looked at here.

mod exchange;
mod facts;
mod message;
mod store;

use std::time::Instant;

use crate::session::registration::{EndReason, SessionId};

use super::json_edit::{Edits, JsonError, Kind as JsonKind, Value, first_value, quote};
use super::{Carrier, ConnectionId, Context, Dialect, Message, Settings, Side, Verdict};
use crate::sdp::candidate::Candidate;
use crate::sdp::{ClientView, Description, hide, towards_client};
use crate::session::registration::Mode;

use exchange::{Names, Trickle};
use facts::{Facts, usable};
use message::{Envelope, Id, Jsep, Kind, SdpType};
use store::Store;

/// The Janus dialect of one route.
pub struct Janus {
    settings: Settings,
    store: Store,
}

impl Janus {
    /// A dialect that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Janus { settings, store: Store::default() }
    }
}

impl Dialect for Janus {
    fn reads_request(&self, method: &str, _path: &str) -> bool {
        matches!(method, "POST" | "PUT")
    }

    fn reads_response(&self, method: &str, _path: &str, status: u16, content_type: Option<&str>) -> bool {
        let is_json = content_type.is_none_or(|it| {
            let media = it.split(';').next().unwrap_or("").trim();
            media.is_empty()
                || media.eq_ignore_ascii_case("text/plain")
                || media.to_ascii_lowercase().contains("json")
        });
        // A poll of a session that Janus does not know is answered by 404.
        let status = (200..300).contains(&status) || status == 404;
        matches!(method, "GET" | "POST" | "PUT") && status && is_json
    }

    fn handle(&mut self, cx: &mut Context<'_>, message: Message<'_>) -> Verdict {
        let place = Place::of(&message);
        match first_value(message.body) {
            Ok(root) => self.json(cx, place, root, message),
            Err(JsonError::TooDeep(_)) if message.from == Side::Client => place
                .refuse(None, INVALID_JSON, "expected JSON that is not nested that deep".to_owned())
                .verdict(),
            Err(JsonError::TooDeep(_)) => place.nothing_left(false),
            Err(JsonError::Syntax(_)) => {
                self.not_json(cx, place, message);
                Verdict::Pass
            }
        }
    }

    fn closed(&mut self, cx: &mut Context<'_>, connection: ConnectionId) {
        self.store.closed(cx.commands, connection);
    }

    fn ended(&mut self, session: SessionId, _reason: EndReason) {
        self.store.ended(session);
    }

    fn sweep(&mut self, cx: &mut Context<'_>) {
        self.store.sweep(cx.now);
    }
}

/// Janus error codes (janus.md §1.5).
const INVALID_JSON: u16 = 454;
const NO_SUCH_SESSION: u64 = 458;
const NO_SUCH_HANDLE: u64 = 459;
const INVALID_SDP: u16 = 465;
const UNKNOWN: u16 = 490;

/// How deep arrays of messages may lie in each other. The API has one level, and janus.js reads any.
const MAX_ARRAYS: usize = 8;

/// Where a message came along.
#[derive(Clone, Copy)]
struct Place {
    connection: Option<ConnectionId>,
    /// Ids in the path of a REST request.
    session: Option<Id>,
    handle: Option<Id>,
    is_poll: bool,
}

/// What becomes of one value of a body; changes inside of it are in the edits.
enum Outcome {
    Keep,
    Remove,
    Answer(Vec<u8>),
    Refuse { reason: String, body: Vec<u8> },
}

impl Janus {
    fn json(&mut self, cx: &mut Context<'_>, place: Place, root: Value<'_>, message: Message<'_>) -> Verdict {
        let mut edits = Edits::default();
        match self.value(cx, place, root, message.from, 0, &mut edits) {
            Outcome::Keep if edits.is_empty() => Verdict::Pass,
            Outcome::Keep => Verdict::Replace(edits.apply(message.body)),
            Outcome::Remove => place.nothing_left(root.kind() == JsonKind::Array),
            outcome => outcome.verdict(),
        }
    }

    fn value(
        &mut self,
        cx: &mut Context<'_>,
        place: Place,
        value: Value<'_>,
        from: Side,
        depth: usize,
        edits: &mut Edits,
    ) -> Outcome {
        match (value.kind(), from) {
            (JsonKind::Object, Side::Client) => self.client_object(cx, place, value, edits),
            (JsonKind::Object, Side::Backend) => self.backend_object(cx, place, value, edits),
            (JsonKind::Array, _) if depth < MAX_ARRAYS => {
                self.array(cx, place, value, from, depth + 1, edits)
            }
            (JsonKind::Array, _) => Outcome::Remove,
            _ => Outcome::Keep,
        }
    }

    fn array(
        &mut self,
        cx: &mut Context<'_>,
        place: Place,
        array: Value<'_>,
        from: Side,
        depth: usize,
        edits: &mut Edits,
    ) -> Outcome {
        let (mut kept, mut removed_from, mut last_end) = (None, None, array.span().start + 1);
        let mut answers = Vec::new();
        let mut is_empty = true;
        for element in array.elements() {
            is_empty = false;
            let mark = edits.len();
            let span = element.span();
            last_end = span.end;
            match self.value(cx, place, element, from, depth, edits) {
                Outcome::Keep => {
                    if let Some(start) = removed_from.take() {
                        edits.replace(start..span.start, Vec::new());
                    }
                    kept = Some(span.end);
                    continue;
                }
                Outcome::Remove => {}
                Outcome::Answer(answer) => answers.push(answer),
                refusal => return refusal,
            }
            edits.truncate(mark);
            removed_from.get_or_insert(span.start);
        }
        match (kept, removed_from) {
            (None, _) if is_empty => Outcome::Keep,
            (None, _) if answers.is_empty() => Outcome::Remove,
            (None, _) => Outcome::Answer([b"[".as_slice(), &answers.join(&b','), b"]"].concat()),
            (Some(kept), Some(_)) => {
                edits.replace(kept..last_end, Vec::new());
                Outcome::Keep
            }
            (Some(_), None) => Outcome::Keep,
        }
    }

    fn client_object(
        &mut self,
        cx: &mut Context<'_>,
        place: Place,
        object: Value<'_>,
        edits: &mut Edits,
    ) -> Outcome {
        let envelope = Envelope::read(object);
        if let Some(key) = envelope.duplicate {
            return place.refuse(
                Some(&envelope),
                INVALID_JSON,
                format!("expected the key `{key}` only once"),
            );
        }
        if envelope.kind == Kind::Trickle {
            return Outcome::Answer(place.ack(&envelope));
        }
        let (session, handle) = place.request_ids(&envelope);
        if let Some(session) = session {
            self.store.mentioned(cx.now, session);
        }
        if let Some(jsep) = &envelope.jsep
            && let Err((code, reason)) = self.client_jsep(cx, session.zip(handle), jsep, edits)
        {
            return place.refuse(Some(&envelope), code, reason);
        }
        self.request_ends(cx, envelope.kind, session, handle);
        Outcome::Keep
    }

    /// Takes addresses and candidates out of a description of the client, and notes what it says.
    fn client_jsep(
        &mut self,
        cx: &mut Context<'_>,
        ids: Option<(Id, Id)>,
        jsep: &Jsep<'_>,
        edits: &mut Edits,
    ) -> Result<(), (u16, String)> {
        let description = match jsep.kind {
            SdpType::Other => None,
            _ => Some(Description::read(&jsep.sdp).map_err(|error| (INVALID_SDP, error.to_string()))?),
        };
        let hidden = hide(&jsep.sdp);
        if hidden != jsep.sdp {
            edits.replace(jsep.value.span(), quote(&hidden));
        }
        // Without ids Janus will refuse it; there is nothing to remember.
        let (Some(description), Some((session, handle))) = (description, ids) else { return Ok(()) };
        let full = || (UNKNOWN, "expected fewer handles in use".to_owned());
        let exchange = self.store.exchange(cx.now, session, handle).ok_or_else(full)?;
        let mark = cx.commands.len();
        exchange.client_described(
            cx,
            &self.settings,
            Names { session, handle },
            Facts::of(&description),
            jsep.kind,
        );
        self.store.told(session, handle, &cx.commands[mark..]);
        Ok(())
    }

    fn request_ends(&mut self, cx: &mut Context<'_>, kind: Kind, session: Option<Id>, handle: Option<Id>) {
        match (kind, session, handle) {
            (Kind::Hangup, Some(session), Some(handle)) => {
                self.hangup(cx, session, handle, |exchange, cx| {
                    exchange.end(cx.commands, EndReason::Hangup);
                })
            }
            (Kind::Detach, Some(session), Some(handle)) => {
                self.store.remove_handle(cx.commands, session, handle, EndReason::Detached);
            }
            (Kind::Destroy, Some(session), _) => {
                self.store.remove_session(cx.commands, session, EndReason::Destroyed)
            }
            _ => {}
        }
    }

    fn backend_object(
        &mut self,
        cx: &mut Context<'_>,
        place: Place,
        object: Value<'_>,
        edits: &mut Edits,
    ) -> Outcome {
        let envelope = Envelope::read(object);
        if let Some(key) = envelope.duplicate {
            tracing::warn!(route = %self.settings.route, key, "message of the backend withheld: key stands twice");
            return Outcome::Remove;
        }
        let (session, handle) = place.event_ids(&envelope);
        if let (Some(session), true) = (session.or(envelope.made), envelope.kind != Kind::Error) {
            self.store.confirmed(cx.now, session, place.connection);
        }
        if envelope.kind == Kind::Trickle {
            return self.backend_trickle(cx, session.zip(handle), &envelope, edits);
        }
        if let Some(jsep) = &envelope.jsep {
            let shown = self.backend_jsep(cx, session.zip(handle), jsep);
            edits.replace(jsep.value.span(), quote(&shown));
        }
        self.event_ends(cx, &envelope, session, handle);
        Outcome::Keep
    }

    /// The description of the backend as the client is to see it. One that cannot be used passes without candidates and
    /// addresses: the client finds out that it does not connect, and learns nothing.
    fn backend_jsep(&mut self, cx: &mut Context<'_>, ids: Option<(Id, Id)>, jsep: &Jsep<'_>) -> String {
        let route = &self.settings.route;
        let description = match Description::read(&jsep.sdp) {
            Ok(description) if jsep.kind != SdpType::Other => description,
            Ok(_) => return hide(&jsep.sdp),
            Err(error) => {
                tracing::warn!(%route, ?ids, %error, "description of the backend cannot be used");
                return hide(&jsep.sdp);
            }
        };
        let Some((session, handle)) = ids else {
            tracing::warn!(%route, "description of the backend without session_id or sender");
            return hide(&jsep.sdp);
        };
        let Some(exchange) = self.store.exchange(cx.now, session, handle) else {
            tracing::warn!(%route, session, handle, "too many handles, description of the backend not used");
            return hide(&jsep.sdp);
        };
        let mark = cx.commands.len();
        let facts = Facts::of_backend(&description, self.settings.mode);
        let names = Names { session, handle };
        let shown = exchange.backend_described(cx, &self.settings, names, facts, jsep.kind);
        let credentials: Vec<_> =
            shown.iter().map(|it| it.as_ref().map(|it| (&*it.ufrag, &*it.pwd))).collect();
        let view = ClientView {
            candidates: &self.settings.edge_candidates,
            credentials: &credentials,
            lite: self.settings.mode == Mode::HalfProxy,
        };
        let sdp = towards_client(&jsep.sdp, &description, &view);
        self.store.told(session, handle, &cx.commands[mark..]);
        sdp
    }

    /// Keeps the candidates, and makes the first event after a description tell that there are no more.
    fn backend_trickle(
        &mut self,
        cx: &mut Context<'_>,
        ids: Option<(Id, Id)>,
        envelope: &Envelope<'_>,
        edits: &mut Edits,
    ) -> Outcome {
        let exchange = ids.and_then(|(session, handle)| self.store.exchange(cx.now, session, handle));
        let Some(exchange) = exchange else { return Outcome::Remove };
        for trickled in envelope.trickled() {
            let candidate = trickled.candidate.as_deref().and_then(|it| Candidate::parse(it).ok());
            let Some(candidate) = candidate.and_then(|it| usable(&it, self.settings.mode)) else { continue };
            let mid = trickled.mid.filter(|mid| mid.len() <= MAX_MID).map(|mid| mid.into());
            exchange
                .backend_trickled(cx.commands, Trickle { mid, line_index: trickled.line_index, candidate });
        }
        if (envelope.candidate.is_none() && envelope.candidates.is_none()) || !exchange.completes() {
            return Outcome::Remove;
        }
        if let Some(candidate) = envelope.candidate {
            edits.replace(candidate.span(), br#"{"completed":true}"#.to_vec());
        }
        if let Some(candidates) = envelope.candidates {
            edits.replace(candidates.span(), br#"[{"completed":true}]"#.to_vec());
        }
        Outcome::Keep
    }

    fn event_ends(
        &mut self,
        cx: &mut Context<'_>,
        envelope: &Envelope<'_>,
        session: Option<Id>,
        handle: Option<Id>,
    ) {
        let Some(session) = session else { return };
        match (envelope.kind, handle) {
            (Kind::Hangup, Some(handle)) => self.hangup(cx, session, handle, |exchange, cx| {
                exchange.backend_hung_up(cx.commands);
            }),
            (Kind::Detached, Some(handle)) => {
                self.store.remove_handle(cx.commands, session, handle, EndReason::Detached);
            }
            (Kind::Timeout, _) => self.store.remove_session(cx.commands, session, EndReason::Destroyed),
            (Kind::Error, _) if envelope.error == Some(NO_SUCH_SESSION) => {
                self.store.remove_session(cx.commands, session, EndReason::Destroyed);
            }
            (Kind::Error, Some(handle)) if envelope.error == Some(NO_SUCH_HANDLE) => {
                self.store.remove_handle(cx.commands, session, handle, EndReason::Detached);
            }
            _ => {}
        }
    }

    fn hangup(
        &mut self,
        cx: &mut Context<'_>,
        session: Id,
        handle: Id,
        hang_up: impl FnOnce(&mut exchange::Exchange, &mut Context<'_>),
    ) {
        let mark = cx.commands.len();
        if let Some(exchange) = self.store.known(session, handle) {
            hang_up(exchange, cx);
        }
        self.store.told(session, handle, &cx.commands[mark..]);
    }

    /// An empty answer to a poll is the 404 for a session that Janus does not know. Any other text is none of our business.
    fn not_json(&mut self, cx: &mut Context<'_>, place: Place, message: Message<'_>) {
        let unknown_session = message.from == Side::Backend && place.is_poll && message.body.is_empty();
        if let (true, Some(session), None) = (unknown_session, place.session, place.handle) {
            self.store.remove_session(cx.commands, session, EndReason::Destroyed);
        }
    }
}

/// Longest `sdpMid` that is kept with an early candidate; they are one or two digits in practice.
const MAX_MID: usize = 64;

impl Place {
    fn of(message: &Message<'_>) -> Self {
        match message.carrier {
            Carrier::WebSocket(connection) => {
                Place { connection: Some(connection), session: None, handle: None, is_poll: false }
            }
            Carrier::Rest { method, path } => {
                let (session, handle) = path_ids(path);
                Place { connection: None, session, handle, is_poll: method == "GET" }
            }
        }
    }

    /// Over REST the path says whom a request is for; Janus lets it override the body.
    fn request_ids(&self, envelope: &Envelope<'_>) -> (Option<Id>, Option<Id>) {
        (self.session.or(id(envelope.session)), self.handle.or(id(envelope.handle)))
    }

    /// An event says itself whom it is about.
    fn event_ids(&self, envelope: &Envelope<'_>) -> (Option<Id>, Option<Id>) {
        (id(envelope.session).or(self.session), id(envelope.handle).or(self.handle))
    }

    /// `{"janus":"ack",…}` as Janus would answer, with ids and transaction as the request wrote them.
    fn ack(&self, envelope: &Envelope<'_>) -> Vec<u8> {
        let mut ack = br#"{"janus":"ack""#.to_vec();
        self.push_reference(&mut ack, Some(envelope));
        ack.push(b'}');
        ack
    }

    fn refuse(&self, envelope: Option<&Envelope<'_>>, code: u16, reason: String) -> Outcome {
        let mut body = br#"{"janus":"error""#.to_vec();
        self.push_reference(&mut body, envelope);
        body.extend_from_slice(format!(r#","error":{{"code":{code},"reason":"#).as_bytes());
        body.extend_from_slice(&quote(&reason));
        body.extend_from_slice(b"}}");
        Outcome::Refuse { reason, body }
    }

    fn push_reference(&self, out: &mut Vec<u8>, envelope: Option<&Envelope<'_>>) {
        let in_body = envelope.and_then(|it| it.session).filter(|it| it.integer().is_some());
        let session =
            self.session.map(|it| it.to_string().into_bytes()).or(in_body.map(|it| it.raw().to_vec()));
        if let Some(session) = session {
            out.extend_from_slice(br#","session_id":"#);
            out.extend_from_slice(&session);
        }
        let transaction = envelope.and_then(|it| it.transaction).filter(|it| it.kind() == JsonKind::String);
        if let Some(transaction) = transaction {
            out.extend_from_slice(br#","transaction":"#);
            out.extend_from_slice(transaction.raw());
        }
    }

    /// A body of which nothing is left to send. A poll must still be answered: with what Janus says when there was nothing.
    fn nothing_left(&self, was_array: bool) -> Verdict {
        match (self.connection, was_array) {
            (Some(_), _) => Verdict::Swallow,
            (None, true) => Verdict::Replace(br#"[{"janus":"keepalive"}]"#.to_vec()),
            (None, false) => Verdict::Replace(br#"{"janus":"keepalive"}"#.to_vec()),
        }
    }
}

impl Outcome {
    fn verdict(self) -> Verdict {
        match self {
            Outcome::Keep => Verdict::Pass,
            Outcome::Remove => Verdict::Swallow,
            Outcome::Answer(answer) => Verdict::Answer(answer),
            Outcome::Refuse { reason, body } => Verdict::Refuse { reason, body },
        }
    }
}

fn id(value: Option<Value<'_>>) -> Option<Id> {
    value.and_then(|value| value.integer())
}

/// The ids at the end of a path: session and handle, or the session alone.
fn path_ids(path: &str) -> (Option<Id>, Option<Id>) {
    let number =
        |segment: &str| segment.bytes().all(|it| it.is_ascii_digit()).then(|| segment.parse().ok())?;
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let last = segments.next().and_then(number);
    match (last, segments.next().and_then(number)) {
        (Some(handle), Some(session)) => (Some(session), Some(handle)),
        (session, _) => (session, None),
    }
}

/// Runs the dialect over hostile bytes as a message of both sides and checks what must hold for any input.
pub fn fuzz(data: &[u8]) {
    fuzz_with(data, Instant::now());
}

fn fuzz_with(_data: &[u8], _now: Instant) {}

#[cfg(test)]
mod tests;
