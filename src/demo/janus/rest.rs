//! The API over HTTP: requests by POST, events by long polls, and the upgrade to a WebSocket.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{Refusal, Refused, Request, Target};
use super::outlet::Outlet;
use super::{Api, MAX_MESSAGE, websocket};

/// A long poll without an event ends after so long, as in Janus.
const POLL: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(root))
        .route("/janus", with_preflight(post(to_server).get(upgrade)))
        .route("/janus/", with_preflight(post(to_server).get(upgrade)))
        .route("/janus/info", with_preflight(get(info)))
        .route("/janus/ping", with_preflight(get(ping)))
        .route("/janus/{session}", with_preflight(post(to_session).get(poll)))
        .route("/janus/{session}/{handle}", with_preflight(post(to_handle)))
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
}

fn with_preflight(methods: MethodRouter<Api>) -> MethodRouter<Api> {
    methods.options(|headers: HeaderMap| async move { preflight(&headers) })
}

/// Pages from elsewhere may use the API, as with Janus.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = answer(StatusCode::OK, None);
    for (asks, allows) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = asked.get(asks) {
            response.headers_mut().insert(allows, value.clone());
        }
    }
    response
}

async fn info() -> Response {
    json_reply(&super::info("info"))
}

async fn ping() -> Response {
    json_reply(&json!({"janus": "pong", "transaction": "ping"}))
}

/// `GET /janus` is where WebSockets come in, too.
async fn upgrade(State(api): State<Api>, request: HttpRequest) -> Response {
    websocket::accept(api, request)
}

async fn root(State(api): State<Api>, request: HttpRequest) -> Response {
    match request.headers().contains_key(header::UPGRADE) {
        true => websocket::accept(api, request),
        false => (api.root)(),
    }
}

async fn to_server(State(api): State<Api>, body: Bytes) -> Response {
    request(&api, &body, Target::default())
}

async fn to_session(State(api): State<Api>, Path(session): Path<String>, body: Bytes) -> Response {
    with_target(&session, None, |target| request(&api, &body, target))
}

async fn to_handle(
    State(api): State<Api>,
    Path((session, handle)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    with_target(&session, Some(&handle), |target| request(&api, &body, target))
}

fn with_target(session: &str, handle: Option<&str>, work: impl FnOnce(Target) -> Response) -> Response {
    let handle = handle.map(str::parse).transpose();
    match (session.parse(), handle) {
        (Ok(session), Ok(handle)) => work(Target { session: Some(session), handle }),
        _ => {
            let path = format!("/janus/{session}");
            json_reply(&Refused { refusal: Refusal::Path(path), transaction: None, session: None }.reply())
        }
    }
}

fn request(api: &Api, body: &[u8], target: Target) -> Response {
    let answered =
        Request::read(body, target).and_then(|request| api.gateway.answer(&request, Outlet::polls));
    json_reply(&answered.unwrap_or_else(|refused| refused.reply()))
}

#[derive(Deserialize)]
struct Poll {
    maxev: Option<usize>,
}

/// With `maxev` above 1 the reply is an array.
async fn poll(State(api): State<Api>, Path(session): Path<String>, Query(poll): Query<Poll>) -> Response {
    let outlet = session.parse().ok().and_then(|session| api.gateway.outlet(session));
    let Some(Outlet::Polls(mailbox)) = outlet else { return answer(StatusCode::NOT_FOUND, None) };
    let most = poll.maxev.unwrap_or(1).clamp(1, 20);
    let mut events = mailbox.fetch(most, POLL).await;
    // Somebody was here until now.
    let _ = session.parse().ok().and_then(|session| api.gateway.outlet(session));
    if events.is_empty() {
        events.push(json!({"janus": "keepalive"}));
    }
    match most {
        1 => json_reply(&events[0]),
        _ => json_reply(&Value::Array(events)),
    }
}

fn json_reply(value: &Value) -> Response {
    answer(StatusCode::OK, Some(value.to_string()))
}

fn answer(status: StatusCode, body: Option<String>) -> Response {
    let mut response = (status, body.unwrap_or_default()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
