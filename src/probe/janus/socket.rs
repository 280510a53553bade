//! Janus' WebSocket: the upgrade with its subprotocol, text both ways, everything bounded.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::probe::cause::{Cause, Fault};
use crate::probe::http::{AGENT, LARGEST, refusal, too_large};
use crate::probe::journal::clean;
use crate::probe::options::Options;
use crate::probe::reach::{Server, Stream};

/// Janus speaks nothing else over WebSocket.
const SUBPROTOCOL: &str = "janus-protocol";
/// For the upgrade, and for a message to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// The sending half; what comes goes to a channel.
pub(super) struct Socket {
    sink: SplitSink<WebSocketStream<Stream>, Message>,
    reader: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Socket {
    pub(super) async fn upgrade(
        server: &Server,
        options: &Options,
        stream: Stream,
        tell: mpsc::Sender<Result<Value, Fault>>,
    ) -> Result<Socket, Fault> {
        let url = server.target.shown();
        let request = request(server, options)?;
        let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
        let upgraded = timeout(PATIENCE, client_async_with_config(request, stream, Some(config))).await;
        let upgraded = upgraded.map_err(|_| {
            Fault::new(
                Cause::HttpTimeout,
                format!("{url}: no answer to the WebSocket upgrade within {} s", PATIENCE.as_secs()),
                "the server, or what is behind it, hangs: look at its log",
            )
        })?;
        let (socket, _) = upgraded.map_err(|error| not_upgraded(error, &url))?;
        let (sink, source) = socket.split();
        let reader = tokio::spawn(read(source, url, tell));
        Ok(Socket { sink, reader })
    }

    pub(super) async fn send(&mut self, text: String) -> Result<(), Fault> {
        let sent = timeout(PATIENCE, self.sink.send(Message::text(text))).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(closed(&clean(&error.to_string()))),
            Err(_) => Err(closed("it takes no more messages")),
        }
    }
}

fn request(server: &Server, options: &Options) -> Result<Request<()>, Fault> {
    let target = &server.target;
    let path = if target.path.is_empty() { "/" } else { &target.path };
    let scheme = if target.tls { "wss" } else { "ws" };
    let url = format!("{scheme}://{}{path}{}", target.authority, target.query);
    let mut request = url.into_client_request().map_err(|error| {
        Fault::new(
            Cause::Local,
            format!("no request can be made: {}", clean(&error.to_string())),
            "check the URL",
        )
    })?;
    let headers = request.headers_mut();
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &options.header {
        headers.append(name, value.clone());
    }
    Ok(request)
}

fn not_upgraded(error: Error, url: &str) -> Fault {
    match error {
        Error::Http(response) if response.status().is_success() => {
            no_websocket(url, "it answers with a page")
        }
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let fault = refusal(response.status(), response.headers(), body, url);
            match fault.cause {
                Cause::HttpUnexpected | Cause::HttpServerError | Cause::HttpNotFound => {
                    no_websocket(url, &format!("HTTP {}", response.status().as_u16()))
                }
                _ => fault,
            }
        }
        Error::Protocol(error) => no_websocket(url, &clean(&error.to_string())),
        Error::Io(error) => Fault::new(
            Cause::ConnectFailed,
            format!("{url}: {}", clean(&error.to_string())),
            "is it this server, with or without TLS as the URL says?",
        ),
        error => no_websocket(url, &clean(&error.to_string())),
    }
}

fn no_websocket(url: &str, why: &str) -> Fault {
    Fault::new(
        Cause::NoWebSocket,
        format!("{url} takes no WebSocket of {SUBPROTOCOL}: {why}"),
        "Janus' WebSocket has a port of its own (8188); behind an edge the route needs `protos: [ws@janus-protocol]`",
    )
}

fn closed(why: &str) -> Fault {
    Fault::new(Cause::ConnectFailed, format!("the WebSocket is closed: {why}"), "look at the server's log")
}

async fn read(
    mut source: SplitStream<WebSocketStream<Stream>>,
    url: String,
    tell: mpsc::Sender<Result<Value, Fault>>,
) {
    loop {
        let message = match source.next().await {
            Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                Ok(message) if message.is_object() => Ok(message),
                _ => Err(Fault::new(
                    Cause::NotJanus,
                    format!("{url} is no Janus API: it sends something else than JSON objects"),
                    "correct the URL",
                )),
            },
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map(|frame| clean(&frame.to_string())).unwrap_or_default();
                Err(closed(&format!("by the server {reason}")))
            }
            Some(Ok(_)) => continue,
            Some(Err(Error::Capacity(_))) => Err(too_large()),
            Some(Err(error)) => Err(closed(&clean(&error.to_string()))),
            None => Err(closed("by the server")),
        };
        let last = message.is_err();
        if tell.send(message).await.is_err() || last {
            return;
        }
    }
}
