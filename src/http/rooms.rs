//! The door to rooms that the edge serves itself: turns an upgrade into a WebSocket, or says why not. What is said in the
//! rooms is [`crate::signalling`]'s.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{
    CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use super::answer::Fault;
use super::body::{self, Body, Received};
use super::forwarded::client_ip;
use super::headers::{is_websocket_upgrade, set_websocket};
use super::server::{ClientConnection, Phase, wait_for};
use super::service::HttpService;
use crate::route::Chosen;
use crate::signalling::{Hub, Knock, Refusal};

/// The one version there is (RFC 6455 §4.1).
const VERSION: &str = "13";

/// Answers a request on a route with rooms.
pub(super) async fn answer(
    service: &Arc<HttpService>,
    client: &Arc<ClientConnection>,
    hub: &Arc<Hub>,
    chosen: Chosen,
    mut request: Request<Received>,
) -> Result<Response<Body>, Fault> {
    if !is_websocket_upgrade(&request) {
        return page(service, hub, &request).await;
    }
    let accept = accept(&request)?;
    if *client.phase.borrow() >= Phase::Draining {
        return Err(Fault::Rooms(Refusal::Stopping));
    }
    let path = request.uri().path();
    let knock = Knock {
        path,
        rest: service.table.rest(chosen, path),
        query: request.uri().query(),
        client: client_ip(client.arrival.peer.ip(), request.headers(), &service.trusted_proxies),
    };
    let entry = hub.enter(&knock).map_err(Fault::Rooms)?;
    let upgraded = hyper::upgrade::on(&mut request);
    let mut phase = client.phase.clone();
    client.become_relay(async move {
        let stop = async move { wait_for(&mut phase, Phase::Stopping).await };
        match upgraded.await {
            Ok(upgraded) => entry.serve(TokioIo::new(upgraded), stop).await,
            Err(error) => debug!(%error, "a client left during the WebSocket handshake"),
        }
    });
    let mut response = Response::new(body::whole(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    set_websocket(response.headers_mut());
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// What belongs into `Sec-WebSocket-Accept`; no subprotocol and no extension is ever chosen.
fn accept(request: &Request<Received>) -> Result<HeaderValue, Fault> {
    let headers = request.headers();
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(Fault::UpgradeRequired);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key =
        key.ok_or(Fault::Malformed("a WebSocket upgrade has a Sec-WebSocket-Key of 16 bytes in base64"))?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|error| Fault::Internal(format!("Sec-WebSocket-Accept: {error}")))
}

/// A request that is no upgrade: the protocol's own page, a file of the root, else 426.
async fn page(
    service: &HttpService,
    hub: &Hub,
    request: &Request<Received>,
) -> Result<Response<Body>, Fault> {
    let (method, uri) = (request.method(), request.uri());
    if matches!(*method, Method::GET | Method::HEAD) {
        if let Some(text) = hub.page(uri.path()) {
            return Ok(Response::new(body::whole(Bytes::from_static(text.as_bytes()))));
        }
        if let Some(files) = &service.files
            && let Some(response) = files.answer(method, uri.path(), uri.query(), request.headers()).await
        {
            return Ok(response);
        }
    }
    Err(Fault::UpgradeRequired)
}

/// Says in the headers what else is to be known.
pub(super) fn complete(fault: &Fault, response: &mut Response<Body>) {
    let headers = response.headers_mut();
    match fault {
        Fault::UpgradeRequired => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        Fault::Rooms(Refusal::TooOften) => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
}

/// The status of a refusal.
pub(super) fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::NotFound => StatusCode::NOT_FOUND,
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::Full(_) | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TooOften => StatusCode::TOO_MANY_REQUESTS,
    }
}
