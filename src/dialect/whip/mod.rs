//! WHIP (RFC 9725) and WHEP (whip.md): a session is an HTTP resource, and the flow tells which of the two it is.
//!
//! Decides for each request and response what of it the other side may see: candidates of the client never reach the
//! backend, the backend's never reach the client, and a PATCH that only trickles ends here. Sessions are known by the URL
//! that the backend gave them, as the client sees it; those URLs are capabilities and stay out of logs.

mod backend;
mod client;
mod condition;
mod fragment;
mod fuzzing;

use std::collections::HashMap;
use std::fmt;

use crate::config::ServerUrl;
use crate::session::registration::{EndReason, SessionId};

use super::exchange::Exchange;
use super::facts::Facts;
use super::sessions::{Number, Sessions};
use super::{Carrier, ConnectionId, Context, Dialect, ExchangeId, Head, Message, Settings, Side, Verdict};

pub use fuzzing::fuzz;

/// The WHIP dialect of one route.
pub struct Whip {
    settings: Settings,
    /// A PATCH without a condition is 428.
    strict: bool,
    sessions: Sessions<Resource>,
    /// What requests wait for; the shell says when one waits no more.
    waiting: HashMap<ExchangeId, Waiting>,
}

/// What is known of a session besides its exchange of descriptions.
#[derive(Debug)]
struct Resource {
    name: Name,
    etag: Option<Box<str>>,
    /// The client's ufrags before its ICE restarts; late candidates still name them.
    past: Vec<Box<str>>,
    /// The client's ufrag in a restart that the backend has not answered yet.
    restarting: Option<Box<str>>,
}

/// What a request waits for.
enum Waiting {
    /// A POST: the session.
    Session(Box<Exchange>),
    /// A PATCH with a description: an answer, if it was an offer.
    Description(Number),
    /// An ICE restart: the backend's new credentials.
    Restart { number: Number, client: Facts },
    /// A DELETE: that the session is gone.
    End(Number),
}

/// Names a session in logs, by the request that made it.
#[derive(Clone, Copy, Debug)]
struct Name(ExchangeId);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "whip session {}", self.0.0)
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Sdp,
    Fragment,
    Other,
}

impl Whip {
    /// A dialect that has seen nothing yet. `strict`: a PATCH must have a condition.
    pub fn new(settings: Settings, strict: bool) -> Self {
        Whip { settings, strict, sessions: Sessions::default(), waiting: HashMap::new() }
    }
}

impl Dialect for Whip {
    fn reads_request(&self, method: &str, _path: &str) -> bool {
        !matches!(method, "GET" | "HEAD" | "OPTIONS")
    }

    fn reads_response(&self, method: &str, _path: &str, status: u16, content_type: Option<&str>) -> bool {
        let told = match method {
            "POST" => (200..300).contains(&status),
            "PATCH" | "DELETE" => matches!(status, 200..300 | 404 | 410),
            _ => false,
        };
        told || content_type.is_some_and(|it| media(Some(it), b"") != Media::Other)
    }

    fn handle(&mut self, cx: &mut Context<'_>, message: Message<'_>) -> Verdict {
        self.handle_rest(cx, message, &Head::default())
    }

    fn handle_rest(&mut self, cx: &mut Context<'_>, message: Message<'_>, head: &Head<'_>) -> Verdict {
        let Carrier::Rest { method, path } = message.carrier else { return Verdict::Pass };
        match message.from {
            Side::Client => {
                let number = self.sessions.number(&target(path, head.query));
                self.request(cx, (method, number), head, message.body)
            }
            Side::Backend => self.response(cx, method, head, message.body),
        }
    }

    fn concluded(&mut self, exchange: ExchangeId) {
        let Some(Waiting::Restart { number, .. }) = self.waiting.remove(&exchange) else { return };
        if let Some(session) = self.sessions.unseen(number) {
            session.state.restarting = None;
        }
    }

    fn names_sessions_by_url(&self) -> bool {
        true
    }

    fn pinned(&self, path: &str, query: Option<&str>) -> Option<ServerUrl> {
        self.sessions.server(&target(path, query)).cloned()
    }

    fn renew(&mut self, settings: Settings) {
        self.settings = settings;
    }

    fn closed(&mut self, _cx: &mut Context<'_>, _connection: ConnectionId) {}

    fn ended(&mut self, session: SessionId, _reason: EndReason) {
        self.sessions.ended(session);
    }

    fn sweep(&mut self, cx: &mut Context<'_>) {
        self.sessions.sweep(cx.now);
    }
}

fn target(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// By the content type; a body without one is told by how it begins.
fn media(content_type: Option<&str>, body: &[u8]) -> Media {
    let media = content_type.and_then(|it| it.split(';').next()).map_or("", str::trim);
    match media {
        "" if body.starts_with(b"v=") => Media::Sdp,
        _ if media.eq_ignore_ascii_case("application/sdp") => Media::Sdp,
        _ if media.eq_ignore_ascii_case("application/trickle-ice-sdpfrag") => Media::Fragment,
        _ => Media::Other,
    }
}
