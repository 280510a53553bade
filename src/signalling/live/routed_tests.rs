//! A scripted Janus, whose words are those of a real one (captured from Janus 1.1.2).

use serde_json::{Value, json};

use super::*;

const OFFER: &[u8] = br#"{"type":"offer","sdp":"v=0\r\n"}"#;
const ANSWER: &[u8] = br#"{"type":"answer","sdp":"v=0\r\n"}"#;

struct Stage(Routed);

impl Stage {
    fn new() -> Self {
        let janus = Janus { publishers: 8, api_secret: Some("s3".into()), ..Janus::default() };
        Stage(Routed::begin(janus.place("room", "AB", "ann")))
    }

    /// The one message that is to be sent.
    fn sent(&mut self) -> Value {
        let sent: Vec<_> = self.all_sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0].clone()
    }

    fn all_sent(&mut self) -> Vec<Value> {
        self.0.outgoing().iter().map(|text| serde_json::from_slice(text).unwrap()).collect()
    }

    fn hears(&mut self, message: &Value) -> Vec<Happening> {
        self.0.message(message.to_string().as_bytes())
    }

    fn answers(&mut self, request: &Value, janus: &str, more: Value) -> Vec<Happening> {
        let mut message = json!({"janus": janus, "session_id": 7, "transaction": request["transaction"]});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.hears(&message)
    }

    fn plugin(&mut self, request: &Value, sender: u64, data: Value, jsep: Option<&[u8]>) -> Vec<Happening> {
        assert_eq!(self.answers(request, "ack", json!({})), []);
        self.answers(request, "event", event(sender, data, jsep))
    }

    /// Goes to where the room is entered.
    fn enter(publishers: Value) -> Self {
        let mut stage = Stage::new();
        let create = stage.sent();
        assert_eq!((&create["janus"], &create["apisecret"]), (&json!("create"), &json!("s3")));
        assert_eq!(stage.answers(&create, "success", json!({"data": {"id": 7}})), []);
        let attach = stage.sent();
        assert_eq!(
            (&attach["janus"], &attach["session_id"], &attach["plugin"]),
            (&json!("attach"), &json!(7), &json!(PLUGIN))
        );
        assert_eq!(stage.answers(&attach, "success", json!({"data": {"id": 70}})), []);
        let room = stage.sent();
        assert_eq!(
            (&room["handle_id"], &room["body"]["request"], &room["body"]["publishers"]),
            (&json!(70), &json!("create"), &json!(8))
        );
        let exists = json!({"videoroom": "event", "error_code": ROOM_EXISTS, "error": "exists"});
        assert_eq!(stage.answers(&room, "success", event(70, exists, None)), []);
        let join = stage.sent();
        assert_eq!((&join["body"]["request"], &join["body"]["display"]), (&json!("join"), &json!("ann")));
        assert_eq!(join["body"]["room"], room["body"]["room"]);
        let joined = json!({"videoroom": "joined", "private_id": 99, "publishers": publishers});
        assert_eq!(stage.plugin(&join, 70, joined, None), [Happening::Entered]);
        stage
    }

    fn publish(&mut self) {
        self.0.publish(OFFER).unwrap();
        let configure = self.sent();
        assert_eq!(
            (&configure["jsep"]["type"], &configure["body"]["request"]),
            (&json!("offer"), &json!("configure"))
        );
        let done =
            self.plugin(&configure, 70, json!({"videoroom": "event", "configured": "ok"}), Some(ANSWER));
        assert_eq!(done, [Happening::Answer(ANSWER.to_vec())]);
    }

    fn publisher_is_up(&mut self) {
        let up = self.hears(&json!({"janus": "webrtcup", "session_id": 7, "sender": 70}));
        assert_eq!(up, [Happening::PublisherUp]);
    }

    /// Attaches and offers what `feed` publishes.
    fn offered(&mut self, handle: u64, feed: u64) -> Vec<Happening> {
        let attach = self.sent();
        assert_eq!(self.answers(&attach, "success", json!({"data": {"id": handle}})), []);
        let join = self.sent();
        assert_eq!(join["body"]["streams"], json!([{"feed": feed}]));
        assert_eq!((&join["body"]["ptype"], &join["body"]["private_id"]), (&json!("subscriber"), &json!(99)));
        self.plugin(&join, handle, json!({"videoroom": "attached"}), Some(OFFER))
    }
}

fn event(sender: u64, data: Value, jsep: Option<&[u8]>) -> Value {
    let mut event = json!({"sender": sender, "plugindata": {"plugin": PLUGIN, "data": data}});
    if let Some(jsep) = jsep {
        event["jsep"] = serde_json::from_slice(jsep).unwrap();
    }
    event
}

fn feed(id: u64) -> Feed {
    Feed(id.to_string().into())
}

#[test]
fn a_client_publishes_and_then_hears_of_those_who_were_there() {
    let mut stage = Stage::enter(json!([{"id": 5, "display": "bob"}]));
    assert_eq!(stage.all_sent(), [Value::Null; 0], "nothing of others before the own media flow");
    stage.publish();
    stage.publisher_is_up();
    assert_eq!(stage.offered(71, 5), [Happening::Offer(feed(5), OFFER.to_vec())]);
    stage.0.start(&feed(5), ANSWER).unwrap();
    let start = stage.sent();
    assert_eq!((&start["handle_id"], &start["body"]["request"]), (&json!(71), &json!("start")));
    let started = stage.plugin(&start, 71, json!({"videoroom": "event", "started": "ok"}), None);
    assert_eq!(started, [Happening::Started]);
    let up = stage.hears(&json!({"janus": "webrtcup", "session_id": 7, "sender": 71}));
    assert_eq!(up, [Happening::FeedUp(feed(5))]);
}

#[test]
fn later_publishers_come_and_go() {
    let mut stage = Stage::enter(json!([]));
    stage.publish();
    stage.publisher_is_up();
    let news = json!({"videoroom": "event", "publishers": [{"id": 6}]});
    let mut message = event(70, news, None);
    message["janus"] = json!("event");
    assert_eq!(stage.hears(&message), []);
    assert_eq!(stage.offered(72, 6), [Happening::Offer(feed(6), OFFER.to_vec())]);
    assert_eq!(stage.hears(&message), [], "told twice, subscribed once");
    assert_eq!(stage.all_sent(), [Value::Null; 0]);
    let mut gone = event(70, json!({"videoroom": "event", "unpublished": 6}), None);
    gone["janus"] = json!("event");
    assert_eq!(stage.hears(&gone), []);
    let detach = stage.sent();
    assert_eq!((&detach["janus"], &detach["handle_id"]), (&json!("detach"), &json!(72)));
    assert_eq!(stage.0.start(&feed(6), ANSWER), Err(Code::Session));
}

#[test]
fn a_changed_subscription_is_offered_again() {
    let mut stage = Stage::enter(json!([{"id": 5}]));
    stage.publish();
    stage.publisher_is_up();
    stage.offered(71, 5);
    let mut updated = event(71, json!({"videoroom": "updated"}), Some(OFFER));
    updated["janus"] = json!("event");
    assert_eq!(stage.hears(&updated), [Happening::Offer(feed(5), OFFER.to_vec())]);
}

#[test]
fn a_second_offer_is_refused_until_janus_hangs_up() {
    let mut stage = Stage::enter(json!([]));
    stage.publish();
    assert_eq!(stage.0.publish(OFFER), Err(Code::AlreadyNegotiated));
    stage.hears(&json!({"janus": "hangup", "session_id": 7, "sender": 70, "reason": "DTLS alert"}));
    stage.publish();
}

#[test]
fn an_offer_that_comes_early_waits_for_the_room() {
    let mut stage = Stage::new();
    stage.0.publish(OFFER).unwrap();
    let create = stage.sent();
    stage.answers(&create, "success", json!({"data": {"id": 7}}));
    let attach = stage.sent();
    stage.answers(&attach, "success", json!({"data": {"id": 70}}));
    let room = stage.sent();
    stage.answers(&room, "success", event(70, json!({"videoroom": "created"}), None));
    let join = stage.sent();
    assert_eq!(stage.plugin(&join, 70, json!({"videoroom": "joined"}), None), []);
    assert_eq!(stage.sent()["body"]["request"], "configure");
}

#[test]
fn each_failure_has_its_code() {
    let error = |code: u64| json!({"error": {"code": code, "reason": "x"}});
    let mut stage = Stage::new();
    let create = stage.sent();
    assert_eq!(stage.answers(&create, "error", error(403)), [Happening::Failed(Code::JanusSession)]);

    let mut stage = Stage::new();
    let create = stage.sent();
    stage.answers(&create, "success", json!({"data": {"id": 7}}));
    let attach = stage.sent();
    assert_eq!(stage.answers(&attach, "error", error(460)), [Happening::Failed(Code::JanusAttach)]);

    let mut stage = Stage::new();
    let create = stage.sent();
    stage.answers(&create, "success", json!({"data": {"id": 7}}));
    let attach = stage.sent();
    stage.answers(&attach, "success", json!({"data": {"id": 70}}));
    let room = stage.sent();
    let no_key = event(70, json!({"videoroom": "event", "error_code": 429}), None);
    assert_eq!(stage.answers(&room, "success", no_key), [Happening::Failed(Code::JanusCreateRoom)]);

    let mut stage = Stage::enter(json!([]));
    stage.0.publish(OFFER).unwrap();
    let configure = stage.sent();
    assert_eq!(stage.answers(&configure, "error", error(465)), [Happening::Failed(Code::SdpDecode)]);
    stage.0.publish(OFFER).unwrap();
    let configure = stage.sent();
    let refused = stage.plugin(&configure, 70, json!({"videoroom": "event", "error_code": 435}), None);
    assert_eq!(refused, [Happening::Failed(Code::JanusConfigure)]);
    stage.0.publish(OFFER).unwrap();
    let configure = stage.sent();
    let silent = stage.plugin(&configure, 70, json!({"videoroom": "event", "configured": "ok"}), None);
    assert_eq!(silent, [Happening::Failed(Code::SdpEncode)]);
    stage.0.trickle(None, b"{}").unwrap();
    let trickle = stage.sent();
    assert_eq!(stage.answers(&trickle, "error", error(466)), [Happening::Failed(Code::JanusTrickle)]);
    stage.0.trickle(None, b"{}").unwrap();
    let trickle = stage.sent();
    assert_eq!(stage.answers(&trickle, "ack", json!({})), [Happening::Trickled]);
}

#[test]
fn a_room_that_was_just_taken_away_is_made_again_once() {
    let mut stage = Stage::new();
    let create = stage.sent();
    stage.answers(&create, "success", json!({"data": {"id": 7}}));
    let attach = stage.sent();
    stage.answers(&attach, "success", json!({"data": {"id": 70}}));
    let no_room = json!({"videoroom": "event", "error_code": NO_SUCH_ROOM});
    for expected in [vec![], vec![Happening::Failed(Code::JanusJoin)]] {
        let room = stage.sent();
        assert_eq!(room["body"]["request"], "create");
        stage.answers(&room, "success", event(70, json!({"videoroom": "created"}), None));
        let join = stage.sent();
        assert_eq!(stage.plugin(&join, 70, no_room.clone(), None), expected);
    }
}

#[test]
fn the_last_one_takes_the_room_away() {
    let mut stage = Stage::enter(json!([]));
    stage.0.end(true);
    let sent = stage.all_sent();
    assert_eq!((&sent[0]["body"]["request"], &sent[1]["janus"]), (&json!("destroy"), &json!("destroy")));
    let mut stage = Stage::enter(json!([]));
    stage.0.end(false);
    assert_eq!(stage.sent()["janus"], "destroy");
}

#[test]
fn a_session_that_janus_ends_is_over() {
    let mut stage = Stage::enter(json!([]));
    assert_eq!(stage.hears(&json!({"janus": "timeout", "session_id": 7})), [Happening::Ended]);
}

#[test]
fn hostile_words_of_a_server_change_nothing() {
    let mut stage = Stage::enter(json!([]));
    for text in [
        &b""[..],
        b"{",
        b"[]",
        b"{\"janus\":\"event\"}",
        b"{\"janus\":\"event\",\"sender\":70,\"plugindata\":{\"data\":{\"publishers\":7}}}",
        b"{\"janus\":\"event\",\"sender\":70,\"plugindata\":{\"data\":{\"publishers\":[1,{},[]]}}}",
        b"{\"janus\":\"success\",\"transaction\":\"999\"}",
        b"{\"janus\":\"webrtcup\"}",
        b"\xff\xfe",
    ] {
        assert_eq!(stage.0.message(text), []);
    }
    assert_eq!(stage.all_sent(), [Value::Null; 0]);
}
