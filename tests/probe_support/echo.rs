//! A media server with the Janus API (REST) or WHIP, and `str0m` behind it: it echoes, unless told to misbehave.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use str0m::change::SdpOffer;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

/// In which way it misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// What is done to the answer before it is sent.
    pub answer: Vec<(String, String)>,
    /// Instead of an answer.
    pub instead: Option<String>,
    /// The candidate that is published instead of its own; empty for none.
    pub candidate: Option<String>,
    /// No DTLS packet leaves.
    pub no_dtls: bool,
    /// Media is not sent back.
    pub mute: bool,
    /// Data is not sent back.
    pub no_data: bool,
    /// Candidates come as events, after the answer.
    pub trickle: bool,
    /// What every request must carry.
    pub token: Option<String>,
    /// The API has no `info`.
    pub no_info: bool,
}

pub struct Echo {
    pub addr: SocketAddr,
}

struct State {
    faults: Faults,
    next: AtomicU64,
    sessions: Mutex<HashMap<u64, Session>>,
}

#[derive(Clone)]
struct Session {
    tell: mpsc::UnboundedSender<Value>,
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>>,
}

impl Echo {
    pub async fn start(faults: Faults) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State { faults, next: AtomicU64::new(100), sessions: Mutex::default() });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                let service = service_fn(move |request| respond(state.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Echo { addr }
    }

    pub fn janus(&self) -> String {
        format!("http://{}/janus", self.addr)
    }

    pub fn whip(&self) -> String {
        format!("http://{}/whip", self.addr)
    }
}

type Reply = Response<Full<Bytes>>;

async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/whip") {
        return Ok(state.whip(request).await);
    }
    let method = request.method().clone();
    let ids: Vec<u64> = path.split('/').skip(2).filter_map(|part| part.parse().ok()).collect();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let reply = match (method, ids.as_slice()) {
        (Method::GET, [session]) => state.poll(*session).await,
        (Method::GET, _) if path.ends_with("/info") && !state.faults.no_info => {
            json!({"janus": "server_info", "name": "Test server", "version_string": "0.1", "ice-lite": false,
                "plugins": {"janus.plugin.echotest": {}}})
        }
        (Method::POST, ids) => state.post(ids, &serde_json::from_slice(&body).unwrap_or(Value::Null)).await,
        _ => return Ok(Response::builder().status(404).body(Full::default()).unwrap()),
    };
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(Full::from(reply.to_string()))
        .unwrap())
}

impl State {
    async fn whip(&self, request: Request<Incoming>) -> Reply {
        let bearer =
            request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.faults.token.as_ref().is_some_and(|token| bearer != format!("Bearer {token}")) {
            return Response::builder().status(401).body(Full::default()).unwrap();
        }
        match *request.method() {
            Method::POST => {
                let offer = request.into_body().collect().await.unwrap().to_bytes();
                let offer = String::from_utf8(offer.to_vec()).unwrap();
                let (answer, _) = self.answer(&offer, mpsc::unbounded_channel().0, 0).await;
                let made = Response::builder()
                    .status(201)
                    .header("location", "/whip/1")
                    .header("content-type", "application/sdp");
                made.body(Full::from(answer)).unwrap()
            }
            Method::OPTIONS => Response::builder()
                .status(204)
                .header("accept-post", "application/sdp")
                .body(Full::default())
                .unwrap(),
            _ => Response::new(Full::default()),
        }
    }

    async fn poll(&self, session: u64) -> Value {
        let session = self.sessions.lock().unwrap().get(&session).cloned();
        let Some(session) = session else { return error(458, "no such session") };
        let mut events = session.events.lock().await;
        match tokio::time::timeout(Duration::from_secs(30), events.recv()).await {
            Ok(Some(event)) => json!([event]),
            _ => json!([{"janus": "keepalive"}]),
        }
    }

    async fn post(&self, ids: &[u64], message: &Value) -> Value {
        let transaction = message["transaction"].clone();
        if self.faults.token.as_ref().is_some_and(|token| message["token"] != **token) {
            return error(403, "Unauthorized request (wrong or missing secret/token)");
        }
        match (message["janus"].as_str(), ids) {
            (Some("create"), []) => {
                let (tell, events) = mpsc::unbounded_channel();
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                let session = Session { tell, events: Arc::new(tokio::sync::Mutex::new(events)) };
                self.sessions.lock().unwrap().insert(id, session);
                json!({"janus": "success", "transaction": transaction, "data": {"id": id}})
            }
            (Some("attach"), [_]) if message["plugin"] != "janus.plugin.echotest" => {
                error(460, "No such plugin")
            }
            (Some("attach"), [_]) => {
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                json!({"janus": "success", "transaction": transaction, "data": {"id": id}})
            }
            (Some("message"), [session, handle]) => {
                self.message(*session, *handle, message).await;
                json!({"janus": "ack", "transaction": transaction})
            }
            (Some("trickle" | "keepalive"), _) => json!({"janus": "ack", "transaction": transaction}),
            (Some("detach" | "destroy"), _) => json!({"janus": "success", "transaction": transaction}),
            _ => error(453, "unknown request"),
        }
    }

    async fn message(&self, session: u64, handle: u64, message: &Value) {
        let tell = self.sessions.lock().unwrap()[&session].tell.clone();
        let (answer, candidate) =
            self.answer(message["jsep"]["sdp"].as_str().unwrap(), tell.clone(), handle).await;
        let event = json!({
            "janus": "event", "sender": handle, "transaction": message["transaction"],
            "plugindata": {"plugin": "janus.plugin.echotest", "data": {"result": "ok"}},
            "jsep": {"type": "answer", "sdp": answer},
        });
        let _ = tell.send(event);
        if self.faults.trickle {
            let trickle =
                |candidate: Value| json!({"janus": "trickle", "sender": handle, "candidate": candidate});
            let _ = tell.send(trickle(json!({"candidate": candidate, "sdpMLineIndex": 0})));
            let _ = tell.send(trickle(json!({"completed": true})));
        }
    }

    /// The answer, its candidate, and the endpoint at work.
    async fn answer(&self, offer: &str, tell: mpsc::UnboundedSender<Value>, handle: u64) -> (String, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let mut rtc = xrtc::peer::settings().build(Instant::now());
        rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        let answer =
            rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(offer).unwrap()).unwrap().to_sdp_string();
        let faults = self.faults.clone();
        let own = format!("candidate:1 1 udp 2130706431 {} {} typ host", addr.ip(), addr.port());
        let candidate = faults.candidate.clone().unwrap_or(own);
        let mut lines: Vec<String> = Vec::new();
        for line in
            answer.lines().filter(|line| !line.starts_with("a=candidate") && *line != "a=end-of-candidates")
        {
            lines.push(line.to_owned());
            if line.starts_with("a=ice-pwd:") && !faults.trickle {
                lines.extend((!candidate.is_empty()).then(|| format!("a={candidate}")));
                lines.push("a=end-of-candidates".to_owned());
            }
        }
        let mut answer = lines.join("\r\n") + "\r\n";
        for (from, to) in &faults.answer {
            assert!(answer.contains(from), "{from} is not in {answer}");
            answer = answer.replace(from, to);
        }
        tokio::spawn(drive(rtc, socket, faults.clone(), tell, handle));
        (faults.instead.unwrap_or(answer), candidate)
    }
}

async fn drive(
    mut rtc: Rtc,
    socket: UdpSocket,
    faults: Faults,
    tell: mpsc::UnboundedSender<Value>,
    handle: u64,
) {
    let local = socket.local_addr().unwrap();
    let mut buffer = vec![0; 2000];
    let mut told = false;
    let end = Instant::now() + Duration::from_secs(40);
    while Instant::now() < end && rtc.is_alive() {
        let wake = loop {
            match rtc.poll_output() {
                Ok(Output::Timeout(wake)) => break wake,
                Ok(Output::Transmit(packet)) => {
                    let dtls = (20..64).contains(&packet.contents[0]);
                    if !(dtls && faults.no_dtls) {
                        let _ = socket.send_to(&packet.contents, packet.destination).await;
                    }
                }
                Ok(Output::Event(Event::MediaData(data))) => {
                    if !told {
                        told = true;
                        let _ = tell.send(
                            json!({"janus": "media", "sender": handle, "type": "audio", "receiving": true}),
                        );
                    }
                    if !faults.mute
                        && let Some(writer) = rtc.writer(data.mid)
                    {
                        let _ = writer.write(data.pt, data.network_time, data.time, data.data);
                    }
                }
                Ok(Output::Event(Event::ChannelData(data))) if !faults.no_data => {
                    let reply = [b"you wrote ", &data.data[..]].concat();
                    let _ = rtc.channel(data.id).unwrap().write(false, &reply);
                }
                Ok(Output::Event(_)) => {}
                Err(_) => return,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(wake.min(end).into()) => {}
            received = socket.recv_from(&mut buffer) => {
                let Ok((len, source)) = received else { continue };
                let Ok(contents) = buffer[..len].try_into() else { continue };
                let receive = Receive { proto: Protocol::Udp, source, destination: local, contents };
                if rtc.handle_input(Input::Receive(Instant::now(), receive)).is_err() {
                    return;
                }
                continue;
            }
        }
        if rtc.handle_input(Input::Timeout(Instant::now())).is_err() {
            return;
        }
    }
}

fn error(code: u32, reason: &str) -> Value {
    json!({"janus": "error", "error": {"code": code, "reason": reason}})
}
