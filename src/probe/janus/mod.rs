//! Janus as its clients use it, over REST or WebSocket: session, handle, offer, events; each refusal with its cause.
//!
//! It knows no candidates and no media.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::events::Poll;
use self::request::{Secrets, id, object, stranger};
use self::socket::Socket;
use super::cause::{Cause, Fault};
use super::http::{Ask, Http, refusal};
use super::journal::clean;
use super::options::Options;
use super::reach::{Server, Stream};

mod events;
mod request;
mod socket;

pub(super) use self::events::{Event, event};

/// For a request to be acknowledged, and for the plugin to answer the offer.
const PATIENCE: Duration = Duration::from_secs(10);
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

/// What Janus says of itself.
#[derive(Debug, Default)]
pub(super) struct Info {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) ice_lite: Option<bool>,
    pub(super) ice_tcp: Option<bool>,
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
            self.poll = Some(Poll::of(http, path, self.url.clone(), tell));
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
}
