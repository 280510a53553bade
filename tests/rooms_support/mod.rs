//! An edge with rooms on a loopback port, and clients of it, down to the bytes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test helpers; each test file uses its part"
)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use xrtc::config::Config;
use xrtc::http::HttpService;
use xrtc::session::registration::SessionSink;
use xrtc::signalling::Rooms;

pub use crate::proxy_support::{Edge, in_time};
use crate::proxy_support::{Record, limits};

pub type Socket = WebSocketStream<TcpStream>;

/// An edge whose service has these routes, and its rooms.
pub async fn rooms(routes: &str) -> (Edge, Rooms) {
    rooms_with("", routes).await
}

/// The same with further keys of `http`.
pub async fn rooms_with(http: &str, routes: &str) -> (Edge, Rooms) {
    let rooms = Rooms::default();
    let service = service(http, routes, &rooms);
    let ticking = rooms.clone();
    tokio::spawn(async move { ticking.run().await });
    (Edge::serving(service, Record::default(), 10_000).await, rooms)
}

/// A service with these routes, whose rooms live in `rooms`.
pub fn service(http: &str, routes: &str, rooms: &Rooms) -> Arc<HttpService> {
    let text = format!(
        "services:\n  h:\n    proto: http\n    net: {{addr: '127.0.0.1:1'}}\n    http:\n      {http}\n      routes:\n{routes}\n"
    );
    let loaded = Config::from_text(&text).unwrap_or_else(|error| panic!("{}", error.render(false)));
    let service = &loaded.config.services[0];
    let sink: Arc<dyn SessionSink> = Arc::new(Record::default());
    let http = service.http().unwrap();
    let built = HttpService::new(http, &[], &limits(), &Arc::from(Vec::new()), &sink).unwrap();
    Arc::new(built.with_rooms(&service.name, http, rooms).unwrap())
}

pub async fn dial(edge: &Edge, path: &str) -> Socket {
    try_dial(edge, path, &[]).await.unwrap()
}

pub async fn try_dial(edge: &Edge, path: &str, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
    let mut request = format!("ws://{}{path}", edge.addr).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(edge.addr).await.unwrap();
    in_time(client_async(request, stream)).await.map(|(socket, _)| socket)
}

/// The status that an upgrade was refused with.
pub async fn refused(edge: &Edge, path: &str, headers: &[(&'static str, &str)]) -> u16 {
    match try_dial(edge, path, headers).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

pub async fn say(socket: &mut Socket, text: &str) {
    in_time(socket.send(Message::text(text))).await.unwrap();
}

/// The next text.
pub async fn hear(socket: &mut Socket) -> String {
    loop {
        match in_time(socket.next()).await.unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("expected a text, got {other:?}"),
        }
    }
}

/// Code and reason of the close that comes next; what comes before it does not matter.
pub async fn closed(socket: &mut Socket) -> (u16, String) {
    loop {
        match in_time(socket.next()).await {
            Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
            Some(Ok(Message::Close(None))) => return (1005, String::new()),
            Some(Ok(_)) => {}
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

/// Nothing comes for a while.
pub async fn silent(socket: &mut Socket) {
    let heard = tokio::time::timeout(Duration::from_millis(150), socket.next()).await;
    assert!(heard.is_err(), "{heard:?}");
}

/// Logs in to a `webrtc-server` room; the id.
pub async fn join(edge: &Edge, path: &str, username: &str, password: &str) -> (Socket, String) {
    let mut socket = dial(edge, path).await;
    let data = serde_json::json!({ "username": username, "password": password });
    say(&mut socket, &format!(r#"{{"event":"authenticate","data":{data}}}"#)).await;
    let reply: serde_json::Value = serde_json::from_str(&hear(&mut socket).await).unwrap();
    assert_eq!(reply["event"], "authenticated", "{reply}");
    let id = reply["data"]["peer_id"].as_str().unwrap().to_owned();
    (socket, id)
}

/// Registers at `gst`.
pub async fn hello(edge: &Edge, path: &str, uid: &str) -> Socket {
    let mut socket = dial(edge, path).await;
    say(&mut socket, &format!("HELLO {uid}")).await;
    assert_eq!(hear(&mut socket).await, "HELLO");
    socket
}
