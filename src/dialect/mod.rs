//! \[pure\] How a signalling protocol carries SDP: finds descriptions and candidates in messages, keeps the state of
//! their offer/answer exchange, and says what becomes of each message.
//!
//! A dialect never does I/O, never reads a clock and never draws randomness of its own: the HTTP shell hands it
//! messages with a [`Context`], and carries out its [`Verdict`] and its commands.

mod exchange;
mod facts;
pub mod janus;
pub mod json;
mod sessions;
mod view;
pub mod whip;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{DialectKind, ServerUrl};
use crate::session::registration::{Command, EndReason, Mode, SessionId};

/// Which side sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Browser or app.
    Client,
    /// Media server.
    Backend,
}

/// One signalling connection as the shell numbers them, for dialects whose sessions die with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u64);

/// What carries a message.
#[derive(Clone, Copy, Debug)]
pub enum Carrier<'a> {
    /// An HTTP request, or the response to one. `path` is the raw request path as the client sent it, `method` the
    /// request's.
    Rest {
        /// `GET`, `POST`, …
        method: &'a str,
        /// Raw path without query.
        path: &'a str,
    },
    /// A text or binary message of a WebSocket.
    WebSocket(ConnectionId),
}

/// One HTTP request with its response, as the shell numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExchangeId(pub u64);

/// What stands around the body of an HTTP message, for dialects that speak by headers too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// The same for a request and its response, and for no other.
    pub exchange: ExchangeId,
    /// The request's query.
    pub query: Option<&'a str>,
    /// The response's; 0 in a request.
    pub status: u16,
    /// `Content-Type` of this message.
    pub content_type: Option<&'a str>,
    /// `If-Match` of a request.
    pub if_match: Option<&'a str>,
    /// `ETag` of this message; some clients send one.
    pub etag: Option<&'a str>,
    /// Where the client will find what the response's `Location` names: path and query at the edge. `None` also where
    /// that is no place of this route's servers.
    pub location: Option<&'a str>,
    /// The server that sent the response.
    pub server: Option<&'a ServerUrl>,
}

/// One message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who sent it.
    pub from: Side,
    /// What carries it.
    pub carrier: Carrier<'a>,
    /// The whole body, decoded of any content coding.
    pub body: &'a [u8],
}

/// A candidate line of the edge itself (xrtc.md §6), without `a=` and line end.
pub type EdgeCandidates = Arc<[Box<str>]>;

/// What a dialect gets from its shell with each message.
pub struct Context<'a> {
    /// Now.
    pub now: Instant,
    /// Cryptographic randomness: fills the slice.
    pub random: &'a mut dyn FnMut(&mut [u8]),
    /// Where the commands for the packet side go, in order. The shell sends them before it sends the message on.
    pub commands: &'a mut Vec<Command>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it on as it is.
    Pass,
    /// Send this instead; headers that depend on the body are recomputed.
    Replace(Vec<u8>),
    /// Do not send it on; answer its sender with this body (HTTP 200 `application/json`, or a WebSocket message of the kind it answers).
    Answer(Vec<u8>),
    /// Do not send it on; the sender is at fault (HTTP 400 with this reason, or the dialect's error as a message).
    Refuse {
        /// What is wrong and what was expected, one sentence.
        reason: String,
        /// The dialect's own error body, where it has one.
        body: Vec<u8>,
    },
    /// Do not send it on; answer its sender with this. For requests alone.
    Respond {
        /// Its status.
        status: u16,
        /// Headers beside those that every answer of the edge has; names in lower case.
        headers: Vec<(&'static str, String)>,
        /// Its body, with the content type among the headers.
        body: Vec<u8>,
    },
    /// Do not send it on, and tell nobody (a message that the edge itself caused, or must absorb).
    Swallow,
}

/// What a dialect is told when it is built: the parts of its route and of the edge that it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the route.
    pub route: Arc<str>,
    /// The edge's own candidates, to put into every backend description.
    pub edge_candidates: EdgeCandidates,
    /// Half proxy, or transparent (`icedirect`).
    pub mode: Mode,
    /// Try the backend's TCP candidates first (`icetcp`).
    pub prefer_tcp: bool,
    /// The upstream host, for dialects that assume candidates there (xrtc.md §2.3).
    pub upstream: Option<SocketAddr>,
}

/// The dialect of `kind`, or `None` for one that this version does not speak: its route is then proxied as it is.
pub fn build(kind: &DialectKind, settings: Settings) -> Option<Box<dyn Dialect>> {
    match kind {
        DialectKind::Janus => Some(Box::new(janus::Janus::new(settings))),
        DialectKind::Whip { strict } => Some(Box::new(whip::Whip::new(settings, *strict))),
        DialectKind::Ums => Some(Box::new(json::Json::new(settings, json::Places::ums()))),
        DialectKind::Json { offer, answer, session } => {
            let places = json::Places::new(offer, answer, session.as_deref());
            Some(Box::new(json::Json::new(settings, places)))
        }
    }
}

/// One signalling protocol behind one route.
pub trait Dialect: Send {
    /// Whether the shell must read the whole body of a request with this method and path before it goes on.
    fn reads_request(&self, method: &str, path: &str) -> bool;

    /// Whether the shell must read the whole body of the response to a request with this method and path, given the
    /// response's status and content type.
    fn reads_response(&self, method: &str, path: &str, status: u16, content_type: Option<&str>) -> bool;

    /// Decides over one message; updates the state of the exchange.
    fn handle(&mut self, cx: &mut Context<'_>, message: Message<'_>) -> Verdict;

    /// The same for an HTTP message, with its headers. The shell calls this one for all of them.
    fn handle_rest(&mut self, cx: &mut Context<'_>, message: Message<'_>, head: &Head<'_>) -> Verdict {
        let _ = head;
        self.handle(cx, message)
    }

    /// An HTTP exchange is over, with a response or without; whatever waits for its response waits no more.
    fn concluded(&mut self, exchange: ExchangeId) {
        let _ = exchange;
    }

    /// Whether sessions are named by URLs that responses tell. The shell then makes each `Location` one of the edge
    /// before the dialect sees it, and lets scripts of any origin read responses that say nothing of origins.
    fn names_sessions_by_url(&self) -> bool {
        false
    }

    /// The server that a request for `path` and `query` must go to, because it has the session that they name; `None`
    /// where any server of the route will do.
    fn pinned(&self, path: &str, query: Option<&str>) -> Option<ServerUrl> {
        let _ = (path, query);
        None
    }

    /// Other settings hold for what comes: the file was changed. The mode stays. Sessions under way keep what they have, and
    /// are told of the new candidates when they restart ICE.
    fn renew(&mut self, settings: Settings);

    /// A signalling WebSocket closed.
    fn closed(&mut self, cx: &mut Context<'_>, connection: ConnectionId);

    /// The packet side ended a session for `reason`.
    fn ended(&mut self, session: SessionId, reason: EndReason);

    /// Forgets what is too old; called every few seconds.
    fn sweep(&mut self, cx: &mut Context<'_>);
}
