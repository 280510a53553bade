//! What becomes of a request of the client (whip.md §3): descriptions lose addresses and candidates, trickle ends here, a
//! restart goes on without candidates.

use crate::dialect::exchange::{Exchange, SdpType};
use crate::dialect::facts::Facts;
use crate::dialect::sessions::Number;
use crate::dialect::view::{full, names_candidate, refuse};
use crate::dialect::{Context, Head, Verdict};
use crate::sdp::{Description, hide};

use super::condition::{self, Unmet};
use super::fragment::{self, Fragment};
use super::{Media, Name, Resource, Waiting, Whip, media};

/// Ufrags before restarts that are remembered; a client that restarts more often trickles no candidates of the first.
const MAX_PAST: usize = 8;

impl Whip {
    /// A request for the session `number`, or for any other URL of the route.
    pub(super) fn request(
        &mut self,
        cx: &mut Context<'_>,
        (method, number): (&str, Option<Number>),
        head: &Head<'_>,
        body: &[u8],
    ) -> Verdict {
        let media = media(head.content_type, body);
        match (method, number, media) {
            ("POST", _, Media::Sdp) => self.offer(cx, head, body),
            ("POST", _, _) if body.is_empty() => self.ask_for_offer(head),
            ("PATCH", Some(number), Media::Sdp) => self.describe(cx, number, head, body),
            ("PATCH", Some(number), Media::Fragment) => self.trickle_or_restart(cx, number, head, body),
            ("PATCH", Some(_), Media::Other) => refuse(415, NOT_FOR_A_SESSION),
            ("DELETE", Some(number), _) if body.is_empty() => {
                self.waiting.insert(head.exchange, Waiting::End(number));
                Verdict::Pass
            }
            (_, _, Media::Sdp | Media::Fragment) => unread(body),
            (_, _, Media::Other) if names_candidate(body) => refuse(415, "expected application/sdp"),
            _ => Verdict::Pass,
        }
    }

    /// A description that makes a session.
    fn offer(&mut self, cx: &mut Context<'_>, head: &Head<'_>, body: &[u8]) -> Verdict {
        let sdp = match std::str::from_utf8(body) {
            Ok("") => return self.ask_for_offer(head),
            Ok(sdp) => sdp,
            Err(_) => return refuse(400, "expected an offer in UTF-8"),
        };
        let description = match Description::read(sdp) {
            Ok(description) => description,
            Err(error) => return refuse(400, &error.to_string()),
        };
        let mut exchange = Exchange::default();
        let facts = Facts::of(&description);
        exchange.client_described(cx, &self.settings, &Name(head.exchange), facts, SdpType::Offer);
        self.wait_for_session(head, exchange, replace(body, hide(sdp)))
    }

    /// WHEP: the backend is asked to offer.
    fn ask_for_offer(&mut self, head: &Head<'_>) -> Verdict {
        self.wait_for_session(head, Exchange::default(), Verdict::Pass)
    }

    fn wait_for_session(&mut self, head: &Head<'_>, exchange: Exchange, verdict: Verdict) -> Verdict {
        if !self.sessions.has_room() {
            return full();
        }
        self.waiting.insert(head.exchange, Waiting::Session(Box::new(exchange)));
        verdict
    }

    /// WHEP: the answer to the backend's offer; or a new offer, where the backend takes one.
    fn describe(&mut self, cx: &mut Context<'_>, number: Number, head: &Head<'_>, body: &[u8]) -> Verdict {
        let Ok(sdp) = std::str::from_utf8(body) else {
            return refuse(400, "expected a description in UTF-8");
        };
        let description = match Description::read(sdp) {
            Ok(description) => description,
            Err(error) => return refuse(400, &error.to_string()),
        };
        if let Some(refusal) = self.unmet(number, head) {
            return refusal;
        }
        let mark = cx.commands.len();
        if let Some(session) = self.sessions.get(cx.now, number) {
            let kind = if session.exchange.backend_offers() { SdpType::Answer } else { SdpType::Offer };
            let facts = Facts::of(&description);
            session.exchange.client_described(cx, &self.settings, &session.state.name, facts, kind);
        }
        self.sessions.told(number, &cx.commands[mark..]);
        self.waiting.insert(head.exchange, Waiting::Description(number));
        replace(body, hide(sdp))
    }

    /// Candidates of credentials that are known are absorbed; new credentials are an ICE restart.
    fn trickle_or_restart(
        &mut self,
        cx: &mut Context<'_>,
        number: Number,
        head: &Head<'_>,
        body: &[u8],
    ) -> Verdict {
        let (text, ufrags) = match fragment::check(body) {
            Ok(checked) => checked,
            Err(error) => return refuse(400, &error.to_string()),
        };
        if let Some(refusal) = self.unmet(number, head) {
            return refusal;
        }
        let absorbed = Verdict::Respond { status: 204, headers: Vec::new(), body: Vec::new() };
        let Some(session) = self.sessions.get(cx.now, number) else { return absorbed };
        let Some(client) = session.exchange.client() else { return absorbed };
        let current = client.sections.iter().filter_map(|it| it.credentials.as_ref()).map(|it| &*it.ufrag);
        let state = &session.state;
        let known = state.past.iter().chain(&state.restarting).map(|it| &**it);
        let known: Vec<&str> = current.chain(known).collect();
        let Some(new) = ufrags.iter().find(|ufrag| !known.contains(ufrag)) else { return absorbed };

        let fragment = Fragment::new(text);
        let client = match fragment.read() {
            Ok(description) => client.restarted(&description, self.settings.mode),
            Err(error) => return refuse(400, &error.to_string()),
        };
        session.state.restarting = Some((*new).into());
        self.waiting.insert(head.exchange, Waiting::Restart { number, client });
        replace(body, hide(text))
    }

    /// The refusal of a PATCH whose condition does not hold.
    fn unmet(&mut self, number: Number, head: &Head<'_>) -> Option<Verdict> {
        let session = self.sessions.unseen(number)?;
        match condition::check(head, session.state.etag.as_deref(), self.strict).err()? {
            Unmet::Missing => Some(refuse(428, "expected an If-Match header")),
            Unmet::Stale => Some(refuse(412, "expected the session's newest entity tag in If-Match")),
        }
    }
}

impl Resource {
    /// The client's credentials are about to be replaced.
    pub(super) fn restarted(&mut self, before: &Facts) {
        let old = before.sections.iter().filter_map(|it| it.credentials.as_ref());
        for ufrag in old.map(|it| Box::from(&*it.ufrag)) {
            if !self.past.contains(&ufrag) {
                self.past.push(ufrag);
            }
        }
        self.past.drain(..self.past.len().saturating_sub(MAX_PAST));
        self.restarting = None;
    }
}

const NOT_FOR_A_SESSION: &str = "expected application/trickle-ice-sdpfrag or application/sdp";

/// A description or fragment about nothing that is known here: goes on without candidates.
fn unread(body: &[u8]) -> Verdict {
    match std::str::from_utf8(body) {
        Ok(text) => replace(body, hide(text)),
        Err(_) if names_candidate(body) => refuse(400, "expected a description in UTF-8"),
        Err(_) => Verdict::Pass,
    }
}

fn replace(body: &[u8], hidden: String) -> Verdict {
    if hidden.as_bytes() == body { Verdict::Pass } else { Verdict::Replace(hidden.into_bytes()) }
}
