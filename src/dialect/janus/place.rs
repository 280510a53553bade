//! Where a message came along, whom it is about, and what the edge answers in Janus' stead.

use crate::dialect::{Carrier, ConnectionId, Message, Side, Verdict};
use crate::json_edit::{Kind as JsonKind, Value, quote};

use super::message::{Envelope, Id};

/// Janus error codes (janus.md §1.5).
pub(super) const INVALID_JSON: u16 = 454;
pub(super) const NO_SUCH_SESSION: u64 = 458;
pub(super) const NO_SUCH_HANDLE: u64 = 459;
pub(super) const INVALID_SDP: u16 = 465;
pub(super) const UNKNOWN: u16 = 490;

/// Where a message came along.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) connection: Option<ConnectionId>,
    /// Ids in the path of a REST request.
    pub(super) session: Option<Id>,
    pub(super) handle: Option<Id>,
    is_poll: bool,
}

/// What becomes of one value of a body; changes inside of it are in the edits.
pub(super) enum Outcome {
    Keep,
    Remove,
    Answer(Vec<u8>),
    Refuse { reason: String, body: Vec<u8> },
}

impl Place {
    pub(super) fn of(message: &Message<'_>) -> Self {
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
    pub(super) fn request_ids(&self, envelope: &Envelope<'_>) -> (Option<Id>, Option<Id>) {
        (self.session.or(id(envelope.session)), self.handle.or(id(envelope.handle)))
    }

    /// An event says itself whom it is about.
    pub(super) fn event_ids(&self, envelope: &Envelope<'_>) -> (Option<Id>, Option<Id>) {
        (id(envelope.session).or(self.session), id(envelope.handle).or(self.handle))
    }

    /// Whether this is the 404 that answers a poll of a session that Janus does not know: it has no body, which no other
    /// answer to a poll lacks.
    pub(super) fn is_unknown_session(&self, message: &Message<'_>) -> bool {
        message.from == Side::Backend && self.is_poll && self.handle.is_none() && message.body.is_empty()
    }

    /// `{"janus":"ack",…}` as Janus would answer, with ids and transaction as the request wrote them.
    pub(super) fn ack(&self, envelope: &Envelope<'_>) -> Vec<u8> {
        let mut ack = br#"{"janus":"ack""#.to_vec();
        self.push_reference(&mut ack, Some(envelope));
        ack.push(b'}');
        ack
    }

    pub(super) fn refuse(&self, envelope: Option<&Envelope<'_>>, code: u16, reason: String) -> Outcome {
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
    pub(super) fn nothing_left(&self, was_array: bool) -> Verdict {
        match (self.connection, was_array) {
            (Some(_), _) => Verdict::Swallow,
            (None, true) => Verdict::Replace(br#"[{"janus":"keepalive"}]"#.to_vec()),
            (None, false) => Verdict::Replace(br#"{"janus":"keepalive"}"#.to_vec()),
        }
    }
}

impl Outcome {
    pub(super) fn into_verdict(self) -> Verdict {
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
