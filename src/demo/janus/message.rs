//! \[pure\] Requests and replies of the Janus API, as janus.js and Janus itself write them.

use serde_json::{Map, Value, json};

/// A request that has what every request must have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// `janus`: what to do.
    pub(super) verb: String,
    pub(super) transaction: String,
    /// By path (REST) or by body (WebSocket).
    pub(super) session: Option<u64>,
    pub(super) handle: Option<u64>,
    pub(super) body: Map<String, Value>,
}

/// Why a request is refused, with the API's error code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("Unhandled request '{0}' at this path")]
    Path(String),
    #[error("Unknown request '{0}'")]
    Verb(String),
    #[error("Invalid JSON: {0}")]
    Json(String),
    #[error("expected an object")]
    NoObject,
    #[error("Missing mandatory element ({0})")]
    Missing(&'static str),
    #[error("Invalid element type ({0} should be {1})")]
    Element(&'static str, &'static str),
    #[error("No such session {0}")]
    Session(u64),
    #[error("No such handle {0} in session {1}")]
    Handle(u64, u64),
    #[error("No such plugin '{0}'; the demo has janus.plugin.echotest")]
    Plugin(String),
    #[error("Unknown JSEP type '{0}': the demo answers offers")]
    Jsep(String),
    #[error("{0}")]
    Full(String),
}

impl Refusal {
    /// The API's number for it.
    fn code(&self) -> u16 {
        match self {
            Refusal::Verb(_) => 453,
            Refusal::Json(_) => 454,
            Refusal::NoObject => 455,
            Refusal::Missing(_) => 456,
            Refusal::Path(_) => 457,
            Refusal::Session(_) => 458,
            Refusal::Handle(..) => 459,
            Refusal::Plugin(_) => 460,
            Refusal::Jsep(_) => 464,
            Refusal::Element(..) => 467,
            Refusal::Full(_) => 472,
        }
    }
}

/// A refusal together with what it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) transaction: Option<String>,
    pub(super) session: Option<u64>,
}

impl Refused {
    pub(super) fn reply(&self) -> Value {
        let mut reply = json!({"janus": "error"});
        if let Some(session) = self.session {
            reply["session_id"] = session.into();
        }
        if let Some(transaction) = &self.transaction {
            reply["transaction"] = transaction.as_str().into();
        }
        reply["error"] = json!({"code": self.refusal.code(), "reason": self.refusal.to_string()});
        reply
    }
}

/// Where REST says that a request goes: `/janus/SESSION/HANDLE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) session: Option<u64>,
    pub(super) handle: Option<u64>,
}

impl Request {
    /// Reads one request; `target` is what its path says.
    pub(super) fn read(bytes: &[u8], target: Target) -> Result<Request, Refused> {
        let refused = |refusal| Refused { refusal, transaction: None, session: target.session };
        let body: Value =
            serde_json::from_slice(bytes).map_err(|error| refused(Refusal::Json(error.to_string())))?;
        let Value::Object(body) = body else { return Err(refused(Refusal::NoObject)) };
        let transaction = body.get("transaction").and_then(Value::as_str).map(str::to_owned);
        let refused =
            |refusal| Refused { refusal, transaction: transaction.clone(), session: target.session };
        let verb = text(&body, "janus").map_err(refused)?.to_owned();
        let transaction = text(&body, "transaction").map_err(refused)?.to_owned();
        let session = target.session.or(number(&body, "session_id").map_err(refused)?);
        let handle = target.handle.or(number(&body, "handle_id").map_err(refused)?);
        Ok(Request { verb, transaction, session, handle, body })
    }

    pub(super) fn refuse(&self, refusal: Refusal) -> Refused {
        Refused { refusal, transaction: Some(self.transaction.clone()), session: self.session }
    }

    /// `ack` or another word that says nothing more.
    pub(super) fn word(&self, word: &str) -> Value {
        let mut reply = json!({"janus": word});
        if let Some(session) = self.session {
            reply["session_id"] = session.into();
        }
        reply["transaction"] = self.transaction.as_str().into();
        reply
    }

    /// `success` with the id of what was made.
    pub(super) fn made(&self, id: u64) -> Value {
        let mut reply = self.word("success");
        reply["data"] = json!({"id": id});
        reply
    }
}

/// The text at `key`.
pub(super) fn text<'b>(body: &'b Map<String, Value>, key: &'static str) -> Result<&'b str, Refusal> {
    let value = body.get(key).ok_or(Refusal::Missing(key))?;
    value.as_str().ok_or(Refusal::Element(key, "a string"))
}

/// The object at `key`.
pub(super) fn object<'b>(
    body: &'b Map<String, Value>,
    key: &'static str,
) -> Result<&'b Map<String, Value>, Refusal> {
    let value = body.get(key).ok_or(Refusal::Missing(key))?;
    value.as_object().ok_or(Refusal::Element(key, "an object"))
}

fn number(body: &Map<String, Value>, key: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = body.get(key) else { return Ok(None) };
    value.as_u64().map(Some).ok_or(Refusal::Element(key, "a positive integer"))
}

/// An event of a handle: `webrtcup`, `media`, `hangup` and so on.
pub(super) fn event(word: &str, session: u64, handle: u64) -> Value {
    json!({"janus": word, "session_id": session, "sender": handle})
}

/// An event that comes from EchoTest.
pub(super) fn plugin_event(session: u64, handle: u64, transaction: Option<&str>, data: &Value) -> Value {
    let mut event = json!({"janus": "event", "session_id": session});
    if let Some(transaction) = transaction {
        event["transaction"] = transaction.into();
    }
    event["sender"] = handle.into();
    event["plugindata"] = json!({"plugin": super::PLUGIN, "data": data});
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> (u64, String) {
        let refused = Request::read(text.as_bytes(), Target::default()).expect_err("refused");
        let reply = refused.reply();
        let said = reply["error"]["reason"].as_str().expect("a reason").to_owned();
        (reply["error"]["code"].as_u64().expect("a code"), said)
    }

    #[test]
    fn a_request_is_read_from_body_and_path() {
        let text = br#"{"janus":"attach","plugin":"p","transaction":"t","session_id":5}"#;
        let request = Request::read(text, Target::default()).expect("a request");
        assert_eq!((request.verb.as_str(), request.session, request.handle), ("attach", Some(5), None));
        let target = Target { session: Some(7), handle: Some(8) };
        let request = Request::read(text, target).expect("a request");
        assert_eq!((request.session, request.handle), (Some(7), Some(8)));
    }

    #[test]
    fn what_is_no_request_has_the_error_of_janus() {
        assert_eq!(code("{").0, 454);
        assert_eq!(code("[]"), (455, "expected an object".into()));
        assert_eq!(code("{}"), (456, "Missing mandatory element (janus)".into()));
        assert_eq!(code(r#"{"janus":"create"}"#), (456, "Missing mandatory element (transaction)".into()));
        assert_eq!(code(r#"{"janus":1,"transaction":"t"}"#).0, 467);
        assert_eq!(code(r#"{"janus":"keepalive","transaction":"t","session_id":-1}"#).0, 467);
    }

    #[test]
    fn a_refusal_says_what_it_answers() {
        let text = br#"{"janus":"nonsense","transaction":"t1"}"#;
        let request = Request::read(text, Target { session: Some(3), handle: None }).expect("a request");
        let reply = request.refuse(Refusal::Verb(request.verb.clone())).reply();
        let expected = json!({
            "janus": "error", "session_id": 3, "transaction": "t1",
            "error": {"code": 453, "reason": "Unknown request 'nonsense'"},
        });
        assert_eq!(reply, expected);
    }
}
