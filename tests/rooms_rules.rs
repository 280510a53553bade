//! Rules that hold for every room protocol alike, each tried with each of them over real loopback sockets: what hostile clients
//! get, who is dropped, and that the others go on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;
mod rooms_support;

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use rooms_support::*;
use serde_json::{Value, json};
use sha1::Sha1;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use xrtc::signalling::Rooms;

const ROUTES: &str = "
        rooms: {signalling: {protocol: webrtc-server, auth: {password: x}, max_queue: 50}}
        minted: {paths: [/minted], signalling: {protocol: webrtc-server, auth: {users: {ann: a}, secrets: [north]}}}
        book: {paths: [/book], signalling: {protocol: blueprints, max_queue: 50}}
        gst: {paths: [/gst], signalling: {protocol: gst, max_queue: 50}}
        sink: {paths: [/sink], signalling: {protocol: webrtcsink, max_queue: 50}}
        live: {paths: [/api], signalling: {protocol: live, auth: {users: {ann: ann, bob: bob, cid: cid}}, max_queue: 50}}
";

/// Two in a room of a protocol, and how the first one says something to the second.
struct Pair {
    protocol: &'static str,
    path: &'static str,
    one: Socket,
    other: Socket,
    /// `%` is where anything may stand.
    message: String,
}

async fn pairs(edge: &Edge) -> Vec<Pair> {
    vec![
        webrtc_server(edge).await,
        blueprints(edge).await,
        gst(edge).await,
        sink(edge).await,
        live(edge).await,
    ]
}

async fn webrtc_server(edge: &Edge) -> Pair {
    let path = "/websocket/r";
    let (mut one, _) = join(edge, path, "ann", "x").await;
    let (other, id) = join(edge, path, "bob", "x").await;
    hear(&mut one).await;
    let message = format!(r#"{{"event":"e","to":"{id}","data":"%"}}"#);
    Pair { protocol: "webrtc-server", path, one, other, message }
}

async fn blueprints(edge: &Edge) -> Pair {
    let (mut one, mut other) = (dial(edge, "/book").await, dial(edge, "/book").await);
    say(&mut one, r#"{"type":"GETROOM","value":""}"#).await;
    let room: Value = serde_json::from_str(&hear(&mut one).await).unwrap();
    say(&mut other, &json!({"type": "ENTERROOM", "value": room["value"]}).to_string()).await;
    say(&mut other, r#"{"type":"in"}"#).await;
    hear(&mut one).await;
    let message = r#"{"type":"CHATMSG","value":"%"}"#.to_owned();
    Pair { protocol: "blueprints", path: "/book", one, other, message }
}

async fn gst(edge: &Edge) -> Pair {
    let (mut one, other) = (hello(edge, "/gst", "one").await, hello(edge, "/gst", "other").await);
    say(&mut one, "SESSION other").await;
    hear(&mut one).await;
    Pair { protocol: "gst", path: "/gst", one, other, message: "%".to_owned() }
}

async fn sink(edge: &Edge) -> Pair {
    let (mut one, mut other) = (dial(edge, "/sink").await, dial(edge, "/sink").await);
    hear(&mut one).await;
    let welcome: Value = serde_json::from_str(&hear(&mut other).await).unwrap();
    say(&mut other, r#"{"type":"setPeerStatus","roles":["producer","listener"],"meta":null}"#).await;
    hear(&mut other).await;
    say(&mut one, &json!({"type": "startSession", "peerId": welcome["peerId"]}).to_string()).await;
    let started: Value = serde_json::from_str(&hear(&mut one).await).unwrap();
    hear(&mut other).await;
    let ice = json!({"candidate": "%", "sdpMLineIndex": 0});
    let message = json!({"type": "peer", "sessionId": started["sessionId"], "ice": ice}).to_string();
    Pair { protocol: "webrtcsink", path: "/sink", one, other, message }
}

async fn live(edge: &Edge) -> Pair {
    let (mut one, mut other) = (dial(edge, "/api").await, dial(edge, "/api").await);
    say(&mut one, r#"{"a":"join","d":{"roomId":"live","bearer":"ann"}}"#).await;
    hear(&mut one).await;
    say(&mut other, r#"{"a":"join","d":{"roomId":"live","bearer":"bob"}}"#).await;
    hear(&mut other).await;
    let joined: Value = serde_json::from_str(&hear(&mut other).await).unwrap();
    for _ in 0..2 {
        hear(&mut one).await;
    }
    let message =
        json!({"a": "sendMessage", "d": {"to": joined["d"]["socketId"], "message": "%"}}).to_string();
    Pair { protocol: "live", path: "/api", one, other, message }
}

impl Pair {
    /// The first one says something, and the second one hears it.
    async fn talks(&mut self, what: &str) {
        say(&mut self.one, &self.message.replace('%', what)).await;
        loop {
            if hear(&mut self.other).await.contains(what) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_closed_by_code_and_nobody_else_notices() {
    let (edge, _) = rooms(ROUTES).await;
    let frame =
        |opcode, data: &'static [u8]| Message::Frame(Frame::message(data, OpCode::Data(opcode), true));
    for mut pair in pairs(&edge).await {
        for (what, message, code) in [
            ("a text of 1 MB", Message::text("x".repeat(1 << 20)), 1009),
            ("a binary message of 1 MB", Message::binary(vec![0; 1 << 20]), 1009),
            ("bytes that are no UTF-8", frame(Data::Text, b"a\xff\xfe"), 1007),
            ("a fragment of nothing", frame(Data::Continue, b"x"), 1002),
            ("an unknown kind of frame", frame(Data::Reserved(3), b"x"), 1002),
        ] {
            let mut culprit = dial(&edge, pair.path).await;
            let _ = in_time(culprit.send(message)).await;
            assert_eq!(closed(&mut culprit).await.0, code, "{}: {what}", pair.protocol);
        }
        pair.talks("still here").await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn nonsense_is_answered_as_specified_and_the_room_goes_on() {
    let (edge, _) = rooms(ROUTES).await;
    const NONSENSE: [&str; 6] = ["{", "[]", "null", r#"{"type":7,"event":7,"a":7}"#, "\u{0}", "ENTERROOM"];
    for mut pair in pairs(&edge).await {
        // In a session of gst everything is relayed, whatever it says.
        if pair.protocol != "gst" {
            for text in NONSENSE {
                say(&mut pair.one, text).await;
            }
            in_time(pair.one.send(Message::binary(b"\xff\x00".to_vec()))).await.unwrap();
        }
        let answers = match pair.protocol {
            "webrtc-server" => vec![r#"{"event":"invalid_message"}"#.to_owned(); 6],
            "webrtcsink" => {
                vec![r#"{"type":"error","details":"expected a JSON object with a type"}"#.to_owned(); 6]
            }
            "live" => vec![r#"{"a":"generalR","s":false,"e":1282}"#.to_owned(); 7],
            _ => Vec::new(),
        };
        for answer in answers {
            assert_eq!(hear(&mut pair.one).await, answer, "{}", pair.protocol);
        }
        pair.talks("goes on").await;
    }
    edge.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_dropped_with_1013_and_the_others_are_not_held_up() {
    let (edge, all) = rooms(ROUTES).await;
    let mut pairs = pairs(&edge).await;
    for pair in &mut pairs {
        let big = "x".repeat(60_000);
        let message = pair.message.replace('%', &big);
        let others = people(&all).len() - people_of(&all, pair.protocol).len();
        let mut slowest = Duration::ZERO;
        // The kernel takes some megabytes before the edge notices.
        for sent in 0.. {
            assert!(sent < 3000, "{}: never dropped", pair.protocol);
            let start = std::time::Instant::now();
            // gst closes the sender, too: the call is over.
            if tokio::time::timeout(Duration::from_secs(5), pair.one.send(Message::text(message.clone())))
                .await
                .unwrap()
                .is_err()
            {
                break;
            }
            slowest = slowest.max(start.elapsed());
            // The sender reads what comes, such as replies.
            while let Ok(Some(_)) = tokio::time::timeout(Duration::from_micros(200), pair.one.next()).await {}
            if people_of(&all, pair.protocol).len() < 2 {
                break;
            }
        }
        assert!(slowest < Duration::from_secs(2), "{}: the sender waited {slowest:?}", pair.protocol);
        assert_eq!(closed(&mut pair.other).await.0, 1013, "{}", pair.protocol);
        let there = people(&all).len() - people_of(&all, pair.protocol).len();
        assert_eq!(there, others, "{}: rooms of other protocols", pair.protocol);
    }
    edge.stop().await;
}

#[tokio::test]
async fn the_operator_sees_everybody_and_can_remove_anybody() {
    let (edge, all) = rooms(ROUTES).await;
    for mut pair in pairs(&edge).await {
        let there = people_of(&all, pair.protocol);
        assert_eq!(there.len(), 2, "{}: {there:?}", pair.protocol);
        // The last one first: with its producer the room of webrtcsink is gone.
        for (room, id) in there.into_iter().rev() {
            // gst ends the call of the other one, too.
            if people_of(&all, pair.protocol).contains(&(room.clone(), id.clone())) {
                assert!(all.remove(&room, &id), "{}: {id}", pair.protocol);
            }
            assert!(!all.remove(&room, &id), "{}: {id} twice", pair.protocol);
        }
        let codes = [closed(&mut pair.one).await.0, closed(&mut pair.other).await.0];
        assert!(codes.contains(&1008), "{}: {codes:?}", pair.protocol);
    }
    assert_eq!(people(&all), []);
    edge.stop().await;
}

#[tokio::test]
async fn no_extension_is_ever_agreed_on() {
    let (edge, _) = rooms(ROUTES).await;
    for path in ["/websocket/r", "/book", "/gst", "/sink", "/api"] {
        let answer = upgrade_answer(&edge, path).await;
        assert!(answer.starts_with("http/1.1 101"), "{path}: {answer}");
        assert!(!answer.contains("sec-websocket-extensions"), "{path}: {answer}");
        assert!(!answer.contains("sec-websocket-protocol"), "{path}: {answer}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn credentials_that_expire_open_the_door_until_then() {
    let (edge, _) = rooms(ROUTES).await;
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let minted = |username: &str| {
        let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(b"north").unwrap();
        mac.update(username.as_bytes());
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    };
    for username in [format!("{}:ann", unix + 60), format!("{}", unix + 60)] {
        join(&edge, "/minted/r", &username, &minted(&username)).await;
    }
    let mut late = dial(&edge, "/minted/r").await;
    let username = format!("{}:ann", unix - 1);
    let data = json!({"username": username, "password": minted(&username)});
    say(&mut late, &json!({"event": "authenticate", "data": data}).to_string()).await;
    assert_eq!(hear(&mut late).await, r#"{"event":"unauthorized"}"#);
    edge.stop().await;
}

#[tokio::test]
async fn blueprints_pings_whoever_speaks_and_a_dead_one_makes_place() {
    let routes = "        book: {signalling: {protocol: blueprints, keepalive_timeout: 150ms}}";
    let (edge, all) = rooms(routes).await;
    let mut creator = dial(&edge, "/").await;
    say(&mut creator, r#"{"type":"GETROOM","value":""}"#).await;
    let room: Value = serde_json::from_str(&hear(&mut creator).await).unwrap();
    let enter = json!({"type": "ENTERROOM", "value": room["value"]}).to_string();
    let mut dead = dial(&edge, "/").await;
    say(&mut dead, &enter).await;
    // Reading answers pings; the other one does not read. Nobody is told that it is gone.
    let mut pings = 0;
    let start = std::time::Instant::now();
    while all.list().first().is_none_or(|it| it.room.people.len() != 1) || pings < 4 {
        assert!(start.elapsed() < Duration::from_secs(5), "still there after {pings} pings");
        if let Ok(Some(Ok(Message::Ping(_)))) =
            tokio::time::timeout(Duration::from_millis(50), creator.next()).await
        {
            pings += 1;
        }
    }
    let mut next = dial(&edge, "/").await;
    say(&mut next, &enter).await;
    say(&mut next, r#"{"type":"offer"}"#).await;
    assert_eq!(hear(&mut creator).await, r#"{"type":"offer"}"#);
    drop(dead);
    edge.stop().await;
}

/// Room and id of everybody.
fn people(rooms: &Rooms) -> Vec<(String, String)> {
    rooms.list().into_iter().flat_map(|it| named(&it.room.name, it.room.people)).collect()
}

fn people_of(rooms: &Rooms, protocol: &str) -> Vec<(String, String)> {
    let of = rooms.list().into_iter().filter(|it| it.protocol == protocol);
    of.flat_map(|it| named(&it.room.name, it.room.people)).collect()
}

fn named(room: &str, people: Vec<xrtc::signalling::Person>) -> Vec<(String, String)> {
    people.into_iter().map(|person| (room.to_owned(), person.id)).collect()
}

/// Status and headers, in lower case.
async fn upgrade_answer(edge: &Edge, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(edge.addr).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-extensions: permessage-deflate\r\n\
         sec-websocket-protocol: x\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(in_time(stream.read_buf(&mut answer)).await.unwrap() > 0);
    }
    String::from_utf8_lossy(&answer).to_lowercase()
}
