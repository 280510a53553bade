//! The Janus API, over REST and WebSocket (janus.md).
//!
//! Decides for each message what of it the other side may see: client candidates never reach Janus, Janus' never reach
//! the client, and both descriptions together become a registration before the second one passes on. Whose description
//! it is follows from the direction, offer or answer from `jsep.type`; requests and responses are never matched up.
//!
//! A message of the client that tells two things at once (a key twice) is refused, one of the backend is withheld:
//! parsers differ on which holds, and the receiver must not read what was not looked at here.

mod backend;
mod client;
mod fuzzing;
mod message;
mod place;
mod store;
mod walk;

use crate::session::registration::{EndReason, SessionId};

use super::{ConnectionId, Context, Dialect, Message, Settings, Side, Verdict};
use crate::json_edit::{JsonError, first_value};

pub use fuzzing::fuzz;

use place::{INVALID_JSON, Place};
use store::Store;
use walk::Walk;

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
        // A poll of a session that Janus does not know is answered by 404.
        let status_tells = (200..300).contains(&status) || status == 404;
        matches!(method, "GET" | "POST" | "PUT") && status_tells && content_type.is_none_or(may_be_json)
    }

    fn handle(&mut self, cx: &mut Context<'_>, message: Message<'_>) -> Verdict {
        let place = Place::of(&message);
        match first_value(message.body) {
            Ok(root) => Walk::new(self, cx, place, message.from).verdict(root, message.body),
            Err(JsonError::Syntax(_)) => {
                if place.is_unknown_session(&message) {
                    self.session_is_unknown(cx, place);
                }
                Verdict::Pass
            }
            Err(error @ JsonError::TooDeep(_)) if message.from == Side::Client => {
                place.refuse(None, INVALID_JSON, error.to_string()).into_verdict()
            }
            Err(JsonError::TooDeep(_)) => place.nothing_left(false),
        }
    }

    fn renew(&mut self, settings: Settings) {
        self.settings = settings;
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

/// Janus says `application/json`; a backend that says less must not get its candidates past the edge.
fn may_be_json(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or("").trim();
    media.is_empty()
        || media.eq_ignore_ascii_case("text/plain")
        || media.to_ascii_lowercase().contains("json")
}
