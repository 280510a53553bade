//! `protocol: live` over real loopback sockets: connections that break and come back, bearers and events at webhooks and in
//! a file, and the routed mode before a server that talks like a Janus VideoRoom.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::result_large_err, reason = "the signature is tungstenite's")]

mod proxy_support;
mod rooms_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use proxy_support::{Edge, Record, Upstream, in_time, limits, scratch};
use rooms_support::{Socket, closed, dial, hear, rooms, say};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use xrtc::config::Config;
use xrtc::http::HttpService;
use xrtc::session::registration::{Command, SessionSink};
use xrtc::signalling::Rooms;

const P2P: &str = "
        live: {paths: [/api], signalling: {protocol: live, auth: {users: {ann: a, bob: b}}}}
";

async fn ask(socket: &mut Socket, action: &str, data: Value) -> Value {
    say(socket, &json!({"a": action, "d": data}).to_string()).await;
    reply(socket, &format!("{action}R")).await
}

/// The next message of that name; others before it do not matter.
async fn reply(socket: &mut Socket, name: &str) -> Value {
    loop {
        let message: Value = serde_json::from_str(&hear(socket).await).unwrap();
        if message["a"] == name {
            return message;
        }
    }
}

async fn join(edge: &Edge, bearer: &str, room: &str) -> (Socket, String) {
    let mut socket = dial(edge, "/api").await;
    let reply = ask(&mut socket, "join", json!({"roomId": room, "bearer": bearer})).await;
    assert_eq!(reply["s"], true, "{reply}");
    let id = reply["d"]["socketId"].as_str().unwrap().to_owned();
    (socket, id)
}

#[tokio::test]
async fn who_loses_the_connection_comes_back_to_what_was_said_in_between() {
    let (edge, _) = rooms(P2P).await;
    let (ann, ann_id) = join(&edge, "a", "r").await;
    let (mut bob, _) = join(&edge, "b", "r").await;
    // Not a close: the socket is reset.
    let stream = ann.into_inner();
    stream.set_zero_linger().unwrap();
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sent =
        ask(&mut bob, "sendMessage", json!({"to": ann_id, "message": {"n": 12345678901234567890_u64}})).await;
    assert_eq!(sent["s"], true);
    let mut again = dial(&edge, "/api").await;
    let back = ask(&mut again, "reconnect", json!({"socketId": ann_id})).await;
    assert_eq!(back, json!({"a": "reconnectR", "s": true, "d": {"roomSize": 2}}));
    let heard = reply(&mut again, "eventMessage").await;
    assert_eq!(heard["d"]["message"].to_string(), r#"{"n":12345678901234567890}"#);
    let mut third = dial(&edge, "/api").await;
    assert_eq!(ask(&mut third, "reconnect", json!({"socketId": ann_id})).await["s"], true);
    assert_eq!(closed(&mut again).await.0, 1000, "the old one is closed");
    edge.stop().await;
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_and_the_room_goes_on() {
    let (edge, _) = rooms(P2P).await;
    let (mut ann, _) = join(&edge, "a", "r").await;
    let (mut bob, bob_id) = join(&edge, "b", "r").await;
    for bad in ["{", "[]", r#"{"a":"join","d":1}"#, r#"{"a":"exchangeSdp","d":{}}"#] {
        say(&mut ann, bad).await;
    }
    in_time(ann.send(Message::binary(vec![0xff; 64]))).await.unwrap();
    for code in [1282, 1282, 1282, 1283, 1282] {
        let heard: Value = loop {
            let heard: Value = serde_json::from_str(&hear(&mut ann).await).unwrap();
            if heard["s"] == false {
                break heard;
            }
        };
        assert_eq!(heard["e"], code);
    }
    let sent = ask(&mut ann, "sendMessage", json!({"to": bob_id, "message": 1})).await;
    assert_eq!(sent["s"], true);
    in_time(ann.send(Message::text("x".repeat(65_537)))).await.unwrap();
    assert_eq!(closed(&mut ann).await.0, 1009);
    assert_eq!(reply(&mut bob, "eventMessage").await["d"]["message"], 1);
    assert_eq!(reply(&mut bob, "eventLeave").await["d"]["roomSize"], 1);
    edge.stop().await;
}

#[tokio::test]
async fn a_webhook_knows_bearers_and_another_one_hears_of_events() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = heard.clone();
    let server = Upstream::start(move |request, _| {
        let noted = noted.clone();
        async move {
            let topic = request.headers().get("x-event").map(|it| it.to_str().unwrap().to_owned());
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let known = body["bearer"] == "good";
            if let Some(topic) = topic {
                noted.lock().unwrap().push((topic, body));
            }
            let answer = if known { r#"{"userId":"zoe"}"# } else { "{}" };
            Response::new(Full::new(Bytes::from(answer)))
        }
    })
    .await;
    let file = scratch("live-events").join("events.ndjson");
    let (edge, all) = rooms(&format!(
        "        live: {{paths: [/api], signalling: {{protocol: live, auth: {{webhook: 'http://{0}/auth'}},
                 events: {{webhook: {{url: 'http://{0}/events', secret: s}}, file: '{1}'}}}}}}",
        server.addr,
        file.display()
    ))
    .await;
    let mut eve = dial(&edge, "/api").await;
    let refused = ask(&mut eve, "join", json!({"roomId": "r", "bearer": "bad"})).await;
    assert_eq!(refused["e"], 1286);
    let (mut zoe, id) = join(&edge, "good", "r").await;
    in_time(zoe.close(None)).await.unwrap();
    in_time(async {
        while heard.lock().unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    all.settle(Duration::from_secs(2)).await;
    let topics: Vec<String> = heard.lock().unwrap().iter().map(|(topic, _)| topic.clone()).collect();
    assert_eq!(topics, ["room.join", "room.leave"]);
    assert_eq!(heard.lock().unwrap()[0].1["userId"], "zoe");
    let lines = in_time(async {
        loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if text.lines().filter(|line| line.contains("room.leave")).count() == 1 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let left = lines.iter().find(|line| line["event"] == "room.leave").unwrap();
    assert_eq!(left["data"], json!({"roomId": "r", "roomSize": 0, "socketId": id, "userId": "zoe"}));
    edge.stop().await;
}

/// What the packet side was told.
#[derive(Default)]
struct Sink(Mutex<Vec<Command>>);

impl SessionSink for Sink {
    fn send(&self, command: Command) {
        self.0.lock().unwrap().push(command);
    }
}

fn sdp_of(vector: &str, kind: &str) -> String {
    let text = std::fs::read_to_string(format!("tests/vectors/janus/{vector}.json")).unwrap();
    let messages: Value = serde_json::from_str(&text).unwrap();
    let jsep = messages.as_array().unwrap().iter().map(|message| &message["body"]["jsep"]);
    let jsep = jsep.into_iter().find(|jsep| jsep["type"] == kind).unwrap();
    jsep["sdp"].as_str().unwrap().to_owned()
}

/// A server that says what a Janus with a VideoRoom says to one publisher, in the words of a real one.
async fn videoroom(asked: Arc<Mutex<Vec<Value>>>) -> Upstream {
    let answer = sdp_of("videoroom-ws-publisher", "answer");
    Upstream::raw(move |stream, _| {
        let (asked, answer) = (asked.clone(), answer.clone());
        async move {
            let accepts = |_: &_, mut response: Response<()>| {
                response.headers_mut().insert("sec-websocket-protocol", "janus-protocol".parse().unwrap());
                Ok(response)
            };
            let mut socket = tokio_tungstenite::accept_hdr_async(stream, accepts).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let request: Value = serde_json::from_str(&text).unwrap();
                asked.lock().unwrap().push(request.clone());
                for message in said_to(&request, &answer) {
                    socket.send(Message::text(message.to_string())).await.unwrap();
                }
            }
        }
    })
    .await
}

fn said_to(request: &Value, answer: &str) -> Vec<Value> {
    let transaction = &request["transaction"];
    let plugin = |data: Value| json!({"plugin": "janus.plugin.videoroom", "data": data});
    let event = |data: Value| json!({"janus": "event", "session_id": 7, "sender": 70, "transaction": transaction, "plugindata": plugin(data)});
    let ack = json!({"janus": "ack", "session_id": 7, "transaction": transaction});
    match (request["janus"].as_str().unwrap(), request["body"]["request"].as_str()) {
        ("create", _) => vec![json!({"janus": "success", "transaction": transaction, "data": {"id": 7}})],
        ("attach", _) => {
            vec![json!({"janus": "success", "session_id": 7, "transaction": transaction, "data": {"id": 70}})]
        }
        (_, Some("create")) => vec![json!({"janus": "success", "session_id": 7, "sender": 70,
            "transaction": transaction, "plugindata": plugin(json!({"videoroom": "created"}))})],
        (_, Some("join")) => vec![ack, event(json!({"videoroom": "joined", "publishers": []}))],
        (_, Some("configure")) => {
            let mut configured = event(json!({"videoroom": "event", "configured": "ok"}));
            configured["jsep"] = json!({"type": "answer", "sdp": answer});
            vec![ack, configured, json!({"janus": "webrtcup", "session_id": 7, "sender": 70})]
        }
        _ => vec![json!({"janus": "success", "session_id": 7, "transaction": transaction})],
    }
}

/// An edge with a routed room before these servers.
async fn routed(servers: &[std::net::SocketAddr]) -> (Edge, Arc<Sink>) {
    let list: Vec<String> = servers.iter().map(|server| format!("'ws://{server}'")).collect();
    let text = format!(
        "services:
  pool: {{proto: upstream, servers: [{}]}}
  h:
    proto: http
    net: {{addr: '127.0.0.1:1'}}
    http:
      routes:
        live: {{paths: [/api], signalling: {{protocol: live, auth: {{users: {{ann: a, bob: b}}}}, upstream: 'http://pool'}}}}
",
        list.join(", ")
    );
    let loaded = Config::from_text(&text).unwrap_or_else(|error| panic!("{}", error.render(false)));
    let service = loaded.config.services.iter().find(|service| service.http().is_some()).unwrap();
    let record = Arc::new(Sink::default());
    let sink: Arc<dyn SessionSink> = record.clone();
    let lines: Arc<[Box<str>]> =
        Arc::from(vec!["candidate:1 1 udp 2130706431 192.0.2.9 6001 typ host".into()]);
    let http = service.http().unwrap();
    let built = HttpService::new(http, &loaded.config.upstreams, &limits(), &lines, &sink).unwrap();
    let built = built.with_rooms(&service.name, http, &Rooms::default()).unwrap();
    (Edge::serving(Arc::new(built), Record::default(), 100).await, record)
}

#[tokio::test]
async fn a_routed_room_shows_the_edge_to_both_sides() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let janus = videoroom(asked.clone()).await;
    let (edge, sink) = routed(&[janus.addr]).await;
    let (mut ann, _) = join(&edge, "a", "r").await;
    let offer = sdp_of("videoroom-ws-publisher", "offer");
    let sdp = json!({"type": "offer", "sdp": offer});
    say(&mut ann, &json!({"a": "exchangeSdp", "d": {"to": "publisher", "sdp": sdp}}).to_string()).await;
    let answer = reply(&mut ann, "eventExchangeSdp").await;
    assert_eq!(answer["d"]["from"], json!({"socketId": "publisher", "userId": ""}));
    let shown = answer["d"]["sdp"]["sdp"].as_str().unwrap();
    assert!(shown.contains("192.0.2.9 6001") && shown.contains("a=ice-lite"), "{shown}");
    assert!(!shown.contains("10.77.0."), "no address of the server: {shown}");
    assert_eq!(reply(&mut ann, "exchangeSdpR").await["s"], true);
    assert_eq!(reply(&mut ann, "eventWebrtcUp").await["d"]["from"]["socketId"], "publisher");
    assert!(sink.0.lock().unwrap().iter().any(|command| matches!(command, Command::Register(_))));
    let told: Vec<Value> = asked.lock().unwrap().clone();
    let configure = told.iter().find(|request| request["body"]["request"] == "configure").unwrap();
    assert!(
        !configure["jsep"]["sdp"].as_str().unwrap().contains("a=candidate"),
        "none of the client's either"
    );
    in_time(ann.close(None)).await.unwrap();
    in_time(async {
        while !sink.0.lock().unwrap().iter().any(|command| matches!(command, Command::End(..))) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    edge.stop().await;
}

#[tokio::test]
async fn a_room_stays_at_its_server_and_a_dead_one_is_passed_over() {
    let asked: [Arc<Mutex<Vec<Value>>>; 3] = Default::default();
    let mut servers = Vec::new();
    for log in &asked {
        servers.push(videoroom(log.clone()).await);
    }
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut addresses: Vec<_> = servers.iter().map(|server| server.addr).collect();
    addresses.push(dead);
    let (edge, _) = routed(&addresses).await;
    let mut people = Vec::new();
    for room in ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"] {
        people.push(join(&edge, "a", room).await);
        people.push(join(&edge, "b", room).await);
    }
    let rooms_at = |log: &Arc<Mutex<Vec<Value>>>| {
        let joins = log
            .lock()
            .unwrap()
            .iter()
            .filter(|it| it["body"]["request"] == "join")
            .cloned()
            .collect::<Vec<_>>();
        let mut rooms: Vec<u64> = joins.iter().map(|join| join["body"]["room"].as_u64().unwrap()).collect();
        rooms.sort_unstable();
        rooms
    };
    let at: Vec<Vec<u64>> = asked.iter().map(rooms_at).collect();
    assert_eq!(at.iter().map(Vec::len).sum::<usize>(), 16);
    for rooms in &at {
        assert!(rooms.chunks(2).all(|pair| pair[0] == pair[1]), "both of a room at one server: {at:?}");
    }
    assert!(
        at.iter().filter(|rooms| !rooms.is_empty()).count() > 1,
        "eight rooms at one server alone: {at:?}"
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_janus_that_is_not_there_is_said_at_once() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (edge, _) = routed(&[dead]).await;
    let mut ann = dial(&edge, "/api").await;
    let refused = ask(&mut ann, "join", json!({"roomId": "r", "bearer": "a"})).await;
    assert_eq!(refused["e"], 1328, "{refused}");
    edge.stop().await;
}
