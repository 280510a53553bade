//! What becomes of a message of the client (janus.md §2.2): descriptions lose addresses and candidates, trickle ends here,
//! and what ends a PeerConnection ends its session at once.

use crate::dialect::exchange::SdpType;
use crate::dialect::facts::Facts;
use crate::json_edit::{Value, quote};
use crate::sdp::{Description, hide};
use crate::session::registration::EndReason;

use super::message::{Envelope, Id, Jsep, Kind, Name};
use super::place::{INVALID_JSON, INVALID_SDP, Outcome, UNKNOWN};
use super::walk::Walk;

impl Walk<'_, '_> {
    /// One message of the client.
    pub(super) fn client_object(&mut self, object: Value<'_>) -> Outcome {
        let envelope = Envelope::read(object);
        if let Some(key) = envelope.duplicate {
            return self.place.refuse(
                Some(&envelope),
                INVALID_JSON,
                format!("expected the key `{key}` only once"),
            );
        }
        if envelope.kind == Kind::Trickle {
            return Outcome::Answer(self.place.ack(&envelope));
        }
        let (session, handle) = self.place.request_ids(&envelope);
        if let Some(session) = session {
            self.janus.store.mentioned(self.cx.now, session);
        }
        if let Some(jsep) = &envelope.jsep
            && let Err((code, reason)) = self.client_jsep(session.zip(handle), jsep)
        {
            return self.place.refuse(Some(&envelope), code, reason);
        }
        self.request_ends(envelope.kind, session, handle);
        Outcome::Keep
    }

    /// Takes addresses and candidates out of a description of the client, and notes what it says.
    fn client_jsep(&mut self, ids: Option<(Id, Id)>, jsep: &Jsep<'_>) -> Result<(), (u16, String)> {
        let description = match jsep.kind {
            SdpType::Other => None,
            _ => Some(Description::read(&jsep.sdp).map_err(|error| (INVALID_SDP, error.to_string()))?),
        };
        let hidden = hide(&jsep.sdp);
        if hidden != jsep.sdp {
            self.edits.replace(jsep.value.span(), quote(&hidden));
        }
        // Without ids Janus will refuse it; there is nothing to remember.
        let (Some(description), Some((session, handle))) = (description, ids) else { return Ok(()) };
        let full = || (UNKNOWN, "expected fewer handles in use".to_owned());
        let exchange = self.janus.store.exchange(self.cx.now, session, handle).ok_or_else(full)?;
        let (mark, name) = (self.cx.commands.len(), Name { session, handle });
        exchange.client_described(self.cx, &self.janus.settings, &name, Facts::of(&description), jsep.kind);
        self.told(session, handle, mark);
        Ok(())
    }

    fn request_ends(&mut self, kind: Kind, session: Option<Id>, handle: Option<Id>) {
        let Some(session) = session else { return };
        let (store, commands) = (&mut self.janus.store, &mut *self.cx.commands);
        match (kind, handle) {
            (Kind::Hangup, Some(handle)) => store.hung_up(commands, session, handle, |exchange, commands| {
                exchange.end(commands, EndReason::Hangup);
            }),
            (Kind::Detach, Some(handle)) => {
                store.remove_handle(commands, session, handle, EndReason::Detached)
            }
            (Kind::Destroy, _) => store.remove_session(commands, session, EndReason::Destroyed),
            _ => {}
        }
    }
}
