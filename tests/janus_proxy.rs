//! Captured sessions of janus.js replayed over real sockets through the proxy with the Janus dialect: what either side sees
//! of the other one's addresses, and what the packet side is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use proxy_support::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};
use xrtc::http::HttpService;
use xrtc::session::registration::{Command, EndReason, SessionSink};

/// One captured message.
#[derive(Deserialize)]
struct Step {
    n: usize,
    dir: String,
    body: Option<Box<RawValue>>,
    method: Option<String>,
    url: Option<String>,
    reply_to: Option<usize>,
    status: Option<u16>,
}

impl Step {
    fn text(&self) -> String {
        match self.body.as_deref().map(RawValue::get) {
            None | Some("\"\"") => String::new(),
            Some(text) => text.to_owned(),
        }
    }

    fn is_trickle(&self) -> bool {
        self.dir == "C->J" && self.text().contains(r#""janus": "trickle""#)
    }

    /// Names a request, and whatever answers it.
    fn transaction(&self) -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(&self.text()).ok()?;
        Some(value.get("transaction")?.as_str()?.to_owned())
    }
}

#[derive(Clone, Default)]
struct Commands(Arc<Mutex<Vec<Command>>>);

impl SessionSink for Commands {
    fn send(&self, command: Command) {
        self.0.lock().unwrap().push(command);
    }
}

impl Commands {
    /// One letter per command.
    fn summary(&self) -> String {
        let letter = |command: &Command| match command {
            Command::Register(_) => 'R',
            Command::AddCandidates(..) => 'C',
            Command::End(_, EndReason::Detached | EndReason::Hangup | EndReason::Destroyed) => 'E',
            Command::End(..) => 'X',
        };
        self.0.lock().unwrap().iter().map(letter).collect()
    }
}

async fn edge(upstream: std::net::SocketAddr) -> (Edge, Commands) {
    let commands = Commands::default();
    let sink: Arc<dyn SessionSink> = Arc::new(commands.clone());
    let candidates = Arc::from([Box::from("candidate:1 1 udp 2013266431 192.0.2.1 6000 typ host")]);
    let config = http(vec![read("/janus", upstream)]);
    let service = HttpService::new(&config, &[], &limits(), &candidates, &sink).unwrap();
    (Edge::serving(Arc::new(service), Record::default(), 10).await, commands)
}

/// What a description tells of its side's addresses.
fn shows_address(text: &str) -> bool {
    let mut candidates = text.split("candidate:").skip(1);
    let foreign = candidates.any(|rest| !rest.starts_with("1 1 udp 2013266431 192.0.2.1 6000 typ host"));
    foreign || text.contains("IN IP4 192.168") || text.contains("IN IP4 172.") || text.contains("IN IP4 10.")
}

#[tokio::test]
async fn an_echo_test_over_rest_shows_neither_side_the_other() {
    let reply = Arc::new(Mutex::new(None::<(u16, String)>));
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let (replies, told) = (reply.clone(), seen.clone());
    let upstream = Upstream::start(move |request: Request<hyper::body::Incoming>, _| {
        let (replies, told) = (replies.clone(), told.clone());
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            told.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
            let (status, text) = replies.lock().unwrap().take().expect("nothing else reaches the backend");
            let kind = ("content-type", "application/json");
            Response::builder().status(status).header(kind.0, kind.1).body(Full::from(text)).unwrap()
        }
    })
    .await;
    let (edge, commands) = edge(upstream.addr).await;
    let mut client = Client::connect(edge.addr).await;
    for (request, answer) in exchanges(&steps("echotest-http")) {
        if !request.is_trickle() {
            *reply.lock().unwrap() = Some((answer.status.unwrap(), answer.text()));
        }
        let (method, url) = (request.method.as_deref().unwrap(), request.url.as_deref().unwrap());
        let response = client.send(proxy_support::request(method, url, full(request.text()))).await.unwrap();
        assert_eq!(response.status().as_u16(), answer.status.unwrap(), "step {}", request.n);
        let text = text(response).await;
        assert!(!shows_address(&text), "step {} shows the client {text}", answer.n);
        if request.is_trickle() {
            assert!(
                text.contains(r#""janus":"ack""#) && text.contains(&request.transaction().unwrap()),
                "{text}"
            );
        }
    }
    let told = seen.lock().unwrap().clone();
    assert_eq!(told.iter().filter(|text| text.contains("\"sdp\"")).count(), 1);
    for text in told {
        assert!(!shows_address(&text) && !text.contains("candidate"), "the backend is shown {text}");
    }
    assert_eq!(commands.summary(), "RE");
    edge.stop().await;
}

#[tokio::test]
async fn an_echo_test_over_a_websocket_shows_neither_side_the_other() {
    for (name, expected) in [("echotest-ws", "RE"), ("echotest-restart-ws", "RRE")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (edge, commands) = edge(listener.local_addr().unwrap()).await;
        let stream = TcpStream::connect(edge.addr).await.unwrap();
        let dial = client_async(format!("ws://{}/janus", edge.addr), stream);
        let accept = async { accept_async(listener.accept().await.unwrap().0).await };
        let (dialled, accepted) = in_time(async { tokio::join!(dial, accept) }).await;
        let (mut client, mut backend) = (dialled.unwrap().0, accepted.unwrap());
        let mut absorbed = Vec::new();
        for step in steps(name).iter().filter(|step| step.body.is_some()) {
            let (sender, receiver) = match step.dir.as_str() {
                "C->J" => (&mut client, &mut backend),
                _ => (&mut backend, &mut client),
            };
            if step.is_trickle() {
                absorbed.push(step.transaction());
                sender.send(Message::text(step.text())).await.unwrap();
                let ack = in_time(sender.next()).await.unwrap().unwrap();
                assert!(ack.to_text().unwrap().contains(r#""janus":"ack""#), "{ack}");
                continue;
            }
            if step.dir == "J->C" && absorbed.contains(&step.transaction()) && step.transaction().is_some() {
                continue;
            }
            sender.send(Message::text(step.text())).await.unwrap();
            let got = in_time(receiver.next()).await.unwrap().unwrap();
            let got = got.to_text().unwrap();
            assert!(!shows_address(got), "step {} shows {got}", step.n);
            assert_eq!(got.contains("\"sdp\""), step.text().contains("\"sdp\""));
        }
        drop((client, backend));
        edge.stop().await;
        assert_eq!(commands.summary(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_closed_janus_websocket_ends_its_sessions() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (edge, commands) = edge(listener.local_addr().unwrap()).await;
    let stream = TcpStream::connect(edge.addr).await.unwrap();
    let dial = client_async(format!("ws://{}/janus", edge.addr), stream);
    let accept = async { accept_async(listener.accept().await.unwrap().0).await };
    let (dialled, accepted) = in_time(async { tokio::join!(dial, accept) }).await;
    let (mut client, mut backend) = (dialled.unwrap().0, accepted.unwrap());
    for step in steps("echotest-ws").iter().filter(|step| step.body.is_some() && !step.is_trickle()) {
        let (sender, receiver) = match step.dir.as_str() {
            "C->J" => (&mut client, &mut backend),
            _ => (&mut backend, &mut client),
        };
        if step.text().contains("detach") {
            break;
        }
        sender.send(Message::text(step.text())).await.unwrap();
        in_time(receiver.next()).await.unwrap().unwrap();
    }
    drop(client);
    assert!(matches!(in_time(backend.next()).await, Some(Ok(Message::Close(_)))));
    drop(backend);
    edge.stop().await;
    assert_eq!(commands.summary(), "RX");
}

#[tokio::test]
async fn the_empty_404_of_a_poll_ends_the_sessions_of_its_janus_session() {
    let answer = Arc::new(Mutex::new(None::<(u16, String)>));
    let answers = answer.clone();
    let upstream = Upstream::start(move |_: Request<hyper::body::Incoming>, _| {
        let (status, text) = answers.lock().unwrap().take().unwrap();
        async move { Response::builder().status(status).body(Full::from(text)).unwrap() }
    })
    .await;
    let (edge, commands) = edge(upstream.addr).await;
    let mut client = Client::connect(edge.addr).await;
    let mut session = String::new();
    for (request, reply) in exchanges(&steps("echotest-http")).into_iter().filter(|(it, _)| !it.is_trickle())
    {
        let (method, url) = (request.method.as_deref().unwrap(), request.url.as_deref().unwrap());
        *answer.lock().unwrap() = Some((reply.status.unwrap(), reply.text()));
        client.send(proxy_support::request(method, url, full(request.text()))).await.unwrap();
        if method == "GET" {
            session = url.to_owned();
        }
        if commands.summary() == "R" {
            break;
        }
    }
    *answer.lock().unwrap() = Some((404, String::new()));
    assert_eq!(client.ask("GET", &session, "").await, (404, String::new()));
    assert_eq!(commands.summary(), "RE");
    edge.stop().await;
}

fn steps(name: &str) -> Vec<Step> {
    let path = format!("{}/tests/vectors/janus/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Requests with their answers, in the order in which they were answered.
fn exchanges(steps: &[Step]) -> Vec<(&Step, &Step)> {
    let answers = steps.iter().filter(|step| step.dir == "J->C");
    answers
        .map(|answer| (steps.iter().find(|step| Some(step.n) == answer.reply_to).unwrap(), answer))
        .collect()
}
