//! The admin service of the built program, with real peers: what it tells is what happened, and whoever may not ask gets nothing.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what the edge said"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use support::backend::Backend;
use support::client::{Client, negotiate};
use support::edge::Edge;
use support::registered::{self, BACKEND_PWD, Peer};
use support::{sdp, within};
use tokio_tungstenite::tungstenite::Message;

const TOKEN: &str = "a-token-of-this-test-0123";

/// An edge with an admin port.
struct World {
    edge: Edge,
    admin: SocketAddr,
    token: Option<&'static str>,
}

impl World {
    /// In front of a Janus at `backend`.
    fn new(backend: SocketAddr, token: Option<&'static str>) -> World {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let section = token.map(|token| format!("    admin: {{token: {token}}}\n")).unwrap_or_default();
        let edge = Edge::start_with(|ground| {
            format!(
                "services:\n  admin0:\n    proto: admin\n    net: {{addr: \"{admin}\"}}\n{section}  turn0: {{proto: turn, net: {{addr: \"127.0.0.1:0\"}}}}\n  udp0:\n    proto: udp\n    \
                 net: {{addr: \"{}\", enable_ice: true}}\n  http0:\n    proto: http\n    net: {{addr: \"{}\"}}\n    http:\n      \
                 routes:\n        janus: {{upstream: \"http://{backend}\", paths: [/janus]}}\n        rooms: {{signalling: {{protocol: webrtc-server, auth: {{users: {{ann: pw}}}}}}}}\nmedia: {{workers: 2}}\n",
                ground.udp, ground.tcp
            )
        });
        World { edge, admin, token }
    }

    fn send(&self, request: &str) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A refused head may be refused before it is all there.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, head, answer.get(end + 4..).unwrap_or_default().to_vec())
    }

    fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let token = self.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n");
        let (status, _, body) = self.send(&request);
        (status, body)
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    fn metrics(&self) -> String {
        let (status, body) = self.ask("GET", "/metrics");
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap()
    }

    /// The value of one line of the metrics.
    fn metric(&self, line: &str) -> f64 {
        let metrics = self.metrics();
        let found = metrics.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {line} in\n{metrics}")).parse().unwrap()
    }

    /// Waits until it is at least so much: workers show what they counted ten times per second.
    fn reaches(&self, line: &str, least: f64) {
        let start = Instant::now();
        while self.metric(line) < least {
            assert!(start.elapsed() < Duration::from_secs(5), "{line} below {least}:\n{}", self.metrics());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks again until `wanted` says yes; the edge publishes its figures ten times per second.
    fn until(&self, what: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let value = self.json(path);
            if wanted(&value) {
                return value;
            }
            assert!(start.elapsed() < Duration::from_secs(15), "{what}: {value:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn only_session(&self) -> Value {
        let listed = self.until("one session", "/api/sessions", |it| it["sessions"][0].is_object());
        assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{listed:#}");
        listed["sessions"][0].clone()
    }
}

fn steps(session: &Value) -> Vec<&str> {
    session["timeline"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_told_from_its_offer_to_its_end() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    let client = Client::connect(world.edge.http).await;
    assert_eq!(client.ping("one").await, format!("one via {}", client.handle));
    assert_eq!(client.ping_data("two").await, "echo two");

    let row = world.only_session();
    assert_eq!((&row["stage"], &row["route"]), (&Value::from("connected"), &Value::from("janus")), "{row:#}");
    assert_eq!(row["diagnosis"]["side"], "nobody", "{row:#}");
    assert_eq!(row["diagnosis"]["text"], "media flows both ways");
    let id = row["id"].as_str().unwrap().to_owned();
    let path = format!("/api/sessions/{id}");
    let whole = world.json(&path);
    let steps = steps(&whole);
    let order = [
        "offer_seen",
        "answer_rewritten",
        "client_check",
        "check_sent_to_backend",
        "stun_from_backend",
        "backend_nominated",
        "connected",
        "dtls_client_hello_from_client",
        "dtls_server_hello_from_backend",
        "media_from_client",
        "media_from_backend",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|step| {
            steps.iter().position(|it| it == step).unwrap_or_else(|| panic!("no {step} in {steps:?}"))
        })
        .collect();
    // Steps of one millisecond may stand either way round; what waits for a round trip may not.
    assert!(places.is_sorted_by(|a, b| a <= b) || places[0] == 0, "{steps:?}");
    assert_eq!(whole["clients"][0]["selected"], true);
    assert_eq!(whole["clients"][0]["local"], world.edge.udp.to_string());
    assert!(
        whole["backends"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["selected"] == true && it["answered"] == true)
    );
    assert_eq!(whole["streams_from_client"][0]["payload_type"], 111);
    assert_eq!(whole["streams_from_client"][0]["received"], 1);
    assert_eq!(whole["mode"], "half_proxy");

    let captured = tokio::task::spawn_blocking({
        let (admin, path) = (world.admin, path.clone());
        move || capture(admin, &format!("{path}/pcap?packets=4&seconds=10"))
    });
    // The capture begins somewhere in between.
    for number in 0..40 {
        client.ping(&format!("captured {number}")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if captured.is_finished() {
            break;
        }
    }
    let packets = captured.await.unwrap();
    assert_eq!(packets.len(), 4);
    let udp = |packet: &[u8]| {
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        (packet[0] >> 4, packet[9], port(20), port(22))
    };
    assert!(packets.iter().all(|packet| udp(packet).0 == 4 && udp(packet).1 == 17));
    assert!(packets.iter().any(|packet| [udp(packet).2, udp(packet).3].contains(&world.edge.udp.port())));
    assert!(packets.iter().any(|packet| packet.windows(8).any(|it| it == b"captured")), "media is in it");

    assert_eq!(world.ask("DELETE", &path).0, 204);
    let ended = world.until("the end", &path, |it| it["stage"] == "ended");
    assert_eq!((&ended["end_reason"], &ended["diagnosis"]["side"]), (&"operator".into(), &"nobody".into()));
    assert!(ended["timeline"].as_array().unwrap().last().unwrap()["step"] == "ended_operator", "{ended:#}");
    assert_eq!(world.json("/api/sessions")["running"], 0);
    assert_eq!(world.json("/api/sessions?state=ended")["sessions"][0]["id"], id.as_str());
    assert_eq!(world.ask("DELETE", &path).0, 404, "it is over");
    assert_eq!(world.ask("GET", &format!("{path}/pcap")).0, 404);

    assert_eq!(world.metric("xrtc_sessions_connected_total"), 1.0);
    assert_eq!(world.metric("xrtc_sessions_ended_total{reason=\"operator\"}"), 1.0);
    assert_eq!(world.metric("xrtc_session_connect_seconds_count"), 1.0);
    assert_eq!(
        world.metric(
            "xrtc_upstream_up{upstream=\"%\",server=\"http://%\"}"
                .replace('%', &backend.addr.to_string())
                .as_str()
        ),
        1.0
    );
    world.reaches("xrtc_packets_total{leg=\"backend\",direction=\"out\",transport=\"udp\"}", 6.0);
    world.reaches("xrtc_forwarded_packets_total{direction=\"down\"}", 4.0);
    world.reaches("xrtc_stun_total{kind=\"client_request\",result=\"ok\"}", 1.0);
    world.reaches("xrtc_http_requests_total{route=\"janus\",code=\"200\"}", 4.0);
    world.reaches("xrtc_rtp_received_total{leg=\"client\"}", 1.0);
}

/// The packets of a capture, from their IP header on.
fn capture(admin: SocketAddr, path: &str) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // HTTP/1.0 has no chunks to take apart.
    let head = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.0 200"), "{}", String::from_utf8_lossy(&answer[..end]));
    let mut file = &answer[end..];
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    file = &file[24..];
    let mut packets = Vec::new();
    while !file.is_empty() {
        let length = u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize;
        packets.push(file[16..16 + length].to_vec());
        file = &file[16 + length..];
    }
    packets
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_wrong_password_is_told_as_such_while_it_waits_and_afterwards() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    let negotiated = negotiate(world.edge.http).await;
    let row = world.only_session();
    assert_eq!(
        (&row["stage"], &row["diagnosis"]["side"]),
        (&"waiting".into(), &"underway".into()),
        "{row:#}"
    );
    let ufrag = sdp::value(&negotiated.answer, "ice-ufrag").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..5 {
        let check = registered::request(ufrag, &negotiated.peer.ufrag, "not the edge's password 1", number);
        socket.send_to(&check, world.edge.udp).unwrap();
    }
    let path = format!("/api/sessions/{}", row["id"].as_str().unwrap());
    let bad = |it: &Value| {
        let steps = it["timeline"].as_array().unwrap();
        steps.iter().any(|step| step["step"] == "client_check_bad_integrity" && step["count"] == 5)
    };
    let whole = world.until("five bad checks", &path, bad);
    let text = whole["diagnosis"]["text"].as_str().unwrap();
    assert!(text.starts_with("the client's checks arrive but fail integrity (5 times, last "), "{text}");
    assert_eq!(whole["diagnosis"]["side"], "client");
    assert_eq!(world.ask("GET", &format!("{path}/pcap")).0, 409, "nobody has it yet");
    assert_eq!(world.ask("DELETE", &path).0, 204);
    let ended = world.until("the end", &path, |it| it["stage"] == "ended");
    assert!(ended["diagnosis"]["text"].as_str().unwrap().contains("fail integrity (5 times)"), "{ended:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_answer_is_named() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    let (silent, client) = (Peer::new(), Peer::new());
    let http = world.edge.http;
    let candidate = silent.candidate();
    within(
        10,
        "the registration",
        tokio::task::spawn_blocking(move || registered::register(http, BACKEND_PWD, &[candidate])),
    )
    .await
    .unwrap();
    for number in 0..3 {
        client.send(&registered::request("aFrg", "oFrg", BACKEND_PWD, number), world.edge.udp);
        assert!(silent.waits(Duration::from_secs(5)).is_some(), "the check passes");
    }
    let row =
        world.until("a verdict", "/api/sessions", |it| it["sessions"][0]["diagnosis"]["side"] == "backend");
    let text = row["sessions"][0]["diagnosis"]["text"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("the backend answers no checks at {} (3 times", silent.addr())),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_ask_gets_nothing() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    let paths = [
        "/metrics",
        "/api/sessions",
        "/api/sessions/0123456789abcdef",
        "/api/upstreams",
        "/api/history",
        "/api/events",
        "/api/sessions/0123456789abcdef/pcap",
    ];
    for path in paths {
        for shown in [
            "",
            "Authorization: Bearer nonsense\r\n",
            "Authorization: Basic YTpi\r\n",
            "Authorization: Bearer a-token-of-this-test-012\r\n",
            "Authorization: Bearer \u{7f}\r\n",
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{shown}Connection: close\r\n\r\n");
            let (status, head, body) = world.send(&request);
            assert!([401, 400].contains(&status), "{path} {shown:?}: {head}");
            assert!(!String::from_utf8_lossy(&body).contains("xrtc_"), "{path}");
        }
    }
    for path in ["/", "/healthz", "/readyz"] {
        let (status, head, _) =
            world.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
        assert_eq!(status, 200, "{path}: {head}");
        assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    }
    assert!(!world.edge.log().contains(TOKEN), "the token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_are_refused_and_the_service_goes_on() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    for (method, path, status) in [
        ("GET", "/api/sessions/xyz", 400),
        ("GET", "/api/sessions/0123456789abcde", 400),
        ("GET", "/api/sessions/+123456789abcdef", 400),
        ("GET", "/api/sessions/%00123456789abcdef", 400),
        ("GET", "/api/sessions/ffffffffffffffff", 404),
        ("DELETE", "/api/sessions/ffffffffffffffff", 404),
        ("DELETE", "/api/sessions/../..", 404),
        ("POST", "/api/sessions", 405),
        ("PUT", "/metrics", 405),
        ("GET", "/api/sessions?limit=-1", 400),
        ("GET", "/api/sessions?limit=99999999999999999999999", 400),
        ("GET", "/api/sessions?state=all", 400),
        ("GET", "/api/sessions?from=18446744073709551615&limit=18446744073709551615", 200),
        ("GET", "/api/sessions?state=ended&from=18446744073709551615", 200),
        ("GET", "/api/sessions/ffffffffffffffff/pcap?leg=up", 400),
        ("GET", "/etc/passwd", 404),
        ("GET", "/api", 404),
    ] {
        assert_eq!(world.ask(method, path).0, status, "{method} {path}");
    }
    let long = "x".repeat(40_000);
    let (status, head, _) = world.send(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"));
    assert!([431, 400].contains(&status), "{head}");
    let many: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
    let (status, head, _) = world.send(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"));
    assert!([431, 400].contains(&status), "{head}");
    let (status, head, _) = world.send(&format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!([414, 431, 400].contains(&status), "{head}");
    for garbage in ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n", "GET"] {
        // Sent and left behind: an unfinished request is nobody's to wait for.
        TcpStream::connect(world.admin).unwrap().write_all(garbage.as_bytes()).unwrap();
    }
    assert_eq!(world.ask("GET", "/healthz").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_other_sites_and_names_get_nothing() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, None);
    assert_eq!(world.ask("GET", "/api/sessions").0, 200);
    let ask = |lines: &str| {
        world.send(&format!("GET /api/sessions HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).0
    };
    assert_eq!(ask("Host: rebound.example\r\n"), 421);
    assert_eq!(ask("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(ask(&format!("Host: {}\r\nSec-Fetch-Site: same-origin\r\n", world.admin)), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_edge_is_not_ready_and_still_answers_operators() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    assert_eq!(world.ask("GET", "/readyz"), (200, b"ready\n".to_vec()));
    let client = Client::connect(world.edge.http).await;
    client.ping("before").await;
    world.edge.terminate();
    let start = Instant::now();
    let (status, body) = loop {
        let (status, body) = world.ask("GET", "/readyz");
        if status != 200 || start.elapsed() > Duration::from_secs(5) {
            break (status, String::from_utf8(body).unwrap());
        }
    };
    assert_eq!(status, 503);
    assert!(body.starts_with("not ready: draining"), "{body}");
    assert_eq!(world.ask("GET", "/healthz").0, 200);
    assert_eq!(world.json("/api/sessions")["running"], 1);
    client.ping("while it drains").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_seen_spoken_into_and_somebody_is_removed() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    let stream = tokio::net::TcpStream::connect(world.edge.http).await.unwrap();
    let url = format!("ws://{}/websocket/a%20room", world.edge.http);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let login = r#"{"event":"authenticate","data":{"username":"ann","password":"pw"}}"#;
    within(5, "room", socket.send(Message::text(login))).await.unwrap();
    within(5, "room", socket.next()).await.unwrap().unwrap();
    let listed = world.json("/api/rooms");
    assert_eq!(listed["total"], 1);
    let row = serde_json::json!({"room": "a room", "protocol": "webrtc-server", "service": "http0", "route": "rooms", "peers": 1});
    assert_eq!(listed["rooms"][0], row);
    let peers = world.json("/api/rooms/a%20room/peers");
    assert_eq!((&peers[0]["username"], peers.as_array().unwrap().len()), (&Value::from("ann"), 1));
    assert_eq!(world.json("/api/rooms/nobody/peers"), serde_json::json!([]));
    let id = peers[0]["peer_id"].as_str().unwrap().to_owned();

    let post = |path: &str, body: &str| {
        let size = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}"
        );
        let (status, _, answer) = world.send(&request);
        (status, String::from_utf8(answer).unwrap())
    };
    let delivered = post("/api/rooms/a%20room/publish", r#"{"event":"news","data":{"n":9007199254740993}}"#);
    assert_eq!(delivered, (200, r#"{"delivered":1}"#.to_owned()));
    assert_eq!(
        within(5, "room", socket.next()).await.unwrap().unwrap().to_text().unwrap(),
        r#"{"event":"news","data":{"n":9007199254740993}}"#
    );
    assert_eq!(post("/api/send", &format!(r#"{{"event":"hi","peer_id":"{id}"}}"#)).0, 204);
    assert_eq!(
        within(5, "room", socket.next()).await.unwrap().unwrap().to_text().unwrap(),
        r#"{"event":"hi"}"#
    );
    for (path, body, status) in [
        ("/api/send", r#"{"event":"hi","peer_id":"nobody"}"#, 404),
        ("/api/send", r#"{"event":"hi"}"#, 400),
        ("/api/rooms/r/publish", "{", 400),
        ("/api/rooms/r/publish", r#"{"event":7}"#, 400),
        ("/api/rooms/r/publish", r#"{"event":"x"}"#, 200),
    ] {
        assert_eq!(post(path, body).0, status, "{path} {body}");
    }
    let path = format!(
        "/api/rooms/a%20room/peers/{}",
        id.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D")
    );
    assert_eq!(world.ask("DELETE", &path).0, 204);
    let Message::Close(Some(frame)) = within(5, "room", socket.next()).await.unwrap().unwrap() else {
        panic!("no close")
    };
    assert_eq!(u16::from(frame.code), 1008);
    assert_eq!(world.ask("DELETE", &path).0, 404);
    assert_eq!(world.json("/api/rooms")["total"], 0);
}

/// Names in the first column of the table of docs/metrics.md.
fn documented() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("docs/metrics.md").unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?.to_owned();
        Some((name, cells.next()?.trim().to_owned()))
    };
    text.lines().filter_map(row).filter(|(name, _)| name.starts_with("xrtc_")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let backend = Backend::start().await;
    let world = World::new(backend.addr, Some(TOKEN));
    support::http::Http::new().get(&format!("http://{}/nothing", world.edge.http)).await;
    let metrics = world.metrics();
    let mut told: Vec<(String, String)> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    told.sort();
    let mut documented = documented();
    documented.sort();
    assert_eq!(told, documented);
    for (name, kind) in &told {
        assert!(name.starts_with("xrtc_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let help = metrics.lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} "))).unwrap();
        assert!(help.len() > 5 && help.ends_with(['.', '1']), "{name}: {help}");
    }
}

#[test]
fn the_grafana_dashboard_asks_for_documented_metrics_alone() {
    let text = std::fs::read_to_string("docker/grafana-dashboard.json").unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut asked = Vec::new();
    collect(&dashboard, "expr", &mut asked);
    assert!(asked.len() >= 12, "{asked:?}");
    let documented = documented();
    for expr in &asked {
        let names = expr.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
        let names: Vec<_> = names.filter(|word| word.starts_with("xrtc_")).collect();
        assert!(!names.is_empty(), "{expr}");
        for name in names {
            let is_part =
                |known: &str| ["_bucket", "_sum", "_count"].iter().any(|it| name == format!("{known}{it}"));
            assert!(documented.iter().any(|(known, _)| known == name || is_part(known)), "{name} in {expr}");
        }
    }
}

fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, key, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, key, found)),
        _ => {}
    }
}
