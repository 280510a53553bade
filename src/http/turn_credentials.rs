//! Time-limited TURN credentials for browsers: as JSON for whoever asks at the configured path, and as `Link` headers in the
//! answer to a WHIP offer that the backend accepted (RFC 9725 §4.6). Keeps nothing: the credential carries its own expiry.

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, LINK};
use hyper::http::response::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use subtle::ConstantTimeEq;

use super::answer;
use super::body::{Body, Received};
use super::proxy::AskedFor;
use super::served_route::ServedRoute;
use super::service::HttpService;
use crate::auth::{Minted, mint};
use crate::config::{DialectKind, TurnMinting};

/// In the words of the TURN REST API, of RTCPeerConnection, and of those who have but one URL.
#[derive(Serialize)]
struct Credentials<'a> {
    username: &'a str,
    password: &'a str,
    credential: &'a str,
    ttl: u64,
    uris: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(rename = "iceServers")]
    ice_servers: [IceServer<'a>; 1],
}

#[derive(Serialize)]
struct IceServer<'a> {
    urls: &'a [String],
    username: &'a str,
    credential: &'a str,
}

/// The answer to a request at the configured path.
pub(super) fn respond(config: &TurnMinting, request: &Request<Received>) -> Response<Body> {
    let refuse = |status: StatusCode, header: (&'static str, &str)| {
        answer::respond(status.as_u16(), vec![(header.0, header.1.to_owned())], Vec::new())
    };
    match *request.method() {
        Method::OPTIONS => {
            let mut response = answer::empty();
            let allowed = HeaderValue::from_static("Authorization, Content-Type");
            response.headers_mut().insert("access-control-allow-headers", allowed);
            response
        }
        Method::GET | Method::POST if !is_allowed(config, request.headers()) => {
            refuse(StatusCode::UNAUTHORIZED, ("www-authenticate", "Bearer"))
        }
        Method::GET | Method::POST => credentials(config),
        _ => refuse(StatusCode::METHOD_NOT_ALLOWED, ("allow", "GET, POST, OPTIONS")),
    }
}

/// Tells a WHIP client of the TURN service with the answer to its offer, unless the backend has told it of another one.
pub(super) fn link(service: &HttpService, route: &ServedRoute, asked: &AskedFor, head: &mut Parts) {
    let Some(config) = service.turn_credentials() else { return };
    let is_whip = matches!(route.dialect(), Some(DialectKind::Whip { .. }));
    let is_accepted = asked.method == Method::POST && head.status == StatusCode::CREATED;
    if !is_whip || !is_accepted || tells_of_ice_servers(&head.headers) {
        return;
    }
    let minted = minted(config);
    let values = config.uris.iter().map(|uri| link_value(uri, &minted));
    head.headers.extend(values.filter_map(|value| Some((LINK, HeaderValue::try_from(value).ok()?))));
}

fn tells_of_ice_servers(headers: &HeaderMap) -> bool {
    headers.get_all(LINK).iter().any(|value| value.to_str().is_ok_and(|text| text.contains("ice-server")))
}

fn link_value(uri: &str, minted: &Minted) -> String {
    if uri.starts_with("stun") {
        return format!("<{uri}>; rel=\"ice-server\"");
    }
    let (username, password) = (&minted.username, minted.password.expose());
    format!(
        "<{uri}>; rel=\"ice-server\"; username=\"{username}\"; credential=\"{password}\"; credential-type=\"password\""
    )
}

fn is_allowed(config: &TurnMinting, headers: &HeaderMap) -> bool {
    let Some(token) = &config.token else { return true };
    let brought = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    brought.is_some_and(|brought| brought.ct_eq(token.expose().as_bytes()).into())
}

fn credentials(config: &TurnMinting) -> Response<Body> {
    let minted = minted(config);
    let (username, password) = (minted.username.as_str(), minted.password.expose());
    let body = serde_json::to_vec(&Credentials {
        username,
        password,
        credential: password,
        ttl: config.ttl.as_secs(),
        uris: &config.uris,
        url: config.uris.first().map(String::as_str),
        ice_servers: [IceServer { urls: &config.uris, username, credential: password }],
    });
    let mut response = answer::json(body.unwrap_or_default());
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

fn minted(config: &TurnMinting) -> Minted {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let id: u64 = rand::random();
    mint(&config.secret, &format!("{id:016x}"), now + config.ttl.as_secs())
}
