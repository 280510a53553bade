//! Rooms over real loopback sockets: what the shell does for every protocol, and what it does to whoever breaks the rules.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;
mod rooms_support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rooms_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use xrtc::http::Phase;
use xrtc::signalling::ServerEvent;
use xrtc::telemetry::metrics::MetricSource;

const ALL: &str = "
        rooms: {signalling: {protocol: webrtc-server, auth: {users: {ann: a, bob: b}, secrets: [s]}}}
        book: {signalling: {protocol: blueprints}}
        gst: {signalling: {protocol: gst}}
        sink: {paths: [/sink], signalling: {protocol: webrtcsink}}
";

/// A pair that is in a room, per protocol, and a message that passes between them.
async fn pairs(edge: &Edge) -> Vec<(&'static str, Socket, Socket, String)> {
    let (mut ann, _) = join(edge, "/websocket/r", "ann", "a").await;
    let (bob, id) = join(edge, "/websocket/r", "bob", "b").await;
    assert!(hear(&mut ann).await.contains("joined"));
    let to_bob = format!(r#"{{"event":"e","to":"{id}"}}"#);

    let (mut creator, mut joiner) = (dial(edge, "/").await, dial(edge, "/chapter1/signaling").await);
    say(&mut creator, r#"{"type":"GETROOM","value":""}"#).await;
    let room: serde_json::Value = serde_json::from_str(&hear(&mut creator).await).unwrap();
    say(&mut joiner, &format!(r#"{{"type":"ENTERROOM","value":{}}}"#, room["value"])).await;
    // No answer says that the joiner is in; his own message comes after it.
    say(&mut joiner, r#"{"type":"x"}"#).await;
    assert_eq!(hear(&mut creator).await, r#"{"type":"x"}"#);

    let (mut caller, callee) = (hello(edge, "/any/path", "caller").await, hello(edge, "/x", "callee").await);
    say(&mut caller, "SESSION callee").await;
    assert_eq!(hear(&mut caller).await, "SESSION_OK");
    vec![
        ("/websocket/r", ann, bob, to_bob),
        ("/signaling", creator, joiner, r#"{"type":"offer"}"#.to_owned()),
        ("/gst", caller, callee, "anything".to_owned()),
    ]
}

#[tokio::test]
async fn protocols_stand_side_by_side_and_are_found_by_path() {
    let (edge, rooms) = rooms(ALL).await;
    let mut pairs = pairs(&edge).await;
    for (path, one, other, text) in &mut pairs {
        say(one, text).await;
        let heard = hear(other).await;
        assert!(heard.starts_with(&text[..7]), "{path}: {heard}");
    }
    let mut sink = dial(&edge, "/sink").await;
    assert!(hear(&mut sink).await.starts_with(r#"{"type":"welcome","peerId":""#));
    let listed: Vec<_> = rooms.list().iter().map(|it| (it.protocol, it.room.people.len())).collect();
    assert_eq!(listed.len(), 3);
    assert!(listed.iter().all(|(_, people)| *people == 2), "{listed:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_request_that_is_no_upgrade_is_told_so() {
    let (edge, _) = rooms(ALL).await;
    for (path, status, body) in [
        ("/websocket/r", "426 Upgrade Required", ""),
        ("/", "426 Upgrade Required", ""),
        ("/signaling", "426 Upgrade Required", ""),
        ("/health", "200 OK", "OK\n"),
        ("/elsewhere", "426 Upgrade Required", ""),
    ] {
        let answer = get(&edge, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.ends_with(body),
            "{path}: {answer}"
        );
        assert_eq!(
            answer.to_lowercase().contains("upgrade: websocket"),
            status.starts_with("426"),
            "{answer}"
        );
    }
    for path in ["/websocket", "/websocket/", "/websocket/a/b", "/websocket/%zz"] {
        assert_eq!(refused(&edge, path, &[]).await, 404, "{path}");
    }
    assert_eq!(refused(&edge, "/websocketfoo", &[]).await, 101, "this one is gst's");
    let old = raw(&edge, "GET /gst HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 8\r\n\r\n").await;
    assert!(
        old.starts_with("HTTP/1.1 426") && old.to_lowercase().contains("sec-websocket-version: 13"),
        "{old}"
    );
    let keyless = raw(&edge, "GET /gst HTTP/1.1\r\nhost: h\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n").await;
    assert!(keyless.starts_with("HTTP/1.1 400"), "{keyless}");
    edge.stop().await;
}

#[tokio::test]
async fn pages_of_webrtc_server_load_at_every_path() {
    let dir = tempdir("pages");
    std::fs::write(dir.join("index.html"), "the page").unwrap();
    std::fs::create_dir(dir.join("js")).unwrap();
    std::fs::write(dir.join("js/app.js"), "the script").unwrap();
    let http = format!("root: '{}'", dir.display());
    let routes = "        rooms: {signalling: {protocol: webrtc-server, auth: {password: x}}}";
    let (edge, _) = rooms_with(&http, routes).await;
    for (path, body) in
        [("/", "the page"), ("/some-room", "the page"), ("/js/app.js", "the script"), ("/a/b/c", "the page")]
    {
        let answer = get(&edge, path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(body), "{path}: {answer}");
    }
    assert!(get(&edge, "/websocket/r").await.starts_with("HTTP/1.1 426"));
    edge.stop().await;
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn who_breaks_the_rules_is_closed_by_code_and_his_room_goes_on() {
    let (edge, rooms) = rooms(ALL).await;
    let whole =
        |opcode, data: &'static [u8]| Message::Frame(Frame::message(data, OpCode::Data(opcode), true));
    for (path, mut one, mut other, text) in pairs(&edge).await {
        for (what, message, code) in [
            ("a message of 1 MB", Message::text("x".repeat(1 << 20)), 1009),
            ("a binary message of 1 MB", Message::binary(vec![0; 1 << 20]), 1009),
            ("bytes that are no UTF-8", whole(Data::Text, b"a\xff\xfe"), 1007),
            ("a fragment of nothing", whole(Data::Continue, b"x"), 1002),
        ] {
            let mut culprit = dial(&edge, path).await;
            let _ = in_time(culprit.send(message)).await;
            assert_eq!(closed(&mut culprit).await.0, code, "{path}: {what}");
        }
        say(&mut one, &text).await;
        assert!(hear(&mut other).await.starts_with(&text[..7]), "{path}: the others go on");
        // Also somebody in the room: it is the others who must not notice.
        let _ = in_time(other.send(Message::text("x".repeat(70_000)))).await;
        assert_eq!(closed(&mut other).await.0, 1009, "{path}");
    }
    let closes = metric(&rooms, "xrtc_room_closes_total");
    assert!(
        closes.iter().any(|(labels, value)| labels == "webrtc-server 1009" && *value == 3.0),
        "{closes:?}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn nonsense_before_and_after_login_gets_the_answer_of_the_protocol() {
    let (edge, _) = rooms(ALL).await;
    let mut knocking = dial(&edge, "/websocket/r").await;
    for text in ["", "{", "[1]", r#"{"event":1}"#, "null", &"[".repeat(60_000)] {
        say(&mut knocking, text).await;
        assert_eq!(hear(&mut knocking).await, r#"{"event":"unauthorized"}"#);
    }
    in_time(knocking.send(Message::binary(vec![1, 2]))).await.unwrap();
    say(&mut knocking, "ping").await;
    assert_eq!(hear(&mut knocking).await, "pong", "binary messages are ignored");

    let (mut ann, _) = join(&edge, "/websocket/r", "ann", "a").await;
    for text in ["{", r#"{"event":"e"}"#, r#"{"event":"authenticate","data":{}}"#] {
        say(&mut ann, text).await;
        assert_eq!(hear(&mut ann).await, r#"{"event":"invalid_message"}"#);
    }
    let mut wrong = dial(&edge, "/websocket/r").await;
    for (name, password) in [("ann", "b"), ("cid", "a"), ("1000:x", "y")] {
        let data = serde_json::json!({ "username": name, "password": password });
        say(&mut wrong, &format!(r#"{{"event":"authenticate","data":{data}}}"#)).await;
        assert_eq!(hear(&mut wrong).await, r#"{"event":"unauthorized"}"#);
    }

    let mut early = dial(&edge, "/signaling").await;
    for text in ["{", "7", r#"{"type":"offer"}"#, ""] {
        say(&mut early, text).await;
    }
    say(&mut early, r#"{"type":"ENTERROOM","value":null}"#).await;
    assert_eq!(hear(&mut early).await, r#"{"type":"WRONGROOM"}"#);

    for (first, reason) in
        [("SESSION x", "invalid protocol"), ("HELLO a b", "invalid peer uid"), ("{}", "invalid protocol")]
    {
        let mut socket = dial(&edge, "/gst").await;
        say(&mut socket, first).await;
        assert_eq!(closed(&mut socket).await, (1002, reason.to_owned()));
    }
    let mut socket = dial(&edge, "/gst").await;
    in_time(socket.send(Message::binary(b"HELLO a".to_vec()))).await.unwrap();
    assert_eq!(closed(&mut socket).await, (1002, "invalid protocol".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_reader_is_dropped_and_his_room_does_not_notice() {
    let routes = "        rooms: {signalling: {protocol: webrtc-server, auth: {password: x}, max_queue: 50}}";
    let (edge, rooms) = rooms(routes).await;
    let (mut ann, _) = join(&edge, "/websocket/r", "ann", "x").await;
    let (mut bob, bob_id) = join(&edge, "/websocket/r", "bob", "x").await;
    let (mut slow, slow_id) = join(&edge, "/websocket/r", "slow", "x").await;
    for _ in 0..2 {
        hear(&mut ann).await;
    }
    hear(&mut bob).await;
    let big = "x".repeat(60_000);
    let mut sent = 0;
    let mut left = None;
    // The kernel takes some megabytes before the edge notices.
    while left.is_none() && sent < 2000 {
        say(&mut ann, &format!(r#"{{"event":"e","to":"{slow_id}","data":"{big}"}}"#)).await;
        sent += 1;
        left = tokio::time::timeout(Duration::from_millis(1), ann.next()).await.ok();
    }
    let left = left.unwrap().unwrap().unwrap().into_text().unwrap();
    assert!(left.contains("left") && left.contains(&slow_id), "{left}");
    assert!(hear(&mut bob).await.contains("left"));
    say(&mut ann, &format!(r#"{{"event":"still","to":"{bob_id}"}}"#)).await;
    // Messages to the one who has gone are answered one by one.
    assert!(hear(&mut bob).await.contains("still"));
    assert_eq!(closed(&mut slow).await.0, 1013, "and when he reads at last, he is told why");
    assert_eq!(rooms.named("r")[0].room.people.len(), 2);
    edge.stop().await;
}

#[tokio::test]
async fn full_rooms_and_hasty_clients_are_refused_before_the_upgrade() {
    let routes = "
        rooms: {signalling: {protocol: webrtc-server, auth: {password: x}, max_peers: 1, max_rooms: 1}}
        token: {paths: [/t], signalling: {protocol: gst, token: 'a b'}}
        hasty: {paths: [/h], signalling: {protocol: gst, max_connects: 3}}
";
    let (edge, rooms) = rooms_with("trusted_proxies: [127.0.0.1]", routes).await;
    let (ann, _) = join(&edge, "/websocket/r", "ann", "x").await;
    assert_eq!(refused(&edge, "/websocket/r", &[]).await, 503);
    assert_eq!(refused(&edge, "/websocket/s", &[]).await, 503);
    drop(ann);
    for (path, status) in [("/t", 401), ("/t?token=a", 401), ("/t?token=a%20b", 101)] {
        assert_eq!(refused(&edge, path, &[]).await, status, "{path}");
    }
    for (client, status) in
        [("192.0.2.1", 101), ("192.0.2.1", 101), ("192.0.2.1", 101), ("192.0.2.1", 429), ("192.0.2.2", 101)]
    {
        assert_eq!(refused(&edge, "/h", &[("x-forwarded-for", client)]).await, status, "{client}");
    }
    let refusals = metric(&rooms, "xrtc_room_refusals_total");
    for expected in [("gst unauthorized", 2.0), ("gst too_often", 1.0), ("webrtc-server full", 2.0)] {
        assert!(
            refusals.iter().any(|(labels, value)| (&**labels, *value) == expected),
            "{expected:?}: {refusals:?}"
        );
    }
    edge.stop().await;
}

#[tokio::test]
async fn silence_and_late_logins_close_with_1000() {
    let routes = "        rooms: {signalling: {protocol: webrtc-server, auth: {password: x}, auth_timeout: 300ms, idle_timeout: 600ms}}";
    let (edge, _) = rooms(routes).await;
    let mut late = dial(&edge, "/websocket/r").await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        say(&mut late, "ping").await;
        assert_eq!(hear(&mut late).await, "pong", "which does not extend the time");
    }
    assert_eq!(closed(&mut late).await, (1000, String::new()));
    let (mut idle, _) = join(&edge, "/websocket/r", "ann", "x").await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        in_time(idle.send(Message::Ping(Bytes::new()))).await.unwrap();
    }
    let start = std::time::Instant::now();
    assert_eq!(closed(&mut idle).await, (1000, String::new()));
    assert!(start.elapsed() > Duration::from_millis(400), "any frame starts the time anew");
    edge.stop().await;
}

#[tokio::test]
async fn pings_go_out_in_silence_and_who_never_answers_is_gone() {
    let routes = "        gst: {signalling: {protocol: gst, keepalive_timeout: 200ms}}";
    let (edge, _) = rooms(routes).await;
    let mut caller = hello(&edge, "/", "caller").await;
    let dead = hello(&edge, "/", "dead").await;
    say(&mut caller, "SESSION dead").await;
    assert_eq!(hear(&mut caller).await, "SESSION_OK");
    let start = std::time::Instant::now();
    // Reading answers the pings; the other one does not read.
    assert_eq!(closed(&mut caller).await, (1000, String::new()));
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    drop(dead);
    edge.stop().await;
}

#[tokio::test]
async fn the_end_of_a_peer_however_it_comes_is_told_once() {
    let (edge, _) = rooms(ALL).await;
    let (mut ann, _) = join(&edge, "/websocket/r", "ann", "a").await;
    for way in 0..4 {
        let (mut bob, id) = join(&edge, "/websocket/r", "bob", "b").await;
        assert!(hear(&mut ann).await.contains("joined"));
        match way {
            0 => drop(bob),
            1 => {
                in_time(bob.close(Some(CloseFrame { code: 4001.into(), reason: "bye".into() })))
                    .await
                    .unwrap();
                assert_eq!(closed(&mut bob).await.0, 4001, "the code is echoed");
            }
            2 => {
                _ = in_time(bob.send(Message::Frame(Frame::message(
                    &b"\xff"[..],
                    OpCode::Data(Data::Text),
                    true,
                ))))
                .await
            }
            _ => in_time(bob.get_mut().shutdown()).await.unwrap(),
        }
        let left = hear(&mut ann).await;
        assert!(left.contains("left") && left.contains(&id), "{left}");
    }
    silent(&mut ann).await;
    edge.stop().await;
}

#[tokio::test]
async fn fragments_are_joined_and_pings_between_them_answered() {
    let (edge, _) = rooms(ALL).await;
    let (mut ann, id) = join(&edge, "/websocket/r", "ann", "a").await;
    let text = format!(r#"{{"event":"e","to":"{id}"}}"#).into_bytes();
    let (start, rest) = text.split_at(9);
    let frame =
        |data: &[u8], opcode, last| Message::Frame(Frame::message(data.to_vec(), OpCode::Data(opcode), last));
    in_time(ann.send(frame(start, Data::Text, false))).await.unwrap();
    in_time(ann.send(Message::Ping(Bytes::from_static(b"p")))).await.unwrap();
    in_time(ann.send(frame(rest, Data::Continue, true))).await.unwrap();
    assert_eq!(in_time(ann.next()).await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"p")));
    assert!(hear(&mut ann).await.contains("from"));
    edge.stop().await;
}

#[tokio::test]
async fn the_end_of_the_edge_is_told_with_1001_and_nobody_comes_in_before_it() {
    let (edge, _) = rooms(ALL).await;
    let (mut ann, _) = join(&edge, "/websocket/r", "ann", "a").await;
    let mut gst = hello(&edge, "/gst", "a").await;
    // A connection that was there before, and asks for its upgrade now.
    let mut late = TcpStream::connect(edge.addr).await.unwrap();
    late.write_all(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    let size = in_time(late.read(&mut answer)).await.unwrap();
    assert!(answer[..size].starts_with(b"HTTP/1.1 200"));
    edge.phase.send(Phase::Draining).unwrap();
    late.write_all(b"GET /gst HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await.unwrap();
    let size = in_time(late.read(&mut answer)).await.unwrap();
    assert!(answer[..size].starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer[..size]));
    say(&mut ann, "ping").await;
    assert_eq!(hear(&mut ann).await, "pong", "while it drains, rooms go on");
    let phase = edge.phase.clone();
    let ended = tokio::spawn(edge.stop());
    assert_eq!(closed(&mut ann).await.0, 1001);
    assert_eq!(closed(&mut gst).await.0, 1001);
    drop((ann, gst, late));
    in_time(ended).await.unwrap();
    drop(phase);
}

#[tokio::test]
async fn the_operator_sees_publishes_sends_and_removes() {
    let (edge, rooms) = rooms(ALL).await;
    let (mut ann, ann_id) = join(&edge, "/websocket/r", "ann", "a").await;
    let (mut bob, bob_id) = join(&edge, "/websocket/r", "bob", "b").await;
    hear(&mut ann).await;
    let listed = rooms.named("r");
    let people: Vec<_> = listed[0].room.people.iter().map(|it| (&*it.name, &*it.id)).collect();
    assert_eq!(people, [("ann", &*ann_id), ("bob", &*bob_id)]);
    assert_eq!((&*listed[0].service, &*listed[0].route, listed[0].protocol), ("h", "rooms", "webrtc-server"));
    let event = |data: Option<&str>| ServerEvent {
        event: "news".into(),
        data: data.map(|data| data.as_bytes().to_vec()),
    };
    assert_eq!(rooms.publish("r", &event(Some("[1]"))), 2);
    for socket in [&mut ann, &mut bob] {
        assert_eq!(hear(socket).await, r#"{"event":"news","data":[1]}"#);
    }
    assert!(rooms.send(&bob_id, &event(None)) && !rooms.send("nobody", &event(None)));
    assert_eq!(hear(&mut bob).await, r#"{"event":"news"}"#);
    assert_eq!(metric(&rooms, "xrtc_rooms").iter().map(|(_, value)| value).sum::<f64>(), 1.0);
    assert!(rooms.remove("r", &bob_id) && !rooms.remove("r", &bob_id) && !rooms.remove("s", &ann_id));
    assert_eq!(closed(&mut bob).await.0, 1008);
    assert!(hear(&mut ann).await.contains("left"));
    edge.stop().await;
}

/// The answer to a request on a connection of its own.
async fn get(edge: &Edge, path: &str) -> String {
    raw(edge, &format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")).await
}

async fn raw(edge: &Edge, request: &str) -> String {
    let mut stream = TcpStream::connect(edge.addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Label values and value of every sample that is not zero.
fn metric(rooms: &xrtc::signalling::Rooms, name: &str) -> Vec<(String, f64)> {
    let families = rooms.families();
    let family = families.iter().find(|family| family.name == name).unwrap();
    let samples = family.samples.iter().filter(|sample| sample.value != 0.0);
    let labels =
        |labels: &[(&str, String)]| labels.iter().map(|(_, value)| &**value).collect::<Vec<_>>().join(" ");
    samples.map(|sample| (labels(&sample.labels), sample.value)).collect()
}

fn tempdir(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("xrtc-rooms-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
