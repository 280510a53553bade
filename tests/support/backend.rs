//! A backend that speaks as much of the Janus API as an echo needs, with a real ICE agent and DTLS server per handle.
//!
//! Media comes back with ` via <handle>` added, DTLS application data with `echo `.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::peer::{Connected, Peer, Side};
use super::tap::Tap;

/// The backend; ends with the test's runtime.
pub struct Backend {
    pub addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    next_id: AtomicU64,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    peers: Mutex<HashMap<u64, Arc<BackendPeer>>>,
}

struct Session {
    id: u64,
    events: mpsc::UnboundedSender<Value>,
    poll: tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>,
}

/// What the backend saw of one handle.
pub struct BackendPeer {
    /// The offer as it arrived.
    pub offer: String,
    /// The answer as it was sent.
    pub answer: String,
    pub tap: Arc<Tap>,
    connected: tokio::sync::watch::Receiver<Option<Arc<Connected>>>,
}

impl BackendPeer {
    /// Waits for the DTLS handshake.
    pub async fn connected(&self) -> Arc<Connected> {
        let mut connected = self.connected.clone();
        let connected = connected.wait_for(Option::is_some).await.unwrap();
        connected.clone().unwrap()
    }
}

impl Backend {
    pub async fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State { next_id: AtomicU64::new(1_000), ..State::default() });
        tokio::spawn(serve(listener, state.clone()));
        Backend { addr, state }
    }

    /// The peer that answered on `handle`.
    pub fn peer(&self, handle: u64) -> Arc<BackendPeer> {
        self.state.peers.lock().unwrap()[&handle].clone()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        let service = service_fn(move |request| respond(state.clone(), request));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let ids: Vec<u64> = path.split('/').skip(2).filter_map(|part| part.parse().ok()).collect();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let reply = match (method, ids.as_slice()) {
        (Method::GET, [session]) => state.poll(*session).await,
        (Method::POST, ids) => state.post(ids, &serde_json::from_slice(&body).unwrap_or(Value::Null)).await,
        _ => error(457, "no such path"),
    };
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::from(reply.to_string())).unwrap())
}

impl State {
    async fn poll(&self, session: u64) -> Value {
        let Some(session) = self.session(session) else {
            return error(458, "no such session");
        };
        let mut events = session.poll.lock().await;
        match tokio::time::timeout(Duration::from_secs(5), events.recv()).await {
            Ok(Some(event)) => json!([event]),
            _ => json!([{"janus": "keepalive"}]),
        }
    }

    async fn post(&self, ids: &[u64], message: &Value) -> Value {
        let transaction = &message["transaction"];
        match (message["janus"].as_str(), ids) {
            (Some("create"), []) => {
                json!({"janus": "success", "transaction": transaction, "data": {"id": self.create()}})
            }
            (Some("attach"), [session]) => {
                let data = json!({"id": self.next_id()});
                json!({"janus": "success", "session_id": session, "transaction": transaction, "data": data})
            }
            (Some("message"), [session, handle]) => {
                self.message(*session, *handle, message).await;
                json!({"janus": "ack", "session_id": session, "transaction": transaction})
            }
            (Some("trickle" | "keepalive"), [session, ..]) => {
                json!({"janus": "ack", "session_id": session, "transaction": transaction})
            }
            (Some("hangup" | "detach" | "destroy"), [session, ..]) => {
                json!({"janus": "success", "session_id": session, "transaction": transaction})
            }
            _ => error(453, "unknown request"),
        }
    }

    fn create(&self) -> u64 {
        let (events, poll) = mpsc::unbounded_channel();
        let id = self.next_id();
        let session = Session { id, events, poll: tokio::sync::Mutex::new(poll) };
        self.sessions.lock().unwrap().insert(id, Arc::new(session));
        id
    }

    async fn message(&self, session: u64, handle: u64, message: &Value) {
        let (Some(session), Some(offer)) = (self.session(session), message["jsep"]["sdp"].as_str()) else {
            return;
        };
        let peer = Peer::new().await;
        let answer = peer.description(Side::Answerer);
        let (tell, connected) = tokio::sync::watch::channel(None);
        let seen =
            BackendPeer { offer: offer.to_owned(), answer: answer.clone(), tap: peer.tap.clone(), connected };
        self.peers.lock().unwrap().insert(handle, Arc::new(seen));
        let offer = offer.to_owned();
        tokio::spawn(async move {
            let connected = Arc::new(peer.connect(Side::Answerer, &offer).await);
            tell.send_replace(Some(connected.clone()));
            tokio::join!(echo_media(&connected, handle), echo_data(&connected));
        });
        let event = json!({
            "janus": "event",
            "session_id": session.id,
            "transaction": message["transaction"],
            "sender": handle,
            "plugindata": {"plugin": "janus.plugin.echotest", "data": {"echotest": "event", "result": "ok"}},
            "jsep": {"type": "answer", "sdp": answer},
        });
        session.events.send(event).unwrap();
    }

    fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions.lock().unwrap().get(&id).cloned()
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

async fn echo_media(peer: &Connected, handle: u64) {
    while let Some(text) = peer.next_media().await {
        peer.send_media(&format!("{text} via {handle}")).await;
    }
}

async fn echo_data(peer: &Connected) {
    let mut buffer = vec![0; 65_536];
    while let Ok(len) = peer.dtls.read(&mut buffer, None).await {
        let reply = [b"echo ", &buffer[..len]].concat();
        if peer.dtls.write(&reply, None).await.is_err() {
            return;
        }
    }
}

fn error(code: u32, reason: &str) -> Value {
    json!({"janus": "error", "error": {"code": code, "reason": reason}})
}
