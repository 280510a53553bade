//! The rules of live.md, one after the other.

mod exchange;
mod presence;
mod routed;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::config::{Auth, LiveEvents, LiveJanus, LiveVideo};
use crate::signalling::world_tests::World;

/// A stage with people whose bearers are their names.
struct Stage {
    live: Live,
    now: Instant,
    effects: Vec<Effect>,
    notices_are_full: bool,
    last_random: u8,
    last_peer: u64,
}

fn rules() -> LiveRules {
    let users = ["ann", "bob", "cid"].map(|name| (name.to_owned(), Secret::new(name)));
    LiveRules {
        jwt_secret: None,
        auth: Auth { users: users.to_vec(), ..Auth::default() },
        mode: LiveMode::P2p,
        rooms: BTreeMap::new(),
        upstream: None,
        janus: LiveJanus::default(),
        grace: Duration::from_secs(30),
        video: LiveVideo::default(),
        events: LiveEvents::default(),
    }
}

fn limits(peers: usize, rooms: usize) -> RoomLimits {
    RoomLimits { message: 64 << 10, peers, rooms, connects: None, queue: 1024 }
}

impl Stage {
    fn new() -> Self {
        Stage::with(&rules(), limits(8, 0))
    }

    fn with(rules: &LiveRules, limits: RoomLimits) -> Self {
        Stage {
            live: Live::new(rules, &limits),
            now: Instant::now(),
            effects: Vec::new(),
            notices_are_full: false,
            last_random: 0,
            last_peer: 0,
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Live, &mut Context<'_>) -> T) -> T {
        let last = &mut self.last_random;
        let mut random = |bytes: &mut [u8]| {
            *last = last.wrapping_add(1);
            bytes.fill(*last);
        };
        let mut cx = Context {
            now: self.now,
            unix: Duration::from_secs(1_795_000_000),
            random: &mut random,
            effects: &mut self.effects,
            notices_are_full: self.notices_are_full,
        };
        act(&mut self.live, &mut cx)
    }

    fn connect(&mut self) -> PeerKey {
        self.last_peer += 1;
        let peer = PeerKey(self.last_peer);
        let knock = Knock { path: "/api", rest: "", query: None, client: IpAddr::from([192, 0, 2, 1]) };
        self.act(|live, cx| live.open(cx, peer, &knock)).unwrap();
        peer
    }

    fn say(&mut self, peer: PeerKey, text: &str) {
        let input = Input::Text(Bytes::copy_from_slice(text.as_bytes()));
        self.act(|live, cx| live.handle(cx, peer, input));
    }

    fn ask(&mut self, peer: PeerKey, action: &str, data: Value) {
        self.say(peer, &json!({"a": action, "d": data}).to_string());
    }

    /// What was said to somebody since this was asked last.
    fn heard(&mut self, peer: PeerKey) -> Vec<Value> {
        let mut heard = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Send(to, text) if *to == peer => {
                heard.push(serde_json::from_slice(text).unwrap());
                false
            }
            _ => true,
        });
        heard
    }

    fn error(&mut self, peer: PeerKey) -> u64 {
        let heard = self.heard(peer);
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(heard[0]["s"], false);
        heard[0]["e"].as_u64().unwrap()
    }

    /// Joins, and forgets everything that was said because of it. The id.
    fn join(&mut self, name: &str, room: &str) -> (PeerKey, String) {
        let peer = self.connect();
        self.ask(peer, "join", json!({"roomId": room, "bearer": name}));
        let reply = self.heard(peer).pop().unwrap();
        assert_eq!((&reply["a"], &reply["s"]), (&json!("joinR"), &json!(true)), "{reply}");
        self.effects.clear();
        (peer, reply["d"]["socketId"].as_str().unwrap().to_owned())
    }

    fn gone(&mut self, peer: PeerKey, departure: Departure) {
        self.act(|live, cx| live.handle(cx, peer, Input::Gone(departure)));
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.act(|live, cx| live.tick(cx));
    }

    fn notices(&mut self) -> Vec<(&'static str, Value)> {
        let mut notices = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::Tell(notice) => {
                notices.push((notice.topic, serde_json::from_slice(&notice.body).unwrap()));
                false
            }
            _ => true,
        });
        notices
    }

    fn closed(&self, peer: PeerKey) -> Option<u16> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Close(key, code, _) | Effect::CutOff(key, code, _) if *key == peer => Some(*code),
            _ => None,
        })
    }
}

fn names(heard: &[Value]) -> Vec<&str> {
    heard.iter().map(|message| message["a"].as_str().unwrap()).collect()
}

#[test]
fn what_is_no_request_is_answered_and_nothing_else_happens() {
    let mut stage = Stage::new();
    let peer = stage.connect();
    for text in ["", "x", "[]", "{}", r#"{"a":7}"#, "{\"a\":\"join\"", "\u{0}"] {
        stage.say(peer, text);
        assert_eq!(stage.heard(peer), [json!({"a": "generalR", "s": false, "e": 1282})], "{text}");
    }
    stage.act(|live, cx| live.handle(cx, peer, Input::Binary(Bytes::from_static(b"\x00"))));
    assert_eq!(stage.error(peer), 1282);
    stage.say(peer, r#"{"a":"join","d":7}"#);
    assert_eq!(stage.error(peer), 1282);
}

#[test]
fn nothing_goes_before_join_and_nothing_unknown_after_it() {
    let mut stage = Stage::new();
    let peer = stage.connect();
    for action in
        ["exchangeSdp", "exchangeCandidate", "orientationChange", "sendMessage", "eventCpu", "nonsense"]
    {
        stage.ask(peer, action, json!({}));
        assert_eq!(stage.error(peer), 1297, "{action}");
    }
    let (ann, _) = stage.join("ann", "r");
    stage.ask(ann, "nonsense", json!({}));
    assert_eq!(stage.heard(ann), [json!({"a": "nonsenseR", "s": false, "e": 1296})]);
}

#[test]
fn a_join_needs_its_fields_a_bearer_and_a_place() {
    let mut stage = Stage::with(&rules(), limits(2, 1));
    let peer = stage.connect();
    stage.ask(peer, "join", json!({"bearer": "ann"}));
    assert_eq!(stage.error(peer), 1283);
    stage.ask(peer, "join", json!({"roomId": "r", "bearer": "eve"}));
    assert_eq!(stage.error(peer), 1286);
    let (ann, _) = stage.join("ann", "r");
    stage.ask(ann, "join", json!({"roomId": "r", "bearer": "ann"}));
    assert_eq!(stage.error(ann), 1315);
    stage.join("bob", "r");
    stage.ask(peer, "join", json!({"roomId": "r", "bearer": "cid"}));
    assert_eq!(stage.error(peer), 1316);
    stage.ask(peer, "join", json!({"roomId": "another", "bearer": "cid"}));
    assert_eq!(stage.error(peer), 1316);
}

#[test]
fn who_joins_hears_of_the_others_and_they_of_it() {
    let mut stage = Stage::new();
    let ann = stage.connect();
    let about = json!({"roomId": "r", "bearer": "ann", "platform": "iOS", "orientation": 90, "camera": "front", "maxVideoBitrate": 500});
    stage.ask(ann, "join", about);
    let heard = stage.heard(ann);
    assert_eq!(names(&heard), ["joinR"]);
    let welcome = &heard[0]["d"];
    let id = welcome["socketId"].as_str().unwrap().to_owned();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)),
        "{id}"
    );
    assert_eq!(
        (&welcome["userId"], &welcome["roomSize"], &welcome["sessions"]),
        (&json!("ann"), &json!(1), &json!([]))
    );
    assert_eq!(welcome["userMediaConfiguration"]["video"]["width"]["max"], "640");
    let notices = stage.notices();
    assert_eq!(
        (notices[0].0, &notices[0].1["bitrate"], &notices[0].1["ip"]),
        ("room.join", &json!(500), &json!("192.0.2.1"))
    );

    let bob = stage.connect();
    stage.ask(bob, "join", json!({"roomId": "r", "bearer": "bob"}));
    let heard = stage.heard(bob);
    assert_eq!(names(&heard), ["eventOrientationChange", "joinR"]);
    let from = json!({"socketId": id, "userId": "ann"});
    assert_eq!(heard[0]["d"], json!({"from": from, "platform": "iOS", "orientation": 90, "camera": "front"}));
    assert_eq!((&heard[1]["d"]["roomSize"], &heard[1]["d"]["sessions"]), (&json!(2), &json!([from])));
    let heard = stage.heard(ann);
    assert_eq!(names(&heard), ["eventUserMediaConfiguration", "eventOrientationChange"]);
    assert_eq!((&heard[1]["d"]["platform"], &heard[1]["d"]["orientation"]), (&json!(""), &json!(0)));
}

#[test]
fn a_bearer_that_a_webhook_knows_is_asked_for_and_requests_wait() {
    let webhook = crate::config::ServerUrl {
        scheme: crate::config::Scheme::Http,
        host: "127.0.0.1".into(),
        port: 1,
        path: "/auth".into(),
        query: String::new(),
    };
    let auth = Auth { webhook: Some(webhook), ..Auth::default() };
    let mut stage = Stage::with(&LiveRules { auth, ..rules() }, limits(8, 0));
    let peer = stage.connect();
    stage.ask(peer, "join", json!({"roomId": "r", "bearer": "t"}));
    stage.ask(peer, "nonsense", json!({}));
    assert_eq!(stage.heard(peer), [Value::Null; 0]);
    assert!(
        stage
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Ask(Question::Bearer { bearer, .. }) if bearer == "t"))
    );
    stage.act(|live, cx| live.handle(cx, peer, Input::Answer(Answer::Bearer { user: Some("zoe".into()) })));
    let heard = stage.heard(peer);
    assert_eq!(names(&heard), ["joinR", "nonsenseR"]);
    assert_eq!(heard[0]["d"]["userId"], "zoe");
    let peer = stage.connect();
    stage.ask(peer, "join", json!({"roomId": "r", "bearer": "t"}));
    stage.act(|live, cx| live.handle(cx, peer, Input::Answer(Answer::Bearer { user: None })));
    assert_eq!(stage.error(peer), 1286);
}

#[test]
fn who_never_joins_is_closed() {
    let mut stage = Stage::new();
    let peer = stage.connect();
    assert_eq!(stage.effects, [Effect::Deadline(Some(stage.now + JOIN_TIMEOUT))]);
    stage.act(|live, cx| live.handle(cx, peer, Input::Deadline));
    assert_eq!(stage.closed(peer), Some(1008));
}

/// Whatever comes, from whomever, in whatever order: no panic, and nothing left behind.
#[test]
fn hostile_words_of_clients_leave_nothing_behind() {
    let sdp = "v=0\\r\\na=ice-ufrag:abcd\\r\\na=ice-pwd:abcdefghijklmnopqrstuv\\r\\n";
    let describe =
        format!(r#"{{"a":"exchangeSdp","d":{{"to":"publisher","sdp":{{"type":"offer","sdp":"{sdp}"}}}}}}"#);
    let inputs = [
        r#"{"a":"join","d":{"roomId":"r","bearer":"ann"}}"#,
        r#"{"a":"join","d":{"roomId":"routed","bearer":"bob"}}"#,
        r#"{"a":"reconnect","d":{"socketId":"x"}}"#,
        r#"{"a":"sendMessage","d":{"to":"x","message":[[[]]]}}"#,
        r#"{"a":"orientationChange","d":{"orientation":90}}"#,
        r#"{"a":"exchangeCandidate","d":{"to":"publisher","candidate":{}}}"#,
        r#"{"a":"eventCpu","d":{"cpuUsed":-1}}"#,
        &describe,
        "{\"a\":",
        "",
    ];
    for seed in 0..64 {
        let rooms = BTreeMap::from([("routed".to_owned(), LiveMode::Routed)]);
        let live = Live::new(&LiveRules { rooms, ..rules() }, &limits(3, 0));
        let mut world = World::new(live);
        world.survives(&inputs, seed);
        assert_eq!((world.protocol.members.len(), world.protocol.members_by_link.len()), (0, 0));
    }
}

#[test]
fn rooms_are_told_of_every_minute() {
    let mut stage = Stage::new();
    let (_, ann) = stage.join("ann", "r");
    stage.later(0);
    let expected = json!({"roomId": "r", "roomSize": 1, "sessions": [{"socketId": ann, "userId": "ann"}]});
    assert_eq!(stage.notices(), [("room.live", expected.clone())]);
    stage.later(59);
    assert_eq!(stage.notices(), []);
    stage.later(1);
    assert_eq!(stage.notices(), [("room.live", expected)]);
}
