use std::time::Duration;

use super::*;
use crate::config::Secret;
use crate::signalling::world_tests::{LIMITS, World};

fn rules() -> GstRules {
    GstRules { token: None, keepalive: Duration::from_secs(30), health: None }
}

/// Peers 1, 2, … and their ids.
fn with(count: usize) -> (World<Webrtcsink>, Vec<(PeerKey, String)>) {
    let mut world = World::new(Webrtcsink::new(&rules(), &LIMITS));
    let peers = (0..count).map(|_| welcome(&mut world)).collect();
    (world, peers)
}

fn welcome(world: &mut World<Webrtcsink>) -> (PeerKey, String) {
    let (peer, effects) = world.knock("/", None);
    let peer = peer.unwrap();
    let start = format!(r#"{}: {{"type":"welcome","peerId":""#, peer.0);
    let id = effects[0].strip_prefix(&start).unwrap().strip_suffix(r#""}"#).unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'), "a UUID of version 4: {id}");
    (peer, id.to_owned())
}

fn status(roles: &str) -> String {
    format!(r#"{{"type":"setPeerStatus","roles":[{roles}],"meta":{{"name":"n", "x":1.0}}}}"#)
}

const PRODUCER: &str = r#""producer""#;

/// Peer 1 produces, peer 2 watches; the session between them.
fn session() -> (World<Webrtcsink>, Vec<(PeerKey, String)>, String) {
    let (mut world, peers) = with(3);
    world.say(peers[0].0, &status(PRODUCER));
    let effects = world.say(peers[1].0, &format!(r#"{{"type":"startSession","peerId":"{}"}}"#, peers[0].1));
    let id = effects[0].rsplit_once(r#""sessionId":""#).unwrap().1.strip_suffix(r#""}"#).unwrap().to_owned();
    assert_eq!(
        effects,
        [
            format!(r#"2: {{"type":"sessionStarted","peerId":"{}","sessionId":"{id}"}}"#, peers[0].1),
            format!(
                r#"1: {{"type":"startSession","peerId":"{}","sessionId":"{id}","offer":null}}"#,
                peers[1].1
            ),
        ]
    );
    (world, peers, id)
}

fn error(peer: u64, details: &str) -> [String; 1] {
    [format!(r#"{peer}: {{"type":"error","details":"{details}"}}"#)]
}

#[test]
fn listeners_hear_of_roles_and_so_does_the_peer_itself() {
    let (mut world, peers) = with(2);
    let (listener, producer) = (&peers[0], &peers[1]);
    let changed = |to: u64, roles: &str, id: &str| {
        format!(
            r#"{to}: {{"type":"peerStatusChanged","roles":[{roles}],"meta":{{"name":"n", "x":1.0}},"peerId":"{id}"}}"#
        )
    };
    let listening = r#""listener""#;
    assert_eq!(world.say(listener.0, &status(listening)), [changed(1, listening, &listener.1)]);
    assert_eq!(world.say(producer.0, &status(PRODUCER)), [changed(1, PRODUCER, &producer.1)]);
    let both = r#""producer","listener""#;
    assert_eq!(
        world.say(producer.0, &status(both)),
        [changed(1, both, &producer.1), changed(2, both, &producer.1)]
    );
    assert_eq!(world.leave(producer.0), [changed(1, "", &producer.1)]);
}

#[test]
fn lists_have_ids_and_meta_as_it_was() {
    let (mut world, peers) = with(3);
    assert_eq!(world.say(peers[2].0, r#"{"type":"list"}"#), [r#"3: {"type":"list","producers":[]}"#]);
    world.say(peers[0].0, &status(PRODUCER));
    world.say(peers[1].0, r#"{"type":"setPeerStatus","roles":["producer"]}"#);
    let list = format!(
        r#"3: {{"type":"list","producers":[{{"id":"{}","meta":{{"name":"n", "x":1.0}}}},{{"id":"{}","meta":null}}]}}"#,
        peers[0].1, peers[1].1
    );
    assert_eq!(world.say(peers[2].0, r#"{"type":"list"}"#), [list]);
    world.say(peers[1].0, r#"{"type":"setPeerStatus","roles":["consumer"]}"#);
    let list =
        format!(r#"3: {{"type":"listConsumers","consumers":[{{"id":"{}","meta":null}}]}}"#, peers[1].1);
    assert_eq!(world.say(peers[2].0, r#"{"type":"listConsumers"}"#), [list]);
}

#[test]
fn a_session_passes_messages_as_they_are() {
    let (mut world, peers, id) = session();
    let (producer, consumer) = (peers[0].0, peers[1].0);
    let message = |inside: &str| format!(r#"{{"type":"peer", "sessionId":"{id}", {inside}}}"#);
    for (from, to, inside) in [
        (producer, 2, r#""sdp":{"type":"offer","sdp":"v=0\r\n"}"#),
        (consumer, 1, r#""sdp":{"type":"answer","sdp":"v=0\r\n"}"#),
        (consumer, 1, r#""ice":{"candidate":"c","sdpMLineIndex":0,"usernameFragment":"\u0061"}"#),
        (producer, 2, r#""ice":{"candidate":"","sdpMLineIndex":0}"#),
    ] {
        assert_eq!(world.say(from, &message(inside)), [format!("{to}: {}", message(inside))]);
    }
    let offer = message(r#""sdp":{"type":"offer","sdp":"x"}"#);
    assert_eq!(world.say(consumer, &offer), error(2, "only the producer sends offers in a session"));
    assert_eq!(world.say(peers[2].0, &offer), error(3, "this session is between others"));
    for inside in [r#""x":1"#, r#""sdp":"x""#, r#""ice":{},"sdp":{}"#] {
        assert_eq!(
            world.say(producer, &message(inside)),
            error(1, "expected sdp or ice, an object"),
            "{inside}"
        );
    }
    let unknown = r#"{"type":"peer","sessionId":"x","ice":{}}"#;
    assert_eq!(world.say(producer, unknown), [""; 0], "it may just have ended");
}

#[test]
fn a_consumer_may_bring_its_offer_and_a_producer_may_call_a_consumer() {
    let (mut world, peers) = with(2);
    world.say(peers[0].0, &status(PRODUCER));
    let ask = format!(r#"{{"type":"startSession","peerId":"{}","offer":"v=0\r\n"}}"#, peers[0].1);
    let effects = world.say(peers[1].0, &ask);
    assert!(effects[1].starts_with("1: ") && effects[1].ends_with(r#","offer":"v=0\r\n"}"#), "{effects:?}");

    let (mut world, peers) = with(2);
    world.say(peers[0].0, &status(PRODUCER));
    world.say(peers[1].0, &status(r#""consumer""#));
    let effects = world.say(peers[0].0, &format!(r#"{{"type":"startSession","peerId":"{}"}}"#, peers[1].1));
    assert!(effects[0].starts_with(r#"2: {"type":"sessionStarted""#), "{effects:?}");
    assert!(effects[1].starts_with(r#"1: {"type":"startSession""#), "{effects:?}");
}

#[test]
fn a_session_ends_once_for_whichever_reason() {
    let end = |id: &str| format!(r#"{{"type":"endSession","sessionId":"{id}"}}"#);
    let (mut world, peers, id) = session();
    assert_eq!(world.say(peers[2].0, &end(&id)), error(3, "this session is between others"));
    assert_eq!(world.say(peers[1].0, &end(&id)), [format!("1: {}", end(&id))]);
    assert_eq!(world.say(peers[0].0, &end(&id)), [""; 0]);

    let (mut world, peers, id) = session();
    assert_eq!(world.leave(peers[0].0), [format!("2: {}", end(&id))]);
    let (mut world, peers, id) = session();
    assert_eq!(world.leave(peers[1].0), [format!("1: {}", end(&id))]);
    let (mut world, peers, id) = session();
    let no_more = r#"{"type":"setPeerStatus","roles":[]}"#;
    assert_eq!(world.say(peers[0].0, no_more), [format!("2: {}", end(&id))]);
    assert!(world.protocol.sessions.is_empty());
}

#[test]
fn a_fault_is_answered_and_nothing_is_closed() {
    let (mut world, peers) = with(2);
    for (text, details) in [
        ("{", "expected a JSON object with a type"),
        ("[]", "expected a JSON object with a type"),
        (r#"{"type":7}"#, "expected a JSON object with a type"),
        (r#"{"type":"newPeer"}"#, "unknown message type newPeer"),
        (r#"{"type":"setPeerStatus"}"#, "expected roles, a list of producer, listener and consumer"),
        (
            r#"{"type":"setPeerStatus","roles":["king"]}"#,
            "expected roles, a list of producer, listener and consumer",
        ),
        (
            r#"{"type":"setPeerStatus","roles":["producer","consumer"]}"#,
            "a peer cannot be producer and consumer",
        ),
        (r#"{"type":"startSession"}"#, "expected peerId, a text"),
        (r#"{"type":"startSession","peerId":"x"}"#, "there is no peer x"),
        (r#"{"type":"startSession","peerId":"x","offer":7}"#, "expected offer as a text"),
        (r#"{"type":"endSession"}"#, "expected sessionId, a text"),
        (r#"{"type":"peer","sdp":{}}"#, "expected sessionId, a text"),
        (r#"{"type":"setProtocolVersion","version":"v9"}"#, "expected version v1_0 or v1_1"),
        (
            r#"{"type":"setProtocolVersion","version":"v1_0"}"#,
            "the protocol version is chosen with the first message",
        ),
    ] {
        assert_eq!(world.say(peers[0].0, text), error(1, details), "{text}");
    }
    let nobody = format!(r#"{{"type":"startSession","peerId":"{}"}}"#, peers[1].1);
    assert_eq!(
        world.say(peers[0].0, &nobody),
        error(1, "neither of the two is a producer or a waiting consumer")
    );
    assert_eq!(world.binary(peers[0].0, b"x"), [""; 0]);
    let version = r#"{"type":"setProtocolVersion","version":"v1_1"}"#;
    assert_eq!(world.say(peers[1].0, version), [""; 0]);
    world.say(peers[1].0, &status(PRODUCER));
    let oneself = format!(r#"{{"type":"startSession","peerId":"{}"}}"#, peers[1].1);
    assert_eq!(world.say(peers[1].0, &oneself), error(2, "a session is with somebody else"));
}

#[test]
fn producers_and_their_sessions_have_limits() {
    let limits = RoomLimits { peers: 1, rooms: 1, ..LIMITS };
    let mut world = World::new(Webrtcsink::new(&rules(), &limits));
    let peers: Vec<_> = (0..3).map(|_| welcome(&mut world)).collect();
    assert_eq!(world.say(peers[0].0, &status(PRODUCER)), [""; 0]);
    assert_eq!(world.say(peers[0].0, &status(PRODUCER)), [""; 0], "its own place does not count");
    assert_eq!(world.say(peers[1].0, &status(PRODUCER)), error(2, "as many producers as there may be"));
    let watch = format!(r#"{{"type":"startSession","peerId":"{}"}}"#, peers[0].1);
    assert_eq!(world.say(peers[1].0, &watch).len(), 2);
    assert_eq!(world.say(peers[2].0, &watch), error(3, "as many sessions as the producer may have"));
    assert_eq!(world.protocol.size(), Size { rooms: 1, people: 3 });
    let room = world.protocol.rooms().remove(0);
    assert_eq!(room.people.iter().map(|person| &*person.name).collect::<Vec<_>>(), ["n", ""]);
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let rules = GstRules { token: Some(Secret::new("t")), ..rules() };
    let mut world = World::new(Webrtcsink::new(&rules, &LIMITS));
    assert_eq!(world.knock("/", None).0, Err(Refusal::Unauthorized));
    assert!(world.knock("/", Some("token=t")).0.is_ok());
}

#[test]
fn any_input_in_any_order_is_survived() {
    let (producer, listener, consumer) = (status(PRODUCER), status(r#""listener""#), status(r#""consumer""#));
    let inputs = [
        &*producer,
        &*listener,
        &*consumer,
        r#"{"type":"list"}"#,
        r#"{"type":"startSession","peerId":"x"}"#,
        "{",
        "[]",
        r#"{"type":"peer","sessionId":"x","ice":{}}"#,
        r#"{"type":"endSession","sessionId":"x"}"#,
    ];
    for seed in 0..64 {
        World::new(Webrtcsink::new(&rules(), &LIMITS)).survives(&inputs, seed);
    }
}
