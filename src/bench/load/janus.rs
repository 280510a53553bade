//! A media server with the Janus API, as far as an offer and its answer need it. The edge under test forwards to it.
//!
//! A handle serves the backend of the pair that its `opaque_id` names. Like Janus it acknowledges an offer at once and gives the
//! answer as an event to the next poll.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::http;
use super::ice::Credentials;
use super::sdp;
use crate::bench::{BenchError, Doing};

/// The backend's ICE credentials in pair `i`.
pub(super) fn credentials(i: usize) -> Credentials {
    Credentials::of("jns", i)
}

/// Starts it at `at`, for the rest of the process.
pub(super) fn start(at: SocketAddr, backends: Vec<SocketAddrV4>) -> Result<(), BenchError> {
    let listener = TcpListener::bind(at).doing(|| format!("cannot listen on {at} as a media server"))?;
    listener.set_nonblocking(true).doing(|| "listening".to_owned())?;
    let runtime = http::runtime()?;
    let state = Arc::new(Server { backends, state: Mutex::default() });
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, router(state)).await
    };
    std::thread::spawn(move || {
        if let Err(error) = runtime.block_on(serve) {
            eprintln!("the media server of the load generator ended: {error}");
        }
    });
    Ok(())
}

struct Server {
    backends: Vec<SocketAddrV4>,
    state: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    last: u64,
    /// Events that wait for a poll, by session.
    events: HashMap<u64, Vec<Value>>,
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/janus", post(create))
        .route("/janus/{session}", post(attach))
        .route("/janus/{session}", get(poll))
        .route("/janus/{session}/{handle}", post(message))
        .with_state(server)
}

async fn create(State(server): State<Arc<Server>>, Json(request): Json<Value>) -> Json<Value> {
    let mut state = server.state.lock().unwrap_or_else(PoisonError::into_inner);
    state.last += 1;
    Json(json!({"janus": "success", "transaction": request["transaction"], "data": {"id": state.last}}))
}

async fn attach(Path(session): Path<u64>, Json(request): Json<Value>) -> Json<Value> {
    let pair = request["opaque_id"].as_str().and_then(|id| id.parse::<u64>().ok()).unwrap_or_default();
    // Ids of Janus are never 0.
    Json(json!({
        "janus": "success", "session_id": session, "transaction": request["transaction"], "data": {"id": pair + 1}
    }))
}

async fn message(
    State(server): State<Arc<Server>>,
    Path((session, handle)): Path<(u64, u64)>,
    Json(request): Json<Value>,
) -> Json<Value> {
    let pair = handle.saturating_sub(1) as usize;
    if let Some(&backend) = server.backends.get(pair) {
        let event = json!({
            "janus": "event", "session_id": session, "sender": handle, "transaction": request["transaction"],
            "plugindata": {"plugin": "janus.plugin.echotest", "data": {"echotest": "event", "result": "ok"}},
            "jsep": {"type": "answer", "sdp": sdp::answer(&credentials(pair), backend)},
        });
        let mut state = server.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events.entry(session).or_default().push(event);
    }
    Json(json!({"janus": "ack", "session_id": session, "transaction": request["transaction"]}))
}

async fn poll(State(server): State<Arc<Server>>, Path(session): Path<u64>) -> Json<Value> {
    let mut state = server.state.lock().unwrap_or_else(PoisonError::into_inner);
    Json(state.events.remove(&session).unwrap_or_default().into())
}
