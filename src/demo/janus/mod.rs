//! As much of the Janus API as EchoTest needs, over REST and WebSocket, for janus.js and for the demo's own page.
//!
//! It answers what Janus answers, so that the edge in front of it rewrites it like a Janus. Media is [`super::echo`]'s.

mod echotest;
mod gateway;
mod message;
mod outlet;
mod rest;
mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::echo::{CallId, Command, Happening};
use gateway::Gateway;

/// The one plugin.
const PLUGIN: &str = "janus.plugin.echotest";
/// How often it is looked which sessions are over.
const SWEEP: Duration = Duration::from_secs(1);
/// WebSockets at a time.
const MAX_SOCKETS: usize = 64;
/// A request's body. An offer of a browser takes 10 to 20 KiB.
const MAX_MESSAGE: usize = 256 * 1024;

/// What the transports share.
#[derive(Clone)]
struct Api {
    gateway: Arc<Gateway>,
    sockets: Arc<Semaphore>,
    root: fn() -> Response,
}

/// The routes of the API, under `/janus`, and `/`: WebSockets may name no path, everybody else gets `root` there. Has to be
/// called inside a runtime, where it keeps an eye on its sessions.
pub(super) fn router(
    calls: mpsc::Sender<(CallId, Command)>,
    mut happenings: mpsc::UnboundedReceiver<(CallId, Happening)>,
    root: fn() -> Response,
) -> Router {
    let gateway = Arc::new(Gateway::new(calls));
    let keeper = gateway.clone();
    tokio::spawn(async move {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                happening = happenings.recv() => match happening {
                    Some((id, happening)) => keeper.tell(id, happening),
                    None => return,
                },
                _ = sweep.tick() => keeper.sweep(Instant::now()),
            }
        }
    });
    let sockets = Arc::new(Semaphore::new(MAX_SOCKETS));
    rest::routes().with_state(Api { gateway, sockets, root })
}

/// The reply to `info`.
fn info(transaction: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "janus": "server_info",
        "transaction": transaction,
        "name": "xrtc demo: an echo that speaks the Janus API",
        "version": 1,
        "version_string": version,
        "author": "xrtc",
        "data_channels": true,
        "accepting-new-sessions": true,
        "session-timeout": 60,
        "candidates-timeout": 45,
        "server-name": "xrtc-demo",
        "ice-lite": false,
        "ice-tcp": false,
        "full-trickle": false,
        "api_secret": false,
        "auth_token": false,
        "transports": {
            "janus.transport.http": {"name": "REST", "version_string": version, "version": 1},
            "janus.transport.websockets": {"name": "WebSockets", "version_string": version, "version": 1},
        },
        "plugins": {PLUGIN: {"name": "EchoTest", "version_string": version, "version": 1}},
    })
}
