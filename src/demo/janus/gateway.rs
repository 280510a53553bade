//! The Janus API: sessions, handles, and which request means what. Transports are [`super::rest`] and [`super::websocket`].
//!
//! Everything is answered at once; what takes time (an answer to an offer) comes back as an event of the session.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::message::{self, Refusal, Refused, Request};
use super::outlet::Outlet;
use super::{PLUGIN, echotest};
use crate::demo::echo::{CallId, Command, Happening};

/// Janus sessions at a time; a page needs one.
const MAX_SESSIONS: usize = 64;
/// Handles per session; a page needs one.
const MAX_HANDLES: usize = 8;
/// A session of which nothing is heard for so long ends, as in Janus.
const SESSION_TIMEOUT: Duration = Duration::from_secs(60);
/// janus.js draws its ids from so many.
const IDS: std::ops::Range<u64> = 1..(1 << 53);

/// The API's state. One lock is enough: nothing waits while it is held.
pub(super) struct Gateway {
    sessions: Mutex<HashMap<u64, Session>>,
    calls: mpsc::Sender<(CallId, Command)>,
}

struct Session {
    /// Whether the handle has a call.
    handles: HashMap<u64, bool>,
    outlet: Outlet,
    heard: Instant,
}

type Reply = Result<Value, Refused>;

impl Gateway {
    pub(super) fn new(calls: mpsc::Sender<(CallId, Command)>) -> Gateway {
        Gateway { sessions: Mutex::default(), calls }
    }

    /// Answers a request. `outlet` is where events of a session that it creates or claims will go.
    pub(super) fn answer(&self, request: &Request, outlet: impl FnOnce() -> Outlet) -> Reply {
        match (request.session, request.handle, request.verb.as_str()) {
            (_, _, "ping") => Ok(request.word("pong")),
            (_, _, "info") => Ok(super::info(&request.transaction)),
            (None, _, "create") => self.create(request, outlet()),
            (
                None,
                _,
                "attach" | "keepalive" | "destroy" | "claim" | "message" | "trickle" | "hangup" | "detach",
            ) => Err(request.refuse(Refusal::Missing("session_id"))),
            (Some(id), _, "claim") => self.with_session(request, id, |session| {
                session.outlet = outlet();
                Ok(request.word("success"))
            }),
            (Some(id), None, _) => {
                self.with_session(request, id, |session| self.of_session(request, id, session))
            }
            (Some(id), Some(handle), _) => self.with_session(request, id, |session| {
                self.of_handle(request, CallId { session: id, handle }, session)
            }),
            (None, _, verb) => Err(request.refuse(Refusal::Verb(verb.to_owned()))),
        }
    }

    /// Where the events of `session` go, if there is such a session. Asking counts as a sign of life.
    pub(super) fn outlet(&self, session: u64) -> Option<Outlet> {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&session)?;
        session.heard = Instant::now();
        Some(session.outlet.clone())
    }

    /// What happened to a call becomes an event.
    pub(super) fn tell(&self, id: CallId, happening: Happening) {
        let mut sessions = self.lock();
        let Some(session) = sessions.get_mut(&id.session) else { return };
        let Some(call) = session.handles.get_mut(&id.handle) else { return };
        *call &= !matches!(happening, Happening::Ended { .. });
        events(id, happening).into_iter().for_each(|event| session.outlet.push(event));
    }

    /// Ends sessions of which nothing is heard any more.
    pub(super) fn sweep(&self, now: Instant) {
        let mut sessions = self.lock();
        let silent: Vec<u64> = sessions
            .iter()
            .filter(|(_, session)| {
                now.saturating_duration_since(session.heard) >= SESSION_TIMEOUT || session.outlet.is_closed()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            let Some(session) = sessions.remove(&id) else { continue };
            session.outlet.push(json!({"janus": "timeout", "session_id": id}));
            self.hang_up_all(id, &session);
        }
    }

    fn create(&self, request: &Request, outlet: Outlet) -> Reply {
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            let full = format!("{MAX_SESSIONS} sessions are open, that is all a demo serves");
            return Err(request.refuse(Refusal::Full(full)));
        }
        let id = unused(|id| sessions.contains_key(&id));
        sessions.insert(id, Session { handles: HashMap::new(), outlet, heard: Instant::now() });
        Ok(request.made(id))
    }

    fn of_session(&self, request: &Request, id: u64, session: &mut Session) -> Reply {
        match request.verb.as_str() {
            "keepalive" => Ok(request.word("ack")),
            "attach" => attach(request, session),
            "destroy" => {
                self.hang_up_all(id, session);
                Ok(request.word("success"))
            }
            "create" => Err(request.refuse(Refusal::Path("create".to_owned()))),
            "message" | "trickle" | "hangup" | "detach" => Err(request.refuse(Refusal::Missing("handle_id"))),
            verb => Err(request.refuse(Refusal::Verb(verb.to_owned()))),
        }
    }

    fn of_handle(&self, request: &Request, id: CallId, session: &mut Session) -> Reply {
        let Some(call) = session.handles.get_mut(&id.handle) else {
            return Err(request.refuse(Refusal::Handle(id.handle, id.session)));
        };
        match request.verb.as_str() {
            "message" => {
                let outcome = self.message(request, id, call).map_err(|refusal| request.refuse(refusal))?;
                outcome.into_iter().for_each(|event| session.outlet.push(event));
                Ok(request.word("ack"))
            }
            "trickle" => {
                for line in candidates(&request.body).map_err(|refusal| request.refuse(refusal))? {
                    self.command(id, Command::Candidate(line));
                }
                Ok(request.word("ack"))
            }
            "hangup" => {
                self.hang_up(id, call);
                Ok(request.word("success"))
            }
            "detach" => {
                self.hang_up(id, call);
                session.handles.remove(&id.handle);
                Ok(request.word("success"))
            }
            "create" | "attach" | "keepalive" | "destroy" => {
                Err(request.refuse(Refusal::Path(request.verb.clone())))
            }
            verb => Err(request.refuse(Refusal::Verb(verb.to_owned()))),
        }
    }

    /// EchoTest's part of a message: events that follow the `ack` at once. An offer's come later.
    fn message(&self, request: &Request, id: CallId, call: &mut bool) -> Result<Option<Value>, Refusal> {
        let body = message::object(&request.body, "body")?;
        let offer = request.body.get("jsep").map(offer).transpose()?;
        let event = |data| message::plugin_event(id.session, id.handle, Some(&request.transaction), &data);
        let wishes = match echotest::wishes(body) {
            Ok(wishes) => wishes,
            Err(error) => return Ok(Some(event(error))),
        };
        let Some(sdp) = offer else {
            self.command(id, Command::Wish(wishes));
            return Ok(Some(event(echotest::result("ok"))));
        };
        *call = true;
        if !self.command(id, Command::Offer { transaction: request.transaction.clone(), sdp }) {
            return Ok(Some(event(echotest::error(BUSY, "the demo is busy, try again"))));
        }
        self.command(id, Command::Wish(wishes));
        Ok(None)
    }

    fn with_session(&self, request: &Request, id: u64, work: impl FnOnce(&mut Session) -> Reply) -> Reply {
        let mut sessions = self.lock();
        let session = sessions.get_mut(&id).ok_or_else(|| request.refuse(Refusal::Session(id)))?;
        session.heard = Instant::now();
        let reply = work(session);
        if request.verb == "destroy" && request.handle.is_none() {
            sessions.remove(&id);
        }
        reply
    }

    fn hang_up_all(&self, id: u64, session: &Session) {
        let calls = session.handles.iter().filter(|(_, call)| **call);
        calls.for_each(|(handle, _)| {
            let _ = self.command(CallId { session: id, handle: *handle }, Command::HangUp);
        });
    }

    fn hang_up(&self, id: CallId, call: &mut bool) {
        if std::mem::take(call) {
            self.command(id, Command::HangUp);
        }
    }

    fn command(&self, id: CallId, command: Command) -> bool {
        self.calls.try_send((id, command)).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// EchoTest's own number for what it cannot do now.
const BUSY: u16 = 499;
/// EchoTest's own number for an offer that cannot be answered.
const BAD_SDP: u16 = 414;
/// Candidates in one trickle.
const MAX_CANDIDATES: usize = 64;

fn attach(request: &Request, session: &mut Session) -> Reply {
    let plugin = message::text(&request.body, "plugin").map_err(|refusal| request.refuse(refusal))?;
    if plugin != PLUGIN {
        return Err(request.refuse(Refusal::Plugin(plugin.to_owned())));
    }
    if session.handles.len() >= MAX_HANDLES {
        let full = format!("{MAX_HANDLES} handles in one session, that is all a demo serves");
        return Err(request.refuse(Refusal::Full(full)));
    }
    let id = unused(|id| session.handles.contains_key(&id));
    session.handles.insert(id, false);
    Ok(request.made(id))
}

fn unused(used: impl Fn(u64) -> bool) -> u64 {
    loop {
        let id = rand::random_range(IDS);
        if !used(id) {
            return id;
        }
    }
}

fn offer(jsep: &Value) -> Result<String, Refusal> {
    let jsep = jsep.as_object().ok_or(Refusal::Element("jsep", "an object"))?;
    match message::text(jsep, "type")? {
        "offer" => Ok(message::text(jsep, "sdp")?.to_owned()),
        other => Err(Refusal::Jsep(other.to_owned())),
    }
}

/// Lines of candidates; the end of them, and those with a name instead of an address, mean nothing here.
fn candidates(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let all = match (body.get("candidate"), body.get("candidates")) {
        (Some(one), _) => std::slice::from_ref(one),
        (None, Some(Value::Array(all))) => all.as_slice(),
        (None, Some(_)) => return Err(Refusal::Element("candidates", "an array")),
        (None, None) => return Err(Refusal::Missing("candidate|candidates")),
    };
    let lines = all.iter().take(MAX_CANDIDATES).filter_map(|each| each.get("candidate")?.as_str());
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn events(id: CallId, happening: Happening) -> Vec<Value> {
    let CallId { session, handle } = id;
    let event = |word| message::event(word, session, handle);
    let said = |transaction: Option<&str>, data| message::plugin_event(session, handle, transaction, &data);
    match happening {
        Happening::Answer { transaction, sdp } => {
            let mut answer = said(Some(&transaction), echotest::result("ok"));
            answer["jsep"] = json!({"type": "answer", "sdp": sdp});
            vec![answer]
        }
        Happening::Refused { transaction, reason } => {
            vec![said(Some(&transaction), echotest::error(BAD_SDP, &reason))]
        }
        Happening::Up => vec![event("webrtcup")],
        Happening::Media { mid, video, receiving } => {
            let mut media = event("media");
            media["mid"] = mid.into();
            media["type"] = if video { "video" } else { "audio" }.into();
            media["receiving"] = receiving.into();
            vec![media]
        }
        Happening::Ended { reason } => {
            let mut hangup = event("hangup");
            hangup["reason"] = reason.into();
            vec![said(None, echotest::result("done")), hangup]
        }
    }
}
