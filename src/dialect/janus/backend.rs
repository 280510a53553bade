//! What becomes of a message of the backend (janus.md §2.3): descriptions show the edge's ICE, trickle is kept, and what
//! ends a PeerConnection ends its session at once.

use crate::dialect::Context;
use crate::dialect::exchange::{Exchange, SdpType, Trickle};
use crate::dialect::facts::{Facts, usable};
use crate::dialect::view::backend_view;
use crate::json_edit::{Value, quote};
use crate::sdp::candidate::Candidate;
use crate::sdp::{Description, hide};
use crate::session::registration::EndReason;

use super::Janus;
use super::message::{Envelope, Id, Jsep, Kind, Name};
use super::place::{NO_SUCH_HANDLE, NO_SUCH_SESSION, Outcome, Place};
use super::walk::Walk;

/// Longest `sdpMid` that is kept with an early candidate; they are one or two digits in practice.
const MAX_MID: usize = 64;

impl Walk<'_, '_> {
    /// One message of the backend.
    pub(super) fn backend_object(&mut self, object: Value<'_>) -> Outcome {
        let envelope = Envelope::read(object);
        if let Some(key) = envelope.duplicate {
            let route = &self.janus.settings.route;
            tracing::warn!(%route, key, "message of the backend withheld, a key stands twice");
            return Outcome::Remove;
        }
        let (session, handle) = self.place.event_ids(&envelope);
        if let (Some(session), true) = (session.or(envelope.made), envelope.kind != Kind::Error) {
            self.janus.store.confirmed(self.cx.now, session, self.place.connection);
        }
        if envelope.kind == Kind::Trickle {
            return self.backend_trickle(session.zip(handle), &envelope);
        }
        if let Some(jsep) = &envelope.jsep {
            let shown = self.backend_jsep(session.zip(handle), jsep);
            self.edits.replace(jsep.value.span(), quote(&shown));
        }
        self.event_ends(&envelope, session, handle);
        Outcome::Keep
    }

    /// The description of the backend as the client is to see it. One that cannot be used passes without candidates and
    /// addresses: the client finds out that it does not connect, and learns nothing.
    fn backend_jsep(&mut self, ids: Option<(Id, Id)>, jsep: &Jsep<'_>) -> String {
        let route = &self.janus.settings.route;
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
        let Some(exchange) = self.janus.store.exchange(self.cx.now, session, handle) else {
            tracing::warn!(%route, session, handle, "too many handles, description of the backend not used");
            return hide(&jsep.sdp);
        };
        let (mark, name, settings) = (self.cx.commands.len(), Name { session, handle }, &self.janus.settings);
        let facts = Facts::of_backend(&description, settings.mode);
        let (of, read) = ((exchange, &name as _), (&*jsep.sdp, &description));
        let sdp = backend_view(self.cx, settings, of, read, (facts, jsep.kind));
        self.told(session, handle, mark);
        sdp
    }

    /// Keeps the candidates, and makes the first event after a description tell that there are no more.
    fn backend_trickle(&mut self, ids: Option<(Id, Id)>, envelope: &Envelope<'_>) -> Outcome {
        let exchange =
            ids.and_then(|(session, handle)| self.janus.store.exchange(self.cx.now, session, handle));
        let Some(exchange) = exchange else { return Outcome::Remove };
        for trickled in envelope.trickled() {
            let candidate = trickled.candidate.as_deref().and_then(|it| Candidate::parse(it).ok());
            let Some(candidate) = candidate.and_then(|it| usable(&it, self.janus.settings.mode)) else {
                continue;
            };
            let mid = trickled.mid.filter(|mid| mid.len() <= MAX_MID).map(|mid| mid.into());
            let trickle = Trickle { mid, line_index: trickled.line_index, candidate };
            exchange.backend_trickled(self.cx.commands, trickle);
        }
        let has_candidate = envelope.candidate.is_some() || envelope.candidates.is_some();
        if !has_candidate || !exchange.completes() {
            return Outcome::Remove;
        }
        if let Some(candidate) = envelope.candidate {
            self.edits.replace(candidate.span(), br#"{"completed":true}"#.to_vec());
        }
        if let Some(candidates) = envelope.candidates {
            self.edits.replace(candidates.span(), br#"[{"completed":true}]"#.to_vec());
        }
        Outcome::Keep
    }

    fn event_ends(&mut self, envelope: &Envelope<'_>, session: Option<Id>, handle: Option<Id>) {
        let Some(session) = session else { return };
        let (store, commands) = (&mut self.janus.store, &mut *self.cx.commands);
        match (envelope.kind, envelope.error, handle) {
            (Kind::Hangup, _, Some(handle)) => {
                store.hung_up(commands, session, handle, Exchange::backend_hung_up)
            }
            (Kind::Detached, _, Some(handle)) | (Kind::Error, Some(NO_SUCH_HANDLE), Some(handle)) => {
                store.remove_handle(commands, session, handle, EndReason::Detached);
            }
            (Kind::Timeout, ..) | (Kind::Error, Some(NO_SUCH_SESSION), _) => {
                store.remove_session(commands, session, EndReason::Destroyed);
            }
            _ => {}
        }
    }
}

impl Janus {
    /// A poll told that Janus does not know a session.
    pub(super) fn session_is_unknown(&mut self, cx: &mut Context<'_>, place: Place) {
        if let Some(session) = place.session {
            self.store.remove_session(cx.commands, session, EndReason::Destroyed);
        }
    }
}
