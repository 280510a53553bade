//! What becomes of a response of the backend (whip.md §3): a description or fragment shows the edge's ICE, a session gets
//! its URL and entity tag, and one that is gone ends at once.

use crate::dialect::exchange::{Exchange, SdpType};
use crate::dialect::facts::Facts;
use crate::dialect::sessions::Number;
use crate::dialect::view::{backend_view, edge_view};
use crate::dialect::{Context, Head, Verdict};
use crate::sdp::{Description, hide};
use crate::session::registration::EndReason;

use super::fragment::Fragment;
use super::{Media, Name, Resource, Waiting, Whip, media};

impl Whip {
    /// The response to a request with `method`.
    pub(super) fn response(
        &mut self,
        cx: &mut Context<'_>,
        method: &str,
        head: &Head<'_>,
        body: &[u8],
    ) -> Verdict {
        let waiting = self.waiting.remove(&head.exchange);
        let media = media(head.content_type, body);
        let is_good = (200..300).contains(&head.status);
        match (waiting, media) {
            (Some(Waiting::Session(exchange)), Media::Sdp) if is_good => {
                self.created(cx, *exchange, head, body)
            }
            (Some(Waiting::Description(number)), _) if is_good => {
                self.described(cx, number, head, (media, body))
            }
            (Some(Waiting::Restart { number, client }), _) => {
                self.restarted(cx, (number, client), head, (media, body))
            }
            (Some(Waiting::End(number)), _) if is_good || is_gone(head.status) => {
                self.sessions.remove(cx.commands, number, EndReason::Hangup);
                hidden(media, body)
            }
            (Some(Waiting::Description(number)), _) if is_gone(head.status) => {
                self.sessions.remove(cx.commands, number, EndReason::Destroyed);
                hidden(media, body)
            }
            _ => {
                if is_good && media == Media::Sdp {
                    tracing::warn!(route = %self.settings.route, method, "description of the backend without a request for it");
                }
                hidden(media, body)
            }
        }
    }

    /// The backend made a session: its description answers the client's, or is the first one.
    fn created(
        &mut self,
        cx: &mut Context<'_>,
        mut exchange: Exchange,
        head: &Head<'_>,
        body: &[u8],
    ) -> Verdict {
        let kind = if exchange.client().is_some() { SdpType::Answer } else { SdpType::Offer };
        let name = Name(head.exchange);
        let mark = cx.commands.len();
        let Some(shown) = self.view(cx, (&mut exchange, name), kind, body) else {
            return hidden(Media::Sdp, body);
        };
        let told = mark..cx.commands.len();
        let etag = head.etag.map(Box::from);
        let resource = Resource { name, etag, past: Vec::new(), restarting: None };
        self.sessions.add(cx.commands, cx.now, (head.location, head.server), (exchange, resource), told);
        Verdict::Replace(shown.into_bytes())
    }

    /// The backend took a description; if that was an offer, here is its answer.
    fn described(
        &mut self,
        cx: &mut Context<'_>,
        number: Number,
        head: &Head<'_>,
        (media, body): (Media, &[u8]),
    ) -> Verdict {
        let Some(mut session) = self.sessions.take(cx.now, number) else { return hidden(media, body) };
        if let Some(etag) = head.etag {
            session.state.etag = Some(etag.into());
        }
        let mark = cx.commands.len();
        let shown = match media {
            Media::Sdp => self.view(cx, (&mut session.exchange, session.state.name), SdpType::Answer, body),
            _ => None,
        };
        self.sessions.put(number, session, &cx.commands[mark..]);
        shown.map_or_else(|| hidden(media, body), |shown| Verdict::Replace(shown.into_bytes()))
    }

    /// The backend answered an ICE restart; only a good answer with credentials changes anything.
    fn restarted(
        &mut self,
        cx: &mut Context<'_>,
        (number, client): (Number, Facts),
        head: &Head<'_>,
        (media, body): (Media, &[u8]),
    ) -> Verdict {
        if is_gone(head.status) {
            self.sessions.remove(cx.commands, number, EndReason::Destroyed);
        }
        let Some(mut session) = self.sessions.take(cx.now, number) else { return hidden(media, body) };
        session.state.restarting = None;
        let mark = cx.commands.len();
        let mut verdict = hidden(media, body);
        let text = std::str::from_utf8(body).ok().filter(|_| head.status == 200 && media != Media::Sdp);
        if let Some(fragment) = text.map(Fragment::new)
            && let (Ok(description), Some(backend)) = (fragment.read(), session.exchange.backend())
        {
            let facts = backend.restarted(&description, self.settings.mode);
            let places: Vec<usize> =
                description.sections.iter().map(|section| facts.named(section.mid, None)).collect();
            if let Some(before) = session.exchange.client() {
                session.state.restarted(before);
            }
            let (name, settings) = (session.state.name, &self.settings);
            session.exchange.client_described(cx, settings, &name, client, SdpType::Offer);
            let shown = session.exchange.backend_described(cx, settings, &name, facts, SdpType::Answer);
            let shown: Vec<_> = places.iter().map(|place| shown.get(*place).cloned().flatten()).collect();
            let text = fragment.cut(&edge_view(settings, (fragment.sdp(), &description), &shown));
            verdict = Verdict::Replace(text.into_bytes());
        }
        if let Some(etag) = head.etag.filter(|_| (200..300).contains(&head.status)) {
            session.state.etag = Some(etag.into());
        }
        self.sessions.put(number, session, &cx.commands[mark..]);
        verdict
    }

    /// A description of the backend as the client is to see it; `None` where it cannot be used.
    fn view(
        &self,
        cx: &mut Context<'_>,
        (exchange, name): (&mut Exchange, Name),
        kind: SdpType,
        body: &[u8],
    ) -> Option<String> {
        let sdp = std::str::from_utf8(body).ok()?;
        let description = match Description::read(sdp) {
            Ok(description) => description,
            Err(error) => {
                let route = &self.settings.route;
                tracing::warn!(%route, %name, %error, "description of the backend cannot be used");
                return None;
            }
        };
        let facts = Facts::of_backend(&description, self.settings.mode);
        Some(backend_view(cx, &self.settings, (exchange, &name), (sdp, &description), (facts, kind)))
    }
}

fn is_gone(status: u16) -> bool {
    matches!(status, 404 | 410)
}

/// A body that nobody waits for, or that cannot be used: the client finds out that it does not connect, and learns nothing.
fn hidden(media: Media, body: &[u8]) -> Verdict {
    if media == Media::Other {
        return Verdict::Pass;
    }
    let text = String::from_utf8_lossy(body);
    let hidden = hide(&text);
    if hidden.as_bytes() == body { Verdict::Pass } else { Verdict::Replace(hidden.into_bytes()) }
}
