//! The paths of the admin service. Health and the page itself are for everybody; everything else is for whoever
//! [`auth`] admits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;

use super::service::Admin;
use super::{auth, page, pcap, rooms, turn};
use crate::session::observe::{Captured, Leg, Tap};
use crate::session::registration::SessionId;
use crate::telemetry::metrics::text;

/// Everything.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let closed = Router::new()
        .route("/metrics", get(metrics))
        .route("/api/sessions", get(sessions))
        .route("/api/sessions/{id}", get(session).delete(end))
        .route("/api/sessions/{id}/pcap", get(capture))
        .route("/api/upstreams", get(upstreams))
        .route("/api/history", get(history))
        .route("/api/events", get(events))
        .merge(rooms::routes())
        .merge(turn::routes())
        .route_layer(middleware::from_fn_with_state(admin.clone(), admit));
    Router::new()
        .route("/", get(|| async { page::dashboard() }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(closed)
        .fallback(|| async { Problem(StatusCode::NOT_FOUND, "no such path; see docs/admin.md".into()) })
        .method_not_allowed_fallback(|| async {
            Problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not know that method".into())
        })
        .layer(middleware::map_response(harden))
        .with_state(admin)
}

/// An error, as JSON.
pub(super) struct Problem(pub(super) StatusCode, pub(super) String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

async fn admit(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match auth::admit(admin.0.token.as_ref(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let mut response = Problem(refusal.status(), refusal.to_string()).into_response();
            if refusal.status() == StatusCode::UNAUTHORIZED {
                let scheme = header::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(header::HeaderValue::from_static("no-store"));
    response
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let obstacles = admin.obstacles().await;
    if obstacles.is_empty() {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", obstacles.join("; "))).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text::encode(&admin.0.sources.families())).into_response()
}

#[derive(Deserialize)]
struct Wanted {
    /// `running`, where nothing is said, or `ended`.
    state: Option<String>,
    /// Where the page starts: `next` of the page before.
    from: Option<u64>,
    limit: Option<usize>,
}

async fn sessions(
    State(admin): State<Arc<Admin>>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| Problem(StatusCode::BAD_REQUEST, error.body_text()))?;
    match wanted.state.as_deref() {
        None | Some("running") => {
            Ok(Json(admin.running_page(wanted.from, wanted.limit).await).into_response())
        }
        Some("ended") => Ok(Json(admin.ended_page(wanted.from, wanted.limit)).into_response()),
        Some(_) => Err(Problem(StatusCode::BAD_REQUEST, "state: expected running or ended".into())),
    }
}

async fn session(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let explained = admin.explain(session_id(&id)?).await.ok_or_else(unknown)?;
    Ok(Json(explained).into_response())
}

async fn end(State(admin): State<Arc<Admin>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = session_id(&id)?;
    admin.0.directory.running(id).ok_or_else(unknown)?;
    info!(session = %id, "an operator lets it go");
    admin.0.packets.end(id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn upstreams(State(admin): State<Arc<Admin>>) -> Response {
    Json(json!({"upstreams": (admin.0.upstreams)()})).into_response()
}

async fn history(State(admin): State<Arc<Admin>>) -> Response {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "published": &*admin.0.published,
        "samples": admin.0.live.history(),
    }))
    .into_response()
}

/// One event per second.
async fn events(State(admin): State<Arc<Admin>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (samples, stopping) = (admin.0.live.follow(), admin.0.stopping.clone());
    let events = stream::unfold((samples, stopping), |(mut samples, mut stopping)| async move {
        tokio::select! {
            changed = samples.changed() => changed.ok()?,
            _ = stopping.wait_for(|stopping| *stopping) => return None,
        }
        let event = Event::default().event("sample").data(&*samples.borrow_and_update().clone());
        Some((Ok(event), (samples, stopping)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

/// Bounds of a capture: what is asked for, within what is allowed.
#[derive(Deserialize)]
struct Bounds {
    packets: Option<u64>,
    bytes: Option<u64>,
    seconds: Option<u64>,
    /// Bytes of each payload.
    snap: Option<usize>,
    /// `client`, `backend`, or nothing for both.
    leg: Option<String>,
}

/// (default, most) of each bound.
const PACKETS: (u64, u64) = (10_000, 100_000);
const BYTES: (u64, u64) = (10 << 20, 100 << 20);
const SECONDS: (u64, u64) = (30, 300);
/// Packets that may wait for a slow reader; beyond that they are left out.
const QUEUE: usize = 1024;

async fn capture(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    bounds: Result<Query<Bounds>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(bounds) = bounds.map_err(|error| Problem(StatusCode::BAD_REQUEST, error.body_text()))?;
    let leg = match bounds.leg.as_deref() {
        None | Some("both") => None,
        Some("client") => Some(Leg::Client),
        Some("backend") => Some(Leg::Backend),
        Some(_) => {
            return Err(Problem(StatusCode::BAD_REQUEST, "leg: expected client, backend or both".into()));
        }
    };
    let id = session_id(&id)?;
    let running = admin.0.directory.running(id).ok_or_else(unknown)?;
    let no_client =
        || Problem(StatusCode::CONFLICT, "the session has no client yet, so there are no packets".into());
    let worker = running.owner.get().ok_or_else(no_client)?;
    let (packets, captured) = mpsc::channel(QUEUE);
    let tap = tap(packets, leg, bounds.snap.unwrap_or(usize::MAX));
    if !admin.0.packets.tap(worker, id, tap).await {
        return Err(no_client());
    }
    info!(session = %id, "packets are captured for an operator");
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.tcpdump.pcap".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.pcap\"")),
    ];
    Ok((headers, Body::from_stream(recording(captured, &bounds))).into_response())
}

/// Writes packets of one leg, or both, as records into a queue. It runs in the worker and never waits.
fn tap(packets: mpsc::Sender<Bytes>, leg: Option<Leg>, snap: usize) -> Tap {
    Tap::new(move |packet: &Captured<'_>| {
        if leg.is_some_and(|leg| leg != packet.leg) {
            return !packets.is_closed();
        }
        // A full queue means that the reader is slow: this packet is left out.
        let Ok(place) = packets.try_reserve() else { return !packets.is_closed() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        place.send(pcap::record(now, packet, snap).into());
        true
    })
}

/// The file, until a bound is reached, the session ends or the reader leaves.
fn recording(
    captured: mpsc::Receiver<Bytes>,
    bounds: &Bounds,
) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let within = |wanted: Option<u64>, (default, most): (u64, u64)| wanted.unwrap_or(default).clamp(1, most);
    let deadline = Instant::now() + Duration::from_secs(within(bounds.seconds, SECONDS));
    let left = (within(bounds.packets, PACKETS), within(bounds.bytes, BYTES));
    let start = Bytes::copy_from_slice(&pcap::file_header());
    stream::unfold((captured, left, Some(start)), move |(mut captured, (packets, bytes), start)| async move {
        if let Some(start) = start {
            return Some((Ok(start), (captured, (packets, bytes), None)));
        }
        if packets == 0 || bytes == 0 {
            return None;
        }
        let wait = deadline.saturating_duration_since(Instant::now());
        let record = timeout(wait, captured.recv()).await.ok()??;
        let left = (packets - 1, bytes.saturating_sub(record.len() as u64));
        Some((Ok(record), (captured, left, None)))
    })
}

fn session_id(text: &str) -> Result<SessionId, Problem> {
    id(text, "a session").map(SessionId)
}

/// Sixteen hexadecimal digits.
pub(super) fn id(text: &str, of: &str) -> Result<u64, Problem> {
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    id.ok_or_else(|| Problem(StatusCode::BAD_REQUEST, format!("expected the 16 hexadecimal digits of {of}")))
}

fn unknown() -> Problem {
    Problem(
        StatusCode::NOT_FOUND,
        "no such session runs, and none of the latest that ended is this one".into(),
    )
}
