//! What those in a room tell each other, p2p.

use super::*;

const SDP: &str = "v=0\\r\\no=- 1 1 IN IP4 127.0.0.1\\r\\ns=-\\r\\nt=0 0\\r\\na=ice-ufrag:abcd\\r\\na=ice-pwd:abcdefghijklmnopqrstuv\\r\\nm=audio 9 UDP/TLS/RTP/SAVPF 111\\r\\nc=IN IP4 0.0.0.0\\r\\n";

#[test]
fn descriptions_are_relayed_byte_by_byte_and_say_who_sent_them() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, bob_id) = stage.join("bob", "r");
    let sdp = format!(r#"{{ "type":"offer","n":12345678901234567890, "sdp":"{SDP}" }}"#);
    stage.say(bob, &format!(r#"{{"a":"exchangeSdp","d":{{"to":"{ann_id}","sdp":{sdp}}}}}"#));
    let raw = format!(
        r#"{{"a":"eventExchangeSdp","d":{{"from":{{"socketId":"{bob_id}","userId":"bob"}},"sdp":{sdp}}}}}"#
    );
    assert!(stage.effects.contains(&Effect::Send(ann, raw.into())));
    assert_eq!(stage.heard(bob), [json!({"a": "exchangeSdpR", "s": true})]);
}

#[test]
fn candidates_come_as_objects_and_as_texts() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, _) = stage.join("bob", "r");
    let candidate =
        json!({"candidate": "candidate:1 1 udp 1 192.0.2.1 1 typ host", "sdpMid": "0", "sdpMLineIndex": 0});
    for given in [candidate.clone(), json!(candidate.to_string()), json!({"completed": true})] {
        stage.ask(bob, "exchangeCandidate", json!({"to": ann_id, "candidate": given}));
        assert_eq!(stage.heard(bob), [json!({"a": "exchangeCandidateR", "s": true})]);
        let heard = stage.heard(ann);
        assert_eq!(heard[0]["a"], "eventExchangeCandidate");
        let expected = if given.is_string() { &candidate } else { &given };
        assert_eq!(
            (&heard[0]["d"]["candidate"], &heard[0]["d"]["from"]["userId"]),
            (expected, &json!("bob"))
        );
    }
    for given in [json!(7), json!("{"), json!("[]")] {
        stage.ask(bob, "exchangeCandidate", json!({"to": ann_id, "candidate": given}));
        assert_eq!(stage.error(bob), 1282, "{given}");
    }
}

#[test]
fn what_goes_to_nobody_is_refused_by_its_code() {
    let mut stage = Stage::new();
    let (ann, _) = stage.join("ann", "r");
    let (_, bob_id) = stage.join("bob", "another");
    let sdp: Value = serde_json::from_str(&format!(r#"{{"type":"offer","sdp":"{SDP}"}}"#)).unwrap();
    for (action, data, code) in [
        ("exchangeSdp", json!({"to": bob_id, "sdp": sdp}), 1298),
        ("exchangeSdp", json!({"to": "nobody", "sdp": sdp}), 1298),
        ("exchangeSdp", json!({"to": "publisher", "sdp": sdp}), 1328),
        ("exchangeSdp", json!({"sdp": sdp}), 1283),
        ("exchangeSdp", json!({"to": bob_id}), 1283),
        ("exchangeSdp", json!({"to": bob_id, "sdp": "text"}), 1282),
        ("exchangeSdp", json!({"to": bob_id, "sdp": {"type": "offer", "sdp": "no description"}}), 1320),
        ("exchangeCandidate", json!({"to": bob_id, "candidate": {}}), 1298),
        ("exchangeCandidate", json!({"to": "publisher", "candidate": {}}), 1328),
        ("sendMessage", json!({"to": bob_id, "message": 1}), 1298),
    ] {
        stage.ask(ann, action, data.clone());
        assert_eq!(stage.error(ann), code, "{action} {data}");
    }
}

#[test]
fn messages_and_orientation_reach_those_they_are_for() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, bob_id) = stage.join("bob", "r");
    let (cid, _) = stage.join("cid", "r");
    stage.ask(bob, "sendMessage", json!({"to": ann_id, "message": {"x": [1]}}));
    assert_eq!(stage.heard(bob), [json!({"a": "sendMessageR", "s": true})]);
    let from = json!({"socketId": bob_id, "userId": "bob"});
    assert_eq!(stage.heard(ann), [json!({"a": "eventMessage", "d": {"from": from, "message": {"x": [1]}}})]);
    assert_eq!(stage.heard(cid), [Value::Null; 0]);
    stage.ask(bob, "orientationChange", json!({"orientation": 180, "camera": "back"}));
    assert_eq!(stage.heard(bob), [json!({"a": "orientationChangeR", "s": true})]);
    let told = json!({"from": from, "platform": "", "orientation": 180, "camera": "back"});
    for peer in [ann, cid] {
        assert_eq!(stage.heard(peer), [json!({"a": "eventOrientationChange", "d": told})]);
    }
}

#[test]
fn notices_are_not_answered_and_published_only_where_wanted() {
    let mut stage = Stage::new();
    let (ann, _) = stage.join("ann", "r");
    for (action, data) in [
        ("eventFreeze", json!({})),
        ("eventCpu", json!({"cpuUsed": 40})),
        ("eventNetworkChange", json!({"networkType": "mobile"})),
    ] {
        stage.ask(ann, action, data);
        assert_eq!((stage.heard(ann), stage.notices()), (vec![], vec![]), "{action}");
    }
    let events = LiveEvents { freeze: true, cpu: true, ping: true, ..LiveEvents::default() };
    let mut stage = Stage::with(&LiveRules { events, ..rules() }, limits(8, 0));
    let (ann, id) = stage.join("ann", "r");
    stage.ask(ann, "eventFreeze", json!({}));
    stage.ask(ann, "eventCpu", json!({"cpuUsed": 40}));
    let expected =
        [("webrtc.freeze", json!({"socketId": id})), ("webrtc.cpu", json!({"socketId": id, "cpuUsed": 40}))];
    assert_eq!((stage.heard(ann), stage.notices()), (vec![], expected.to_vec()));
    stage.later(0);
    assert!(stage.notices().contains(&("webrtc.ping", json!({"socketId": id}))));
    stage.notices_are_full = true;
    stage.ask(ann, "eventFreeze", json!({}));
    assert_eq!(stage.error(ann), 1289);
}
