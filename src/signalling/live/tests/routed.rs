//! The routed mode as clients see it; what is said to Janus is tested where it is made.

use super::*;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n";

fn stage() -> Stage {
    Stage::with(&LiveRules { mode: LiveMode::Routed, ..rules() }, limits(2, 0))
}

impl Stage {
    fn dialled(&mut self) -> LinkKey {
        let link = self.effects.iter().find_map(|effect| match effect {
            Effect::Dial(link, _) => Some(*link),
            _ => None,
        });
        self.effects.retain(|effect| !matches!(effect, Effect::Dial(..)));
        link.expect("a session at Janus")
    }

    fn told_janus(&mut self, link: LinkKey) -> Vec<Value> {
        let mut sent = Vec::new();
        self.effects.retain(|effect| match effect {
            Effect::ToServer(to, text) if *to == link => {
                sent.push(serde_json::from_slice(text).unwrap());
                false
            }
            _ => true,
        });
        sent
    }

    fn janus(&mut self, link: LinkKey, message: Value) {
        let text = Bytes::from(message.to_string());
        self.act(|live, cx| live.server(cx, link, FromServer::Text(text)));
    }

    /// Answers the one message that is out.
    fn janus_answers(&mut self, link: LinkKey, janus: &str, more: Value) -> Value {
        let sent = self.told_janus(link);
        assert_eq!(sent.len(), 1, "{sent:?}");
        let mut answer = json!({"janus": janus, "transaction": sent[0]["transaction"]});
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.janus(link, answer);
        sent[0].clone()
    }

    fn knock(&mut self, name: &str) -> (PeerKey, LinkKey) {
        let peer = self.connect();
        self.ask(peer, "join", json!({"roomId": "r", "bearer": name}));
        assert_eq!(self.heard(peer), [Value::Null; 0], "Janus is asked first");
        let link = self.dialled();
        (peer, link)
    }

    fn enter(&mut self, name: &str) -> (PeerKey, LinkKey, String) {
        let (peer, link) = self.knock(name);
        self.let_in(link, json!([]));
        let reply = self.heard(peer).pop().unwrap();
        assert_eq!(reply["s"], true, "{reply}");
        (peer, link, reply["d"]["socketId"].as_str().unwrap().to_owned())
    }

    fn let_in(&mut self, link: LinkKey, publishers: Value) {
        self.janus_answers(link, "success", json!({"data": {"id": 7}}));
        self.janus_answers(link, "success", json!({"data": {"id": 70}}));
        self.janus_answers(link, "success", plugin(json!({"videoroom": "created"})));
        self.janus_answers(link, "event", plugin(json!({"videoroom": "joined", "publishers": publishers})));
    }
}

fn plugin(data: Value) -> Value {
    json!({"sender": 70, "plugindata": {"data": data}})
}

fn answer() -> Value {
    let mut event = plugin(json!({"videoroom": "event", "configured": "ok"}));
    event["jsep"] = json!({"type": "answer", "sdp": SDP});
    event
}

#[test]
fn a_publisher_gets_its_answer_before_the_reply() {
    let mut stage = stage();
    let (ann, link, _) = stage.enter("ann");
    stage.ask(ann, "exchangeSdp", json!({"to": "publisher", "sdp": {"type": "offer", "sdp": SDP}}));
    stage.ask(ann, "exchangeCandidate", json!({"to": "publisher", "candidate": {"completed": true}}));
    assert_eq!(stage.heard(ann), [Value::Null; 0]);
    let sent = stage.janus_answers(link, "event", answer());
    assert_eq!(sent["jsep"]["sdp"], SDP);
    let heard = stage.heard(ann);
    assert_eq!(names(&heard), ["eventExchangeSdp", "exchangeSdpR"]);
    assert_eq!(heard[0]["d"]["from"], json!({"socketId": "publisher", "userId": ""}));
    assert_eq!(heard[0]["d"]["sdp"], json!({"type": "answer", "sdp": SDP}));
    stage.janus_answers(link, "ack", json!({}));
    assert_eq!(stage.heard(ann), [json!({"a": "exchangeCandidateR", "s": true})]);
    stage.janus(link, json!({"janus": "webrtcup", "sender": 70}));
    assert_eq!(
        stage.heard(ann),
        [json!({"a": "eventWebrtcUp", "d": {"from": {"socketId": "publisher", "userId": ""}}})]
    );
    stage.ask(ann, "exchangeSdp", json!({"to": "publisher", "sdp": {"type": "offer", "sdp": SDP}}));
    assert_eq!(stage.error(ann), 1330);
}

#[test]
fn others_are_offered_under_their_own_names() {
    let mut stage = stage();
    let (ann, link, _) = stage.enter("ann");
    let (_, _, bob_id) = stage.enter("bob");
    stage.effects.clear();
    stage.ask(ann, "exchangeSdp", json!({"to": "publisher", "sdp": {"type": "offer", "sdp": SDP}}));
    stage.janus_answers(link, "event", answer());
    stage.janus(link, json!({"janus": "webrtcup", "sender": 70}));
    let feed = janus::number_of(&bob_id);
    let mut news = plugin(json!({"videoroom": "event", "publishers": [{"id": feed}, {"id": 5}]}));
    news["janus"] = json!("event");
    stage.janus(link, news);
    let attaches = stage.told_janus(link);
    assert_eq!(attaches.len(), 2, "also a publisher that is none of ours, which nobody hears of");
    stage.janus(
        link,
        json!({"janus": "success", "transaction": attaches[0]["transaction"], "data": {"id": 71}}),
    );
    stage.effects.retain(|effect| !matches!(effect, Effect::Send(..)));
    let offered = json!({"sender": 71, "plugindata": {"data": {"videoroom": "attached"}}, "jsep": {"type": "offer", "sdp": SDP}});
    stage.janus_answers(link, "event", offered);
    let heard = stage.heard(ann);
    assert_eq!(heard[0]["a"], "eventExchangeSdp");
    let from = json!({"socketId": bob_id, "userId": "bob"});
    assert_eq!(heard[0]["d"]["from"], from);
    stage.ask(ann, "exchangeSdp", json!({"to": bob_id, "sdp": {"type": "answer", "sdp": SDP}}));
    let sent =
        stage.janus_answers(link, "event", json!({"sender": 71, "plugindata": {"data": {"started": "ok"}}}));
    assert_eq!(sent["body"]["request"], "start");
    assert_eq!(stage.heard(ann), [json!({"a": "exchangeSdpR", "s": true})]);
    stage.janus(link, json!({"janus": "webrtcup", "sender": 71}));
    assert_eq!(stage.heard(ann), [json!({"a": "eventWebrtcUp", "d": {"from": from}})]);
}

#[test]
fn whom_janus_does_not_let_in_is_not_there() {
    let mut stage = stage();
    let (ann, link) = stage.knock("ann");
    stage.janus_answers(link, "success", json!({"data": {"id": 7}}));
    stage.janus_answers(link, "error", json!({"error": {"code": 460}}));
    assert_eq!(stage.error(ann), 1305);
    assert!(stage.effects.contains(&Effect::HangUp(link)));
    assert_eq!((stage.live.members.len(), stage.live.size()), (0, Size::default()));
}

#[test]
fn a_janus_that_cannot_be_reached_is_said() {
    let mut stage = stage();
    let (ann, link) = stage.knock("ann");
    stage.act(|live, cx| live.server(cx, link, FromServer::Gone));
    assert_eq!(stage.error(ann), 1328);
    let (bob, _) = stage.knock("bob");
    stage.later(10);
    assert_eq!(stage.error(bob), 1318, "silent is as good as gone");
    assert_eq!(stage.live.members.len(), 0);
}

#[test]
fn who_goes_while_janus_is_asked_leaves_nothing_behind() {
    let mut stage = stage();
    let (ann, link) = stage.knock("ann");
    stage.gone(ann, Departure::Lost(Vec::new()));
    assert!(stage.effects.contains(&Effect::HangUp(link)));
    assert_eq!((stage.live.members.len(), stage.live.members_by_link.len()), (0, 0));
}

#[test]
fn a_room_that_filled_up_while_janus_was_asked_is_full() {
    let mut stage = stage();
    let knocks = ["ann", "bob", "cid"].map(|name| stage.knock(name));
    for (_, link) in knocks {
        stage.let_in(link, json!([]));
    }
    let replies = knocks.map(|(peer, _)| stage.heard(peer).pop().unwrap()["e"].as_u64());
    assert_eq!(replies, [None, None, Some(1316)]);
}

#[test]
fn who_leaves_ends_the_session_and_the_last_one_the_room() {
    let mut stage = stage();
    let (ann, ann_link, _) = stage.enter("ann");
    let (bob, bob_link, _) = stage.enter("bob");
    stage.gone(ann, Departure::Left(1000));
    let sent = stage.told_janus(ann_link);
    assert_eq!(sent.iter().map(|it| &it["janus"]).collect::<Vec<_>>(), ["destroy"]);
    stage.gone(bob, Departure::Left(1000));
    let sent = stage.told_janus(bob_link);
    assert_eq!(sent[0]["body"]["request"], "destroy");
    assert_eq!(stage.live.members_by_link.len(), 0);
}

#[test]
fn after_a_janus_died_the_next_offer_begins_anew() {
    let mut stage = stage();
    let (ann, link, _) = stage.enter("ann");
    stage.ask(ann, "exchangeSdp", json!({"to": "publisher", "sdp": {"type": "offer", "sdp": SDP}}));
    stage.effects.clear();
    stage.act(|live, cx| live.server(cx, link, FromServer::Gone));
    assert_eq!(stage.error(ann), 1328);
    stage.ask(ann, "exchangeSdp", json!({"to": "publisher", "sdp": {"type": "offer", "sdp": SDP}}));
    let again = stage.dialled();
    assert_ne!(again, link);
    stage.let_in(again, json!([]));
    stage.janus_answers(again, "event", answer());
    assert_eq!(names(&stage.heard(ann)), ["eventExchangeSdp", "exchangeSdpR"]);
}

#[test]
fn sessions_at_janus_are_kept_alive() {
    let mut stage = stage();
    let (_, link, _) = stage.enter("ann");
    stage.later(0);
    assert_eq!(stage.told_janus(link)[0]["janus"], "keepalive");
    stage.later(24);
    assert_eq!(stage.told_janus(link), [Value::Null; 0]);
    stage.later(1);
    assert_eq!(stage.told_janus(link)[0]["janus"], "keepalive");
}

#[test]
fn the_mix_comes_from_the_mcu_to_those_who_asked_for_it() {
    let janus = LiveJanus { audiobridge: true, ..LiveJanus::default() };
    let mut stage = Stage::with(&LiveRules { mode: LiveMode::Routed, janus, ..rules() }, limits(8, 0));
    let (ann, _, _) = stage.enter("ann");
    let bob = stage.connect();
    stage.ask(bob, "join", json!({"roomId": "r", "bearer": "bob", "mcu": true}));
    let link = stage.dialled();
    stage.let_in(link, json!([]));
    assert_eq!(stage.heard(bob), [Value::Null; 0], "not before the mix is there");
    stage.janus_answers(link, "success", json!({"data": {"id": 80}}));
    stage.janus_answers(
        link,
        "success",
        json!({"sender": 80, "plugindata": {"data": {"audiobridge": "created"}}}),
    );
    let offer = json!({"type": "offer", "sdp": SDP});
    stage.janus_answers(
        link,
        "event",
        json!({"sender": 80, "plugindata": {"data": {"audiobridge": "joined"}}, "jsep": offer}),
    );
    let heard = stage.heard(bob);
    assert_eq!(names(&heard), ["eventOrientationChange", "joinR", "eventExchangeSdp"]);
    let mcu = json!({"socketId": "mcu", "userId": ""});
    assert_eq!(heard[2]["d"], json!({"from": mcu, "sdp": offer}));

    stage.ask(bob, "exchangeSdp", json!({"to": "mcu", "sdp": offer}));
    assert_eq!(stage.error(bob), 1330, "the server offers");
    stage.ask(bob, "exchangeSdp", json!({"to": "mcu", "sdp": {"type": "answer", "sdp": SDP}}));
    let sent = stage.janus_answers(
        link,
        "event",
        json!({"sender": 80, "plugindata": {"data": {"audiobridge": "event", "result": "ok"}}}),
    );
    assert_eq!((&sent["handle_id"], &sent["body"]["request"]), (&json!(80), &json!("configure")));
    assert_eq!(stage.heard(bob), [json!({"a": "exchangeSdpR", "s": true})]);
    stage.ask(bob, "exchangeCandidate", json!({"to": "mcu", "candidate": {"completed": true}}));
    assert_eq!(stage.janus_answers(link, "ack", json!({}))["handle_id"], 80);
    assert_eq!(stage.heard(bob), [json!({"a": "exchangeCandidateR", "s": true})]);
    stage.janus(link, json!({"janus": "webrtcup", "sender": 80}));
    assert_eq!(stage.heard(bob), [json!({"a": "eventWebrtcUp", "d": {"from": mcu}})]);

    stage.heard(ann);
    for action in ["exchangeSdp", "exchangeCandidate"] {
        let data = json!({"to": "mcu", "sdp": {"type": "answer", "sdp": SDP}, "candidate": {}});
        stage.ask(ann, action, data);
        assert_eq!(stage.error(ann), 1298, "{action}: who did not ask for the mix has none");
    }

    // The last one of the mix takes its room away, though the other room goes on.
    stage.effects.clear();
    stage.gone(bob, Departure::Left(1000));
    let sent = stage.told_janus(link);
    let what: Vec<_> = sent.iter().map(|it| (it["handle_id"].as_u64(), &it["body"]["request"])).collect();
    assert_eq!(what, [(Some(80), &json!("destroy")), (None, &Value::Null)]);
}

#[test]
fn a_mix_comes_back_with_janus() {
    let janus = LiveJanus { audiobridge: true, ..LiveJanus::default() };
    let mut stage = Stage::with(&LiveRules { mode: LiveMode::Routed, janus, ..rules() }, limits(8, 0));
    let bob = stage.connect();
    stage.ask(bob, "join", json!({"roomId": "r", "bearer": "bob", "mcu": true}));
    let link = stage.dialled();
    let mixes = |stage: &mut Stage, link| {
        stage.let_in(link, json!([]));
        stage.janus_answers(link, "success", json!({"data": {"id": 80}}));
        stage.janus_answers(link, "success", json!({"plugindata": {"data": {}}}));
        stage.janus_answers(link, "event", json!({"jsep": {"type": "offer", "sdp": SDP}}));
        let heard = stage.heard(bob);
        names(&heard).join(" ")
    };
    assert_eq!(mixes(&mut stage, link), "joinR eventExchangeSdp");
    stage.effects.clear();
    stage.act(|live, cx| live.server(cx, link, FromServer::Gone));
    stage.later(26);
    let again = stage.dialled();
    assert_eq!(mixes(&mut stage, again), "eventExchangeSdp", "it is in already");
    assert_eq!(stage.live.size(), Size { rooms: 1, people: 1 });
}

#[test]
fn without_an_audiobridge_the_wish_for_a_mix_is_ignored() {
    let mut stage = stage();
    let peer = stage.connect();
    stage.ask(peer, "join", json!({"roomId": "r", "bearer": "ann", "mcu": true}));
    let link = stage.dialled();
    stage.let_in(link, json!([]));
    assert_eq!(stage.heard(peer)[0]["s"], true);
    assert_eq!(stage.told_janus(link), [Value::Null; 0]);
}

#[test]
fn what_is_said_to_nobody_in_the_room_is_refused_before_janus_is_asked() {
    let mut stage = stage();
    let (ann, link, _) = stage.enter("ann");
    let (_, _, bob) = stage.enter("bob");
    stage.effects.clear();
    let answer = json!({"type": "answer", "sdp": SDP});
    for (to, code) in [("nobody", 1298), ("", 1283), (&*bob, 1319)] {
        stage.ask(ann, "exchangeSdp", json!({"to": to, "sdp": answer}));
        assert_eq!(stage.error(ann), code, "{to}");
        stage.ask(ann, "exchangeCandidate", json!({"to": to, "candidate": {}}));
        assert_eq!(stage.error(ann), code, "{to}");
    }
    assert_eq!(stage.told_janus(link), [Value::Null; 0]);
}

#[test]
fn a_candidate_that_comes_when_janus_has_died_begins_nothing() {
    let mut stage = stage();
    let (ann, link, _) = stage.enter("ann");
    stage.act(|live, cx| live.server(cx, link, FromServer::Gone));
    stage.effects.clear();
    stage.ask(ann, "exchangeCandidate", json!({"to": "publisher", "candidate": {}}));
    assert_eq!(stage.error(ann), 1328);
    assert!(!stage.effects.iter().any(|effect| matches!(effect, Effect::Dial(..))));
}

#[test]
fn a_room_is_not_taken_away_from_one_who_is_about_to_come_in() {
    let mut stage = stage();
    let (ann, ann_link, _) = stage.enter("ann");
    let (_, bob_link) = stage.knock("bob");
    stage.gone(ann, Departure::Left(1000));
    let sent = stage.told_janus(ann_link);
    assert_eq!(sent.iter().map(|it| &it["janus"]).collect::<Vec<_>>(), ["destroy"], "the session alone");
    // Who gives up on the way in was the last one.
    stage.janus_answers(bob_link, "success", json!({"data": {"id": 7}}));
    stage.janus_answers(bob_link, "success", json!({"data": {"id": 70}}));
    stage.effects.clear();
    let bob = PeerKey(stage.last_peer);
    stage.gone(bob, Departure::Lost(Vec::new()));
    let sent = stage.told_janus(bob_link);
    assert_eq!((&sent[0]["body"]["request"], &sent[1]["janus"]), (&json!("destroy"), &json!("destroy")));
}
