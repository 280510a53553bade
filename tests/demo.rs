//! `xrtc demo` as a program: other people's ICE and DTLS get through it to the echo, its API answers like a Janus, and what goes wrong is
//! said in words. Media and data come back in the end-to-end run, in browsers.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use support::client::negotiate;
use support::http::Http;
use support::peer::{Peer, Side};
use support::{sdp, within};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use xrtc::config::Config;
use xrtc::demo::backend::Backend;

/// A running `xrtc demo` on loopback.
struct Demo {
    process: Child,
    tcp: SocketAddr,
    udp: SocketAddr,
}

impl Demo {
    fn start() -> Demo {
        let (tcp, udp) = (free_tcp(), free_udp());
        let mut process = command(&["--listen", "127.0.0.1"], tcp, udp)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = format!("http://{tcp}/");
        assert!(said.any(|line| line.unwrap().contains(&url)), "the demo never said {url}");
        Demo { process, tcp, udp }
    }

    /// As Ctrl-C does.
    fn interrupt(&mut self) -> Option<i32> {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(flags: &[&str], tcp: SocketAddr, udp: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xrtc"));
    let ports = [tcp.port(), udp.port()].map(|port| port.to_string());
    command.arg("demo").args(flags).args(["--port", &ports[0], "--udp-port", &ports[1]]);
    command.env_remove("XRTC_LOG").env_remove("NO_COLOR");
    command
}

/// Runs it until it ends by itself.
fn said(flags: &[&str], tcp: SocketAddr, udp: SocketAddr) -> (Output, String) {
    let output = command(flags, tcp, udp).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

fn free_tcp() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn free_udp() -> SocketAddr {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_ice_and_dtls_reach_the_echo_through_the_edge_alone() {
    let mut demo = Demo::start();
    let client = negotiate(demo.tcp).await;
    let told: Vec<_> = sdp::values(&client.answer, "candidate").map(str::to_owned).collect();
    let (tcp, udp) = (demo.tcp.port(), demo.udp.port());
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains(&format!("udp 2013266431 127.0.0.1 {udp} typ host")), "{told:?}");
    assert!(told[1].contains(&format!("127.0.0.1 {tcp} typ host tcptype passive")), "{told:?}");
    assert!(client.answer.contains("a=ice-lite"), "{}", client.answer);
    let shown = sdp::value(&client.answer, "fingerprint").unwrap().to_ascii_uppercase();
    let connected = client.connect().await;
    // The certificate is the echo's: the edge holds no key.
    assert_eq!(connected.peer.peer_fingerprint.to_ascii_uppercase(), shown);
    assert_eq!(connected.peer.remote(), demo.udp);
    assert_eq!(demo.interrupt(), Some(0), "Ctrl-C ends it at once, with a call going on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_offer_does_not_name_ends_the_call() {
    let backend = Backend::start().unwrap();
    let api = Api::new(&backend);
    let (session, handle) = api.attached().await;
    let peer = Peer::new().await;
    let own = peer.description(Side::Offerer);
    let fingerprint = sdp::value(&own, "fingerprint").unwrap();
    let foreign: String = fingerprint.replace(':', "").chars().rev().take(64).collect();
    let foreign: Vec<_> = foreign.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect();
    let offer = own.replace(fingerprint, &format!("sha-256 {}", foreign.join(":")));
    let answer = api.answer(session, handle, &offer).await;
    let answer = answer["jsep"]["sdp"].as_str().unwrap().to_owned();
    tokio::spawn(async move { peer.connect(Side::Offerer, &answer).await });
    let mut seen = Vec::new();
    while seen.last().is_none_or(|event| event != "hangup") {
        let events = within(20, "the end of the call", api.poll(session)).await;
        seen.extend(events.iter().map(|event| event["janus"].as_str().unwrap().to_owned()));
    }
    assert!(!seen.contains(&"webrtcup".to_owned()), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_refuses_like_a_janus() {
    let backend = Backend::start().unwrap();
    let api = Api::new(&backend);
    let (session, handle) = api.attached().await;
    let handles = format!("/{session}/{handle}");
    let sessions = format!("/{session}");
    for (path, request, code) in [
        ("", json!({"janus": "nonsense"}), 453),
        ("", json!([]), 455),
        ("", json!({"janus": "attach", "plugin": "janus.plugin.echotest"}), 456),
        ("/77", json!({"janus": "keepalive"}), 458),
        (&sessions, json!({"janus": "create"}), 457),
        (&sessions, json!({"janus": "attach", "plugin": "janus.plugin.videoroom"}), 460),
        (&sessions, json!({"janus": "attach"}), 456),
        (&sessions, json!({"janus": "message", "body": {}}), 456),
        (&format!("/{session}/78"), json!({"janus": "detach"}), 459),
        (&handles, json!({"janus": "message"}), 456),
        (&handles, json!({"janus": "message", "body": {}, "jsep": {"type": "answer", "sdp": ""}}), 464),
        (&handles, json!({"janus": "trickle"}), 456),
        (&handles, json!({"janus": "attach"}), 457),
    ] {
        let reply = api.post(path, request.clone()).await;
        assert_eq!(
            (reply["janus"].as_str(), reply["error"]["code"].as_u64()),
            (Some("error"), Some(code)),
            "{path} {request}: {reply}"
        );
    }
    let (status, body) = api.http.get(&format!("{}/77?maxev=10", api.base)).await;
    assert_eq!((status.as_u16(), body), (404, Value::Null), "the poll of an unknown session");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_echotest_does_not_understand_is_an_event_with_a_reason() {
    let backend = Backend::start().unwrap();
    let api = Api::new(&backend);
    let (session, handle) = api.attached().await;
    for (offer, part) in
        [("v=0\r\n", ""), ("not SDP", ""), (&"m=audio 9 X 0\r\n".repeat(40), "40 m-sections")]
    {
        let event = api.answer(session, handle, offer).await;
        let error = event["plugindata"]["data"]["error"].as_str().unwrap_or_default().to_owned();
        assert!(!error.is_empty() && error.contains(part), "{event}");
        assert!(event["jsep"].is_null());
    }
    // None of them is taken for a call, and a wish without an offer is granted.
    let ack = api
        .post(&format!("/{session}/{handle}"), json!({"janus": "message", "body": {"audio": false}}))
        .await;
    assert_eq!(ack["janus"], "ack");
    assert_eq!(api.poll(session).await[0]["plugindata"]["data"]["result"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_calls_are_limited_and_make_room_again() {
    let backend = Backend::start().unwrap();
    let api = Api::new(&backend);
    let peer = Peer::new().await;
    let offer = peer.description(Side::Offerer);
    let mut sessions = Vec::new();
    for number in 0..64 {
        let (session, handle) = api.attached().await;
        let event = api.answer(session, handle, &offer).await;
        assert_eq!(
            event["jsep"]["type"].as_str(),
            (number < 32).then_some("answer"),
            "call {number}: {event}"
        );
        sessions.push(session);
    }
    let refused = api.post("", json!({"janus": "create"})).await;
    assert_eq!(refused["error"]["code"], 472, "{refused}");
    for session in sessions {
        assert_eq!(api.post(&format!("/{session}"), json!({"janus": "destroy"})).await["janus"], "success");
    }
    let (session, handle) = api.attached().await;
    assert_eq!(api.answer(session, handle, &offer).await["jsep"]["type"], "answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_speaks_the_same_and_takes_its_sessions_with_it() {
    let backend = Backend::start().unwrap();
    for path in ["/", "/janus"] {
        let mut request = format!("ws://{}{path}", backend.api).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "janus-protocol".parse().unwrap());
        let stream = tokio::net::TcpStream::connect(backend.api).await.unwrap();
        let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "janus-protocol");
        socket.send(Message::text(r#"{"janus":"create","transaction":"t"}"#)).await.unwrap();
        let reply: Value =
            serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        let session = reply["data"]["id"].as_u64().unwrap();
        let api = Api::new(&backend);
        let keepalive = json!({"janus": "keepalive"});
        assert_eq!(api.post(&format!("/{session}"), keepalive.clone()).await["janus"], "ack");
        drop(socket);
        within(5, "the session ends with its socket", async {
            while api.post(&format!("/{session}"), keepalive.clone()).await["janus"] == "ack" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
}

#[test]
fn a_taken_port_is_named_with_a_way_out() {
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (tcp, udp) = (
        tcp.local_addr().map(|addr| (tcp, addr)).unwrap(),
        udp.local_addr().map(|addr| (udp, addr)).unwrap(),
    );
    for (taken, output) in [
        (format!("TCP port {}", tcp.1.port()), said(&["--listen", "127.0.0.1"], tcp.1, free_udp())),
        (format!("UDP port {}", udp.1.port()), said(&["--listen", "127.0.0.1"], free_tcp(), udp.1)),
    ] {
        let (output, errors) = output;
        assert_eq!(output.status.code(), Some(1));
        assert!(
            errors.contains(&format!("{taken} is taken")) && errors.contains("help: choose another"),
            "{errors}"
        );
        assert!(output.stdout.is_empty(), "nothing is promised that does not run");
    }
}

#[test]
fn bad_flags_and_hosts_are_named() {
    let (tcp, udp) = (free_tcp(), free_udp());
    let (output, errors) = said(&["--host", "no host"], tcp, udp);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("--host") && errors.contains("no host"), "{errors}");
    let (output, errors) = said(&["--listen", "nowhere"], tcp, udp);
    assert_eq!(output.status.code(), Some(2), "{errors}");
}

#[test]
fn the_configuration_it_shows_can_be_used() {
    let (output, errors) = said(&["--show-config", "--host", "192.0.2.1"], free_tcp(), free_udp());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    let loaded = Config::from_text(&text).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.render_warnings(false));
}

#[test]
fn its_help_has_examples() {
    let mut help = Command::new(env!("CARGO_BIN_EXE_xrtc"))
        .args(["demo", "--help"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    help.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(help.wait().unwrap().success());
    for part in ["Examples:", "xrtc demo --port 7443", "--host", "--listen", "http://localhost:6443"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

/// The backend's own API, without an edge.
struct Api {
    http: Http,
    base: String,
}

impl Api {
    fn new(backend: &Backend) -> Api {
        Api { http: Http::new(), base: format!("http://{}/janus", backend.api) }
    }

    async fn post(&self, path: &str, mut request: Value) -> Value {
        if let Some(request) = request.as_object_mut() {
            request.insert("transaction".to_owned(), "t".into());
        }
        let (status, reply) = self.http.post(&format!("{}{path}", self.base), &request).await;
        assert_eq!(status, 200, "{request}");
        reply
    }

    async fn attached(&self) -> (u64, u64) {
        let created = self.post("", json!({"janus": "create"})).await;
        let session = created["data"]["id"].as_u64().unwrap();
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.echotest"});
        let attached = self.post(&format!("/{session}"), attach).await;
        (session, attached["data"]["id"].as_u64().unwrap())
    }

    /// The event that answers an offer.
    async fn answer(&self, session: u64, handle: u64, offer: &str) -> Value {
        let message = json!({"janus": "message", "body": {}, "jsep": {"type": "offer", "sdp": offer}});
        assert_eq!(self.post(&format!("/{session}/{handle}"), message).await["janus"], "ack");
        within(5, "the answer", self.poll(session)).await.remove(0)
    }

    async fn poll(&self, session: u64) -> Vec<Value> {
        let (status, events) = self.http.get(&format!("{}/{session}?maxev=10", self.base)).await;
        assert_eq!(status, 200);
        events.as_array().unwrap().clone()
    }
}
