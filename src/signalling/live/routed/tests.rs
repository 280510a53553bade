//! A scripted Janus, whose words are those of a real one (captured from Janus 1.1.2).

use serde_json::{Value, json};

use super::*;

const PLUGIN: &str = "janus.plugin.videoroom";

const OFFER: &[u8] = br#"{"type":"offer","sdp":"v=0\r\n"}"#;
const ANSWER: &[u8] = br#"{"type":"answer","sdp":"v=0\r\n"}"#;

struct Stage(Routed);

impl Stage {
    fn new() -> Self {
        let janus = Janus { publishers: 8, api_secret: Some("s3".into()), ..Janus::default() };
        Stage(Routed::begin(janus.place("room", "AB", "ann", false)))
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
        let exists = json!({"videoroom": "event", "error_code": 427, "error": "exists"});
        assert_eq!(stage.answers(&room, "success", event(70, exists, None)), []);
        let join = stage.sent();
        assert_eq!((&join["body"]["request"], &join["body"]["display"]), (&json!("join"), &json!("ann")));
        assert_eq!(join["body"]["room"], room["body"]["room"]);
        let joined = json!({"videoroom": "joined", "private_id": 99, "publishers": publishers});
        assert_eq!(stage.plugin(&join, 70, joined, None), [Happening::Entered]);
        stage
    }

    fn publish(&mut self) {
        self.0.describe(&Leg::Publisher, OFFER).unwrap();
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
        assert_eq!(up, [Happening::Up(Leg::Publisher)]);
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

fn feed(id: u64) -> Leg {
    Leg::Feed(Feed(id.to_string().into()))
}

#[test]
fn a_client_publishes_and_then_hears_of_those_who_were_there() {
    let mut stage = Stage::enter(json!([{"id": 5, "display": "bob"}]));
    assert_eq!(stage.all_sent(), [Value::Null; 0], "nothing of others before the own media flow");
    stage.publish();
    stage.publisher_is_up();
    assert_eq!(stage.offered(71, 5), [Happening::Offer(feed(5), OFFER.to_vec())]);
    stage.0.describe(&feed(5), ANSWER).unwrap();
    let start = stage.sent();
    assert_eq!((&start["handle_id"], &start["body"]["request"]), (&json!(71), &json!("start")));
    let started = stage.plugin(&start, 71, json!({"videoroom": "event", "started": "ok"}), None);
    assert_eq!(started, [Happening::Started]);
    let up = stage.hears(&json!({"janus": "webrtcup", "session_id": 7, "sender": 71}));
    assert_eq!(up, [Happening::Up(feed(5))]);
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
    assert_eq!(stage.0.describe(&feed(6), ANSWER), Err(Code::Session));
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
    assert_eq!(stage.0.describe(&Leg::Publisher, OFFER), Err(Code::AlreadyNegotiated));
    stage.hears(&json!({"janus": "hangup", "session_id": 7, "sender": 70, "reason": "DTLS alert"}));
    stage.publish();
}

#[test]
fn an_offer_that_comes_early_waits_for_the_room() {
    let mut stage = Stage::new();
    stage.0.describe(&Leg::Publisher, OFFER).unwrap();
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
    stage.0.describe(&Leg::Publisher, OFFER).unwrap();
    let configure = stage.sent();
    assert_eq!(stage.answers(&configure, "error", error(465)), [Happening::Failed(Code::SdpDecode)]);
    stage.0.describe(&Leg::Publisher, OFFER).unwrap();
    let configure = stage.sent();
    let refused = stage.plugin(&configure, 70, json!({"videoroom": "event", "error_code": 435}), None);
    assert_eq!(refused, [Happening::Failed(Code::JanusConfigure)]);
    stage.0.describe(&Leg::Publisher, OFFER).unwrap();
    let configure = stage.sent();
    let silent = stage.plugin(&configure, 70, json!({"videoroom": "event", "configured": "ok"}), None);
    assert_eq!(silent, [Happening::Failed(Code::SdpEncode)]);
    stage.0.trickle(&Leg::Publisher, b"{}").unwrap();
    let trickle = stage.sent();
    assert_eq!(stage.answers(&trickle, "error", error(466)), [Happening::Failed(Code::JanusTrickle)]);
    stage.0.trickle(&Leg::Publisher, b"{}").unwrap();
    let trickle = stage.sent();
    assert_eq!(stage.answers(&trickle, "ack", json!({})), [Happening::Trickled]);
}

#[test]
fn an_answer_that_janus_does_not_take_has_its_code() {
    for (error, code) in [(465, Code::SdpDecode), (464, Code::JanusStart)] {
        let mut stage = Stage::enter(json!([{"id": 5}]));
        stage.publish();
        stage.publisher_is_up();
        stage.offered(71, 5);
        stage.0.describe(&feed(5), ANSWER).unwrap();
        let start = stage.sent();
        let refused = stage.answers(&start, "error", json!({"error": {"code": error, "reason": "x"}}));
        assert_eq!(refused, [Happening::Failed(code)]);
    }
}

#[test]
fn a_room_that_was_just_taken_away_is_made_again_once() {
    let mut stage = Stage::new();
    let create = stage.sent();
    stage.answers(&create, "success", json!({"data": {"id": 7}}));
    let attach = stage.sent();
    stage.answers(&attach, "success", json!({"data": {"id": 70}}));
    let no_room = json!({"videoroom": "event", "error_code": 426});
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
    stage.0.end(true, true);
    let sent = stage.all_sent();
    assert_eq!((&sent[0]["body"]["request"], &sent[1]["janus"]), (&json!("destroy"), &json!("destroy")));
    let mut stage = Stage::enter(json!([]));
    stage.0.end(false, false);
    assert_eq!(stage.sent()["janus"], "destroy");
}

#[test]
fn a_session_that_janus_ends_is_over() {
    let mut stage = Stage::enter(json!([]));
    assert_eq!(stage.hears(&json!({"janus": "timeout", "session_id": 7})), [Happening::Ended]);
}

/// In the room, with the mix on offer.
fn mixed() -> Stage {
    let janus = Janus { publishers: 8, admin_key: Some("k".into()), mixes: true, ..Janus::default() };
    let mut stage = Stage(Routed::begin(janus.place("room", "AB", "ann", true)));
    for id in [7, 70] {
        let made = stage.sent();
        stage.answers(&made, "success", json!({"data": {"id": id}}));
    }
    let room = stage.sent();
    stage.answers(&room, "success", event(70, json!({"videoroom": "created"}), None));
    let join = stage.sent();
    assert_eq!(stage.plugin(&join, 70, json!({"videoroom": "joined", "publishers": []}), None), []);
    let attach = stage.sent();
    assert_eq!(attach["plugin"], "janus.plugin.audiobridge");
    stage.answers(&attach, "success", json!({"data": {"id": 80}}));
    stage
}

/// The words of AudioBridge's answers, until it offers.
fn offer_of_the_mix(stage: &mut Stage) -> Vec<Happening> {
    let create = stage.sent();
    assert_eq!((&create["handle_id"], &create["body"]["request"]), (&json!(80), &json!("create")));
    assert_eq!(
        (&create["body"]["sampling_rate"], &create["body"]["admin_key"]),
        (&json!(48_000), &json!("k"))
    );
    assert_eq!(create["body"].get("publishers"), None);
    let exists = json!({"audiobridge": "event", "error_code": 486, "error": "exists"});
    assert_eq!(stage.answers(&create, "success", event(80, exists, None)), []);
    let join = stage.sent();
    assert_eq!(join["body"]["room"], create["body"]["room"]);
    assert_eq!((&join["body"]["request"], &join["body"]["generate_offer"]), (&json!("join"), &json!(true)));
    assert_eq!(join["body"].get("ptype"), None);
    stage.plugin(&join, 80, json!({"audiobridge": "joined", "id": 1, "participants": []}), Some(OFFER))
}

#[test]
fn the_mix_is_offered_once_the_room_is_entered_and_answered_by_the_client() {
    let mut stage = mixed();
    let offered = Happening::Offer(Leg::Mix, OFFER.to_vec());
    assert_eq!(offer_of_the_mix(&mut stage), [Happening::Entered, offered.clone()]);
    stage.0.describe(&Leg::Mix, ANSWER).unwrap();
    let answer = stage.sent();
    assert_eq!((&answer["handle_id"], &answer["body"]), (&json!(80), &json!({"request": "configure"})));
    assert_eq!(answer["jsep"]["type"], "answer");
    let done = stage.plugin(&answer, 80, json!({"audiobridge": "event", "result": "ok"}), None);
    assert_eq!(done, [Happening::Started]);
    stage.0.trickle(&Leg::Mix, b"{}").unwrap();
    let trickle = stage.sent();
    assert_eq!(trickle["handle_id"], 80);
    assert_eq!(stage.answers(&trickle, "ack", json!({})), [Happening::Trickled]);
    let up = stage.hears(&json!({"janus": "webrtcup", "session_id": 7, "sender": 80}));
    assert_eq!(up, [Happening::Up(Leg::Mix)]);
    let news = event(80, json!({"audiobridge": "joined", "participants": [{"id": 5}]}), None);
    let mut news = news.as_object().unwrap().clone();
    news.insert("janus".into(), json!("event"));
    assert_eq!(stage.hears(&Value::Object(news)), [], "who else is in the mix is nobody's publisher");
    assert_eq!(stage.all_sent(), [Value::Null; 0]);
}

#[test]
fn a_mix_that_hung_up_is_offered_again_and_its_failure_concerns_nobody() {
    let mut stage = mixed();
    offer_of_the_mix(&mut stage);
    let hangup = json!({"janus": "hangup", "session_id": 7, "sender": 80, "reason": "ICE failed"});
    assert_eq!(stage.hears(&hangup), []);
    let join = stage.sent();
    assert_eq!(join["body"]["request"], "join");
    let again = stage.plugin(&join, 80, json!({"audiobridge": "joined"}), Some(OFFER));
    assert_eq!(again, [Happening::Offer(Leg::Mix, OFFER.to_vec())]);
    stage.hears(&hangup);
    let join = stage.sent();
    let refused = json!({"audiobridge": "event", "error_code": 491, "error": "already in a room"});
    assert_eq!(stage.plugin(&join, 80, refused, None), []);
}

#[test]
fn each_failure_of_the_mix_has_its_code() {
    let refusal = |code: u64| json!({"audiobridge": "event", "error_code": code, "error": "x"});
    let mut stage = mixed();
    let create = stage.sent();
    let refused = stage.answers(&create, "success", event(80, refusal(489), None));
    assert_eq!(refused, [Happening::Failed(Code::JanusCreateRoom)]);

    let mut stage = mixed();
    for expected in [vec![], vec![Happening::Failed(Code::JanusJoin)]] {
        let create = stage.sent();
        assert_eq!(create["body"]["request"], "create");
        stage.answers(&create, "success", event(80, json!({"audiobridge": "created"}), None));
        let join = stage.sent();
        assert_eq!(stage.plugin(&join, 80, refusal(485), None), expected);
    }

    let mut stage = mixed();
    let create = stage.sent();
    stage.answers(&create, "success", event(80, json!({"audiobridge": "created"}), None));
    let join = stage.sent();
    let silent = stage.plugin(&join, 80, json!({"audiobridge": "joined"}), None);
    assert_eq!(silent, [Happening::Failed(Code::SdpEncode)]);

    let mut stage = mixed();
    offer_of_the_mix(&mut stage);
    for (code, expected) in [(465, Code::SdpDecode), (493, Code::JanusStart)] {
        stage.0.describe(&Leg::Mix, ANSWER).unwrap();
        let answer = stage.sent();
        let refused = stage.answers(&answer, "error", json!({"error": {"code": code, "reason": "x"}}));
        assert_eq!(refused, [Happening::Failed(expected)]);
    }
}

#[test]
fn without_an_audiobridge_nobody_can_be_let_in_to_a_mix() {
    let janus = Janus { mixes: true, ..Janus::default() };
    let mut stage = Stage(Routed::begin(janus.place("room", "AB", "ann", true)));
    for id in [7, 70] {
        let made = stage.sent();
        stage.answers(&made, "success", json!({"data": {"id": id}}));
    }
    let room = stage.sent();
    stage.answers(&room, "success", event(70, json!({"videoroom": "created"}), None));
    let join = stage.sent();
    stage.plugin(&join, 70, json!({"videoroom": "joined"}), None);
    let attach = stage.sent();
    let no_plugin = json!({"error": {"code": 460, "reason": "No such plugin"}});
    assert_eq!(stage.answers(&attach, "error", no_plugin), [Happening::Failed(Code::JanusAttach)]);
}

#[test]
fn the_last_one_of_the_mix_takes_its_room_away() {
    let mut stage = mixed();
    offer_of_the_mix(&mut stage);
    stage.0.end(false, true);
    let sent = stage.all_sent();
    assert_eq!((&sent[0]["handle_id"], &sent[0]["body"]["request"]), (&json!(80), &json!("destroy")));
    assert_eq!((sent.len(), &sent[1]["janus"]), (2, &json!("destroy")));
}

#[test]
fn a_room_that_the_operator_of_janus_takes_away_ends_the_session() {
    let mut stage = Stage::enter(json!([]));
    let mut destroyed = event(70, json!({"videoroom": "destroyed", "room": 1}), None);
    destroyed["janus"] = json!("event");
    assert_eq!(stage.hears(&destroyed), [Happening::Ended]);
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
