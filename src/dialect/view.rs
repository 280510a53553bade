//! What each side is shown of the other's description, what a text must not hold to pass unread, and how the edge says no.

use std::fmt::Display;

use crate::sdp::{ClientView, Description, towards_client};
use crate::session::registration::{Credentials, Mode};

use super::exchange::{Exchange, SdpType};
use super::facts::Facts;
use super::{Context, Settings, Verdict};
use crate::json_edit::quote;

/// Tells `exchange` of a description of the backend, and returns it as the client sees it.
pub(super) fn backend_view(
    cx: &mut Context<'_>,
    settings: &Settings,
    (exchange, name): (&mut Exchange, &dyn Display),
    (sdp, description): (&str, &Description<'_>),
    (facts, kind): (Facts, SdpType),
) -> String {
    let shown = exchange.backend_described(cx, settings, name, facts, kind);
    edge_view(settings, (sdp, description), shown)
}

/// A description with the edge's ICE: `shown` are the credentials of its m-sections.
pub(super) fn edge_view(
    settings: &Settings,
    (sdp, description): (&str, &Description<'_>),
    shown: &[Option<Credentials>],
) -> String {
    let credentials: Vec<_> = shown.iter().map(|it| it.as_ref().map(|it| (&*it.ufrag, &*it.pwd))).collect();
    let lite = settings.mode == Mode::HalfProxy;
    let view = ClientView { candidates: &settings.edge_candidates, credentials: &credentials, lite };
    towards_client(sdp, description, &view)
}

/// An error of the edge to a request, with its reason.
pub(super) fn refuse(status: u16, reason: &str) -> Verdict {
    let body = [br#"{"status":"#, quote(reason).as_slice(), b"}"].concat();
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if status == 503 {
        headers.push(("retry-after", RETRY_AFTER.to_owned()));
    }
    Verdict::Respond { status, headers, body }
}

/// The edge has no room for another session.
pub(super) fn full() -> Verdict {
    refuse(503, "expected fewer sessions in use")
}

/// Seconds after which a client may ask a full edge again: some sessions end in that time.
const RETRY_AFTER: &str = "5";

/// Whether a body that no rule reads names a candidate. Such a body does not pass: its receiver may be more lenient.
pub(super) fn names_candidate(body: &[u8]) -> bool {
    const NAME: &[u8] = b"candidate:";
    body.windows(NAME.len()).any(|window| window.eq_ignore_ascii_case(NAME))
}

/// Whether a line of `text` is a candidate; for fuzz bodies.
pub(super) fn names_candidate_line(text: &[u8]) -> bool {
    const NAME: &[u8] = b"a=candidate:";
    let mut lines = text.split(|byte| matches!(byte, b'\r' | b'\n'));
    lines.any(|line| line.len() >= NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
}
