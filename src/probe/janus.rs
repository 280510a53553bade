//! Janus as its clients use it, over REST or WebSocket: session, handle, offer, events; each refusal with its cause.
//!
//! It knows no candidates and no media.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::cause::{Cause, Fault};
use super::http::{Answer, Ask, Http, refusal};
use super::janus_socket::Socket;
use super::journal::clean;
use super::options::Options;
use super::reach::{Server, Stream};

/// For a request to be acknowledged, and for the plugin to answer the offer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Janus ends an idle poll after 30 s.
const POLL: Duration = Duration::from_secs(40);
/// Events that nobody has read yet; a server that sends more is made to wait.
pub(super) const MOST_EVENTS: usize = 64;

/// A Janus session with at most one handle at a time.
pub(super) struct Janus {
    api: Api,
    session: u64,
    handle: u64,
    events: mpsc::Receiver<Result<Value, Fault>>,
    backlog: VecDeque<Value>,
    next: u32,
    base: String,
    url: String,
    secrets: Secrets,
    plugins: Vec<String>,
    plugin: String,
    poll: Option<Poll>,
}

enum Api {
    Rest(Box<Http>),
    Ws(Socket),
}

/// Ends with its owner.
struct Poll(JoinHandle<()>);

impl Drop for Poll {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone)]
struct Secrets {
    token: Option<String>,
    apisecret: Option<String>,
}

/// What Janus says of itself.
#[derive(Debug, Default)]
pub(super) struct Info {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) ice_lite: Option<bool>,
    pub(super) ice_tcp: Option<bool>,
}

/// Something that Janus tells on its own.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
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

impl Janus {
    /// Over the connection that stands; the inner error says that it does not look like Janus.
    pub(super) async fn over(
        server: &Server,
        options: &Options,
        stream: Stream,
    ) -> Result<Result<(Janus, Info), Fault>, Fault> {
        let mut janus = Janus::without_info(server, options, stream).await?;
        Ok(janus.info().await?.map(|info| (janus, info)))
    }

    /// The same, without asking who it is.
    pub(super) async fn without_info(
        server: &Server,
        options: &Options,
        stream: Stream,
    ) -> Result<Janus, Fault> {
        let (tell, events) = mpsc::channel(MOST_EVENTS);
        let target = &server.target;
        let api = match target.ws {
            true => Api::Ws(Socket::upgrade(server, options, stream, tell).await?),
            false => Api::Rest(Box::new(Http::over(server, options, stream).await?)),
        };
        Ok(Janus {
            api,
            session: 0,
            handle: 0,
            events,
            backlog: VecDeque::new(),
            next: 0,
            base: target.path.clone(),
            url: target.shown(),
            secrets: Secrets { token: options.token.clone(), apisecret: options.apisecret.clone() },
            plugins: Vec::new(),
            plugin: options.plugin.clone(),
            poll: None,
        })
    }

    /// What it says of itself; the inner error: it does not look like Janus.
    async fn info(&mut self) -> Result<Result<Info, Fault>, Fault> {
        let reply = match &mut self.api {
            Api::Ws(_) => self.request("info", json!({})).await,
            Api::Rest(http) => {
                let answer = http.ask(Ask::get(format!("{}/info", self.base))).await?;
                match answer.status.as_u16() {
                    200 => object(&answer, &self.url),
                    _ => Err(refusal(answer.status, &answer.headers, &answer.body, &self.url)),
                }
            }
        };
        match reply {
            Ok(reply) if reply["janus"] == "server_info" => Ok(Ok(self.read_info(&reply))),
            // An implementation of the API without `info` says so in the words of the API.
            Ok(reply) if reply["janus"] == "error" => Ok(Ok(Info::default())),
            Ok(_) => Ok(Err(stranger(&self.url, "it answers, but not in the words of the Janus API"))),
            Err(fault) => match fault.cause {
                Cause::JanusError | Cause::JanusUnauthorized => Ok(Ok(Info::default())),
                Cause::HttpNotFound | Cause::HttpUnexpected | Cause::NotJanus => Ok(Err(fault)),
                _ => Err(fault),
            },
        }
    }

    fn read_info(&mut self, reply: &Value) -> Info {
        if let Some(plugins) = reply["plugins"].as_object() {
            self.plugins = plugins.keys().take(50).map(|name| clean(name)).collect();
        }
        let text = |key: &str| reply[key].as_str().map(clean);
        Info {
            name: text("name"),
            version: text("version_string"),
            ice_lite: reply["ice-lite"].as_bool(),
            ice_tcp: reply["ice-tcp"].as_bool(),
        }
    }

    /// A session, and the poll for its events.
    pub(super) async fn create(&mut self, server: &Server, options: &Options) -> Result<(), Fault> {
        let reply = self.request("create", json!({})).await?;
        self.session = id(&reply, &self.url)?;
        if let Api::Rest(_) = self.api {
            let (tell, events) = mpsc::channel(MOST_EVENTS);
            self.events = events;
            let http = Http::new(server, options);
            let path = format!("{}/{}?maxev=10{}", self.base, self.session, self.secrets.query());
            self.poll = Some(Poll(tokio::spawn(poll(http, path, self.url.clone(), tell))));
        }
        Ok(())
    }

    /// A handle of the plugin.
    pub(super) async fn attach(&mut self) -> Result<(), Fault> {
        self.handle = 0;
        self.backlog.clear();
        let reply = self.request("attach", json!({ "plugin": self.plugin })).await?;
        self.handle = id(&reply, &self.url)?;
        Ok(())
    }

    /// Sends the offer and waits for the answer to it.
    pub(super) async fn offer(&mut self, sdp: &str) -> Result<String, Fault> {
        let body = json!({
            "body": { "audio": true, "video": true },
            "jsep": { "type": "offer", "sdp": sdp },
        });
        let mut early = VecDeque::new();
        let first = self.request("message", body).await?;
        let answered = timeout(PATIENCE, async {
            let mut message = first;
            loop {
                if let Some(answer) = self.answer_in(&message)? {
                    return Ok(answer);
                }
                early.push_back(message);
                message = self.next_message().await?;
            }
        });
        let answer = answered.await.unwrap_or_else(|_| {
            Err(Fault::new(
                Cause::NoAnswer,
                format!("{} took the offer and gave no answer within {} s", self.plugin, PATIENCE.as_secs()),
                "is it a plugin that answers an offer by itself? Try --plugin janus.plugin.echotest",
            ))
        });
        // Candidates may come before the answer.
        early.append(&mut self.backlog);
        self.backlog = early;
        answer
    }

    fn answer_in(&self, message: &Value) -> Result<Option<String>, Fault> {
        if message["sender"].as_u64().is_some_and(|sender| sender != self.handle) {
            return Ok(None);
        }
        if let Some(sdp) = message["jsep"]["sdp"].as_str() {
            return Ok(Some(sdp.to_owned()));
        }
        let data = &message["plugindata"]["data"];
        if let Some(error) = data["error"].as_str() {
            return Err(Fault::new(
                Cause::JanusError,
                format!("{} refuses the offer: {}", self.plugin, clean(error)),
                "look at Janus' log",
            ));
        }
        if message["janus"] == "hangup" {
            return Err(Fault::new(
                Cause::NoAnswer,
                format!(
                    "Janus hangs up instead of answering: {}",
                    clean(message["reason"].as_str().unwrap_or("no reason given"))
                ),
                "look at Janus' log",
            ));
        }
        Ok(None)
    }

    /// Says that no candidates come. All of them stand in the offer, so a server that does not trickle may refuse it.
    pub(super) async fn candidates_end(&mut self) {
        let _ = self.request("trickle", json!({ "candidate": { "completed": true } })).await;
    }

    /// The next event of the current handle.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            let message = match self.next_message().await {
                Ok(message) => message,
                Err(fault) => return Event::Gone(fault),
            };
            if message["sender"].as_u64().is_some_and(|sender| sender != self.handle) {
                continue;
            }
            if let Some(event) = event(&message) {
                return event;
            }
        }
    }

    /// Ends the PeerConnection.
    pub(super) async fn detach(&mut self) {
        let _ = self.request("detach", json!({})).await;
        self.handle = 0;
    }

    /// Ends the session.
    pub(super) async fn destroy(&mut self) {
        self.handle = 0;
        let _ = self.request("destroy", json!({})).await;
    }

    async fn next_message(&mut self) -> Result<Value, Fault> {
        if let Some(message) = self.backlog.pop_front() {
            return Ok(message);
        }
        match self.events.recv().await {
            Some(message) => message,
            // Whoever polled has said why before.
            None => std::future::pending().await,
        }
    }

    /// Sends a request and returns the reply to it.
    async fn request(&mut self, what: &str, body: Value) -> Result<Value, Fault> {
        self.next += 1;
        let transaction = format!("probe-{}", self.next);
        let mut message = self.message(what, &transaction, body);
        let reply = match &mut self.api {
            Api::Rest(http) => {
                let path = [Some(self.base.clone()), id_path(self.session), id_path(self.handle)];
                let path: String = path.into_iter().flatten().collect();
                let path = if path.is_empty() { "/".to_owned() } else { path };
                let answer = http
                    .ask(Ask::post(path, "application/json", Bytes::from(Value::from(message).to_string())))
                    .await?;
                if !answer.status.is_success() {
                    return Err(refusal(answer.status, &answer.headers, &answer.body, &self.url));
                }
                object(&answer, &self.url)?
            }
            Api::Ws(socket) => {
                for (key, id) in [("session_id", self.session), ("handle_id", self.handle)] {
                    if id != 0 {
                        message.insert(key.to_owned(), id.into());
                    }
                }
                socket.send(Value::from(message).to_string()).await?;
                self.reply_to(&transaction, what).await?
            }
        };
        self.checked(reply, what)
    }

    fn message(&self, what: &str, transaction: &str, body: Value) -> Map<String, Value> {
        let mut message = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        message.insert("janus".to_owned(), what.into());
        message.insert("transaction".to_owned(), transaction.into());
        for (key, secret) in [("token", &self.secrets.token), ("apisecret", &self.secrets.apisecret)] {
            if let Some(secret) = secret {
                message.insert(key.to_owned(), secret.clone().into());
            }
        }
        message
    }

    /// Events come in between; they keep their order.
    async fn reply_to(&mut self, transaction: &str, what: &str) -> Result<Value, Fault> {
        let events = &mut self.events;
        let backlog = &mut self.backlog;
        let wait = timeout(PATIENCE, async {
            loop {
                let Some(message) = events.recv().await else { return std::future::pending().await };
                let message = message?;
                let is_reply = message["transaction"] == transaction && message["janus"] != "event";
                if is_reply {
                    return Ok(message);
                }
                if backlog.len() < MOST_EVENTS {
                    backlog.push_back(message);
                }
            }
        });
        wait.await.unwrap_or_else(|_| {
            Err(Fault::new(
                Cause::HttpTimeout,
                format!("no reply to `{what}` over the WebSocket within {} s", PATIENCE.as_secs()),
                "the server, or what is behind it, hangs: look at its log",
            ))
        })
    }

    fn checked(&self, reply: Value, what: &str) -> Result<Value, Fault> {
        match reply["janus"].as_str() {
            Some("success" | "ack" | "server_info" | "event") => Ok(reply),
            Some("error") => Err(self.refused(&reply["error"], what)),
            _ => Err(stranger(&self.url, "it answers, but not in the words of the Janus API")),
        }
    }

    fn refused(&self, error: &Value, what: &str) -> Fault {
        let code = error["code"].as_u64().unwrap_or(0);
        let reason = clean(error["reason"].as_str().unwrap_or("no reason given"));
        match code {
            403 => {
                let given = self.secrets.token.is_some() || self.secrets.apisecret.is_some();
                let (what, fix) = match given {
                    true => (
                        "refuses what --token or --apisecret gave",
                        "compare with api_secret and token_auth in janus.jcfg",
                    ),
                    false => ("wants a token or API secret", "give it with --token or --apisecret"),
                };
                Fault::new(Cause::JanusUnauthorized, format!("Janus {what} (403 {reason})"), fix)
            }
            460 => {
                let installed = match self.plugins.is_empty() {
                    true => String::new(),
                    false => format!("; it has {}", self.plugins.join(", ")),
                };
                Fault::new(
                    Cause::PluginMissing,
                    format!("Janus has no plugin {}{installed}", clean(&self.plugin)),
                    "enable the plugin in Janus, or name one that echoes with --plugin",
                )
            }
            _ => Fault::new(
                Cause::JanusError,
                format!("Janus answers `{what}` with error {code}: {reason}"),
                "look at Janus' log",
            ),
        }
    }
}

impl Secrets {
    fn query(&self) -> String {
        let parts = [("token", &self.token), ("apisecret", &self.apisecret)];
        let given = parts.into_iter().filter_map(|(key, secret)| Some((key, secret.as_ref()?)));
        given.map(|(key, secret)| format!("&{key}={}", percent(secret))).collect()
    }
}

/// For a query (RFC 3986 §2.3).
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn id_path(id: u64) -> Option<String> {
    (id != 0).then(|| format!("/{id}"))
}

fn id(reply: &Value, url: &str) -> Result<u64, Fault> {
    reply["data"]["id"].as_u64().ok_or_else(|| stranger(url, "its reply has no data.id"))
}

fn stranger(url: &str, why: &str) -> Fault {
    Fault::new(
        Cause::NotJanus,
        format!("{url} is no Janus API: {why}"),
        "correct the URL (Janus serves /janus over HTTP unless told otherwise), or say --protocol whip",
    )
}

fn object(answer: &Answer, url: &str) -> Result<Value, Fault> {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(json) if json.is_object() => Ok(json),
        _ => Err(stranger(url, "it does not answer with a JSON object")),
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

pub(super) fn event(message: &Value) -> Option<Event> {
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

    #[test]
    fn secrets_are_written_so_that_a_query_carries_them() {
        assert_eq!(percent("a b&c=/ä~"), "a%20b%26c%3D%2F%C3%A4~");
    }
}
