//! The API over a WebSocket: one JSON object per text frame, both ways.

use std::time::Duration;

use axum::extract::Request as HttpRequest;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::message::{Request, Target};
use super::outlet::Outlet;
use super::{Api, MAX_MESSAGE};

const SUBPROTOCOL: &str = "janus-protocol";
/// Events that may wait for a slow client.
const QUEUE: usize = 128;
/// janus.js says something every 25 s. Who says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(90);

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers an upgrade request and serves the socket in a task of its own.
pub(super) fn accept(api: Api, mut request: HttpRequest) -> Response {
    let key = match key(request.headers()) {
        Ok(key) => key,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let Ok(permit) = api.sockets.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many WebSockets for a demo").into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let limits =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits));
        serve(&api, socket.await).await;
        drop(permit);
    });
    switching(&key)
}

/// What the key has to be answered with, if this is an upgrade as RFC 6455 §4.2.1 has it, for our subprotocol.
fn key(headers: &HeaderMap) -> Result<String, &'static str> {
    let has = |name: HeaderName, token: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|each| each.trim().eq_ignore_ascii_case(token))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err("expected a POST with a request, or a WebSocket");
    }
    if !has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err("expected the WebSocket subprotocol janus-protocol");
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("expected Sec-WebSocket-Key")?;
    Ok(derive_accept_key(key.as_bytes()))
}

fn switching(key: &str) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    if let Ok(key) = HeaderValue::from_str(key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    response
}

/// Until the client goes. Its sessions end with it: their outlet has no reader any more.
async fn serve(api: &Api, mut socket: Socket) {
    let (outlet, mut events) = mpsc::channel(QUEUE);
    loop {
        let said = tokio::select! {
            Some(event) = events.recv() => Some(event),
            received = tokio::time::timeout(SILENCE, socket.next()) => match received {
                Ok(Some(Ok(Message::Text(text)))) => Some(answer(api, text.as_bytes(), &outlet)),
                // Pings are answered by the library; binary frames mean nothing here.
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_)))) => None,
                _ => break,
            },
        };
        if let Some(said) = said
            && !matches!(
                tokio::time::timeout(SILENCE, socket.send(Message::text(said.to_string()))).await,
                Ok(Ok(()))
            )
        {
            break;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
}

fn answer(api: &Api, text: &[u8], events: &mpsc::Sender<Value>) -> Value {
    let answered = Request::read(text, Target::default())
        .and_then(|request| api.gateway.answer(&request, || Outlet::Socket(events.clone())));
    answered.unwrap_or_else(|refused| refused.reply())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let all = all.iter();
        all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_upgrade_needs_the_subprotocol_and_a_key() {
        let mut asked = vec![("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")];
        assert!(key(&headers(&asked)).is_err_and(|why| why.contains("janus-protocol")));
        asked.push(("sec-websocket-protocol", "other, janus-protocol"));
        assert!(key(&headers(&asked)).is_err_and(|why| why.contains("Sec-WebSocket-Key")));
        // RFC 6455 §1.3
        asked.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(key(&headers(&asked)).as_deref(), Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(key(&headers(&[])).is_err());
    }
}
