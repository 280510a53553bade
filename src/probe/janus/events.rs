//! What Janus tells on its own, and the poll that fetches it where no WebSocket brings it.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::request::stranger;
use crate::probe::cause::Fault;
use crate::probe::http::{Ask, Http, refusal};
use crate::probe::journal::clean;

/// Janus ends an idle poll after 30 s.
const POLL: Duration = Duration::from_secs(40);

/// Something that Janus tells on its own.
#[derive(Debug, PartialEq)]
pub(in crate::probe) enum Event {
    /// A trickled candidate.
    Candidate(String),
    /// No further ones.
    CandidatesEnd,
    /// It receives (or no longer receives) media of a kind.
    Media { audio: bool, receiving: bool },
    /// ICE and DTLS are done on its side.
    Up,
    /// It ended the PeerConnection.
    Hangup(String),
    /// The API is gone.
    Gone(Fault),
}

/// Ends with its owner.
pub(super) struct Poll(JoinHandle<()>);

impl Poll {
    /// Fetches the events at `path` until nobody takes them any more.
    pub(super) fn of(
        http: Http,
        path: String,
        url: String,
        tell: mpsc::Sender<Result<Value, Fault>>,
    ) -> Poll {
        Poll(tokio::spawn(poll(http, path, url, tell)))
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn poll(mut http: Http, path: String, url: String, tell: mpsc::Sender<Result<Value, Fault>>) {
    loop {
        let ask = Ask { patience: POLL, ..Ask::get(path.clone()) };
        let events = match http.ask(ask).await {
            Ok(answer) if answer.status.is_success() => {
                serde_json::from_slice(&answer.body).map_err(|_| stranger(&url, "its events are no JSON"))
            }
            Ok(answer) => Err(refusal(answer.status, &answer.headers, &answer.body, &url)),
            Err(fault) => Err(fault),
        };
        let events = match events {
            Ok(Value::Array(events)) => events,
            Ok(event) => vec![event],
            Err(fault) => {
                let _ = tell.send(Err(fault)).await;
                return;
            }
        };
        for event in events {
            if tell.send(Ok(event)).await.is_err() {
                return;
            }
        }
    }
}

/// What a message tells; `None` for what does not matter to a probe.
pub(in crate::probe) fn event(message: &Value) -> Option<Event> {
    match message["janus"].as_str()? {
        "trickle" => {
            let candidate = &message["candidate"];
            if candidate["completed"] == true {
                return Some(Event::CandidatesEnd);
            }
            Some(Event::Candidate(candidate["candidate"].as_str()?.to_owned()))
        }
        "media" => Some(Event::Media {
            audio: message["type"] == "audio",
            receiving: message["receiving"].as_bool()?,
        }),
        "webrtcup" => Some(Event::Up),
        "hangup" => Some(Event::Hangup(clean(message["reason"].as_str().unwrap_or("no reason given")))),
        "timeout" => Some(Event::Hangup("the Janus session timed out".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_by_their_kind() {
        let of = |json: Value| event(&json);
        assert_eq!(
            of(json!({"janus": "trickle", "candidate": {"candidate": "candidate:1"}})),
            Some(Event::Candidate("candidate:1".to_owned()))
        );
        assert_eq!(
            of(json!({"janus": "trickle", "candidate": {"completed": true}})),
            Some(Event::CandidatesEnd)
        );
        assert_eq!(
            of(json!({"janus": "media", "type": "video", "receiving": true})),
            Some(Event::Media { audio: false, receiving: true })
        );
        assert_eq!(
            of(json!({"janus": "hangup", "reason": "ICE failed"})),
            Some(Event::Hangup("ICE failed".to_owned()))
        );
        for nothing in
            [json!([]), json!({"janus": 1}), json!({"janus": "keepalive"}), json!({"janus": "trickle"})]
        {
            assert_eq!(of(nothing), None);
        }
    }
}
