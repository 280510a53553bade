use super::*;
use crate::config::Secret;
use crate::signalling::protocol::Departure;
use crate::signalling::world_tests::{LIMITS, World};

fn rules() -> GstRules {
    GstRules { token: None, keepalive: Duration::from_secs(30), health: Some("/health".into()) }
}

fn world() -> World<Gst> {
    World::new(Gst::new(&rules(), &LIMITS))
}

/// Peers 1, 2, … with these uids.
fn with(uids: &[&str]) -> (World<Gst>, Vec<PeerKey>) {
    let mut world = world();
    let hello = |uid: &&str| {
        let peer = world.connect();
        assert_eq!(world.say(peer, &format!("HELLO {uid}")), ["no deadline", &format!("{}: HELLO", peer.0)]);
        peer
    };
    let peers = uids.iter().map(hello).collect();
    (world, peers)
}

/// What one says, and what comes of it.
fn play(world: &mut World<Gst>, script: &[(PeerKey, &str, &[&str])]) {
    for (peer, text, expected) in script {
        assert_eq!(world.say(*peer, text), *expected, "{} says {text:?}", peer.0);
    }
}

#[test]
fn whoever_does_not_register_properly_is_closed_with_1002() {
    for (text, expected) in [
        ("SESSION x", "2 closed 1002 invalid protocol"),
        ("", "2 closed 1002 invalid protocol"),
        ("hello b", "2 closed 1002 invalid protocol"),
        ("HELLOb", "2 closed 1002 invalid protocol"),
        ("HELLO a", "2 closed 1002 invalid peer uid"),
        ("HELLO two words", "2 closed 1002 invalid peer uid"),
        ("HELLO", "2 closed 1002 invalid peer uid"),
        ("HELLO ", "2 closed 1002 invalid peer uid"),
    ] {
        let (mut world, _) = with(&["a"]);
        let peer = world.connect();
        assert_eq!(world.say(peer, text), [expected], "{text:?}");
        assert_eq!(world.say(peer, "HELLO b"), [""; 0], "a closed peer is not there any more");
    }
    let mut world = world();
    let (peer, effects) = world.knock("/any/path", None);
    assert_eq!(effects, ["deadline 10s"]);
    assert_eq!(world.binary(peer.unwrap(), b"HELLO x"), ["1 closed 1002 invalid protocol"]);
    let late = world.connect();
    assert_eq!(world.input(late, Input::Deadline), ["2 closed 1002 invalid protocol"]);
}

#[test]
fn a_uid_is_free_again_at_once() {
    let (mut world, peers) = with(&["a"]);
    world.leave(peers[0]);
    let again = world.connect();
    assert_eq!(world.say(again, "HELLO a"), ["no deadline", "2: HELLO"]);
}

#[test]
fn a_session_pairs_two_and_then_passes_everything() {
    for (call, done) in [("SESSION b", "1: SESSION_OK"), ("CALL b", "1: CALL_OK")] {
        let (mut world, peers) = with(&["a", "b", "c"]);
        let (a, b) = (peers[0], peers[1]);
        play(
            &mut world,
            &[
                (a, call, &[done]),
                (
                    a,
                    r#"{"sdp": {"type":"offer", "sdp":"v=0\r\n"}}"#,
                    &[r#"2: {"sdp": {"type":"offer", "sdp":"v=0\r\n"}}"#],
                ),
                (b, "OFFER_REQUEST", &["1: OFFER_REQUEST"]),
                (a, "SESSION c", &["2: SESSION c"]),
                (b, "CALL c", &["1: CALL c"]),
                (a, "ROOM r", &["2: ROOM r"]),
                (a, "", &["2: "]),
            ],
        );
        assert_eq!(world.binary(b, b"\x00\xff"), [r#"1: binary b"\0\xff""#]);
    }
}

#[test]
fn a_call_that_cannot_be_is_answered_with_an_error() {
    let (mut world, peers) = with(&["a", "b", "c", "d", "e"]);
    let [a, b, _, d, _] = peers[..] else { panic!() };
    let new = world.connect();
    play(
        &mut world,
        &[
            (b, "SESSION c", &["2: SESSION_OK"]),
            (d, "ROOM r", &["4: ROOM_OK "]),
            (a, "SESSION b", &["1: ERROR peer 'b' busy"]),
            (a, "CALL c", &["1: ERROR peer 'c' busy"]),
            (a, "SESSION d", &["1: ERROR peer 'd' busy"]),
            (a, "SESSION a", &["1: ERROR peer 'a' busy"]),
            (a, "SESSION nobody", &["1: ERROR peer 'nobody' not found"]),
            (a, "SESSION it's", &["1: ERROR peer 'it's' not found"]),
            (a, "SESSION b c", &["1: ERROR peer 'b c' not found"]),
            (a, "SESSION", &["1: ERROR invalid msg"]),
            (a, "CALL ", &["1: ERROR invalid msg"]),
            (a, "SESSION  e ", &["1: SESSION_OK"]),
            (new, "HELLO f", &["no deadline", "6: HELLO"]),
        ],
    );
}

#[test]
fn outside_of_session_and_room_the_rest_is_ignored() {
    let (mut world, peers) = with(&["a", "b"]);
    for text in
        ["HELLO a", "HELLO c", "ROOM_PEER_MSG b x", "ROOM_PEER_LIST", "{}", "", "SESSIONS b", "OFFER_REQUEST"]
    {
        assert_eq!(world.say(peers[0], text), [""; 0], "{text:?}");
    }
    assert_eq!(world.binary(peers[0], b"x"), [""; 0]);
}

#[test]
fn the_end_of_one_side_closes_the_other_one_and_frees_both() {
    let (mut world, peers) = with(&["a", "b"]);
    world.say(peers[0], "SESSION b");
    assert_eq!(world.input(peers[1], Input::Gone(Departure::Lost(Vec::new()))), ["1 closed 1000"]);
    for (peer, uid) in [(3, "a"), (4, "b")] {
        let again = world.connect();
        assert_eq!(world.say(again, &format!("HELLO {uid}")), ["no deadline", &format!("{peer}: HELLO")]);
    }
    assert_eq!(world.protocol.size(), Size::default());
}

#[test]
fn rooms_tell_who_is_there_who_comes_and_who_goes() {
    let (mut world, peers) = with(&["a", "b", "c", "d"]);
    let [a, b, c, d] = peers[..] else { panic!() };
    play(
        &mut world,
        &[
            (a, "ROOM r", &["1: ROOM_OK "]),
            (b, "ROOM r", &["2: ROOM_OK a", "1: ROOM_PEER_JOINED b"]),
            (c, "ROOM r", &["3: ROOM_OK a b", "1: ROOM_PEER_JOINED c", "2: ROOM_PEER_JOINED c"]),
            (d, "ROOM other", &["4: ROOM_OK "]),
            (a, "ROOM_PEER_LIST", &["1: ROOM_PEER_LIST b c"]),
            (d, "ROOM_PEER_LIST", &["4: ROOM_PEER_LIST "]),
            (a, "ROOM_PEER_MSG b {\"sdp\": 1}  x ", &["2: ROOM_PEER_MSG a {\"sdp\": 1}  x "]),
            (a, "ROOM_PEER_MSG a me", &["1: ROOM_PEER_MSG a me"]),
            (a, "ROOM_PEER_MSG nobody x", &["1: ERROR peer 'nobody' not found"]),
            (a, "ROOM_PEER_MSG d x", &["1: ERROR peer 'd' is not in the room"]),
        ],
    );
    for text in [
        "ROOM_PEER_MSG",
        "ROOM_PEER_MSG b",
        "ROOM_PEER_MSG b ",
        "ROOM r",
        "SESSION b",
        "CALL b",
        "HELLO a",
        "x",
        "",
    ] {
        assert_eq!(world.say(a, text), ["1: ERROR invalid msg, already in room"], "{text:?}");
    }
    assert_eq!(world.binary(a, b"x"), ["1: ERROR invalid msg, already in room"]);
    assert_eq!(world.leave(b), ["1: ROOM_PEER_LEFT b", "3: ROOM_PEER_LEFT b"]);
    world.leave(d);
    let names: Vec<String> = world.protocol.rooms().into_iter().map(|room| room.name).collect();
    assert_eq!(names, ["r"], "empty rooms vanish");
}

#[test]
fn a_room_without_a_proper_name_is_an_error() {
    let (mut world, peers) = with(&["a"]);
    play(
        &mut world,
        &[
            (peers[0], "ROOM session", &["1: ERROR invalid room id 'session'"]),
            (peers[0], "ROOM a b", &["1: ERROR invalid room id 'a b'"]),
            (peers[0], "ROOM", &["1: ERROR invalid room id ''"]),
            (peers[0], "ROOM ", &["1: ERROR invalid room id ''"]),
            (peers[0], "ROOM sessions", &["1: ROOM_OK "]),
        ],
    );
}

#[test]
fn full_rooms_and_too_many_rooms_are_errors_and_the_peer_stays_outside() {
    let limits = RoomLimits { peers: 1, rooms: 1, ..LIMITS };
    let mut world = World::new(Gst::new(&rules(), &limits));
    let (a, b) = (world.connect(), world.connect());
    play(
        &mut world,
        &[
            (a, "HELLO a", &["no deadline", "1: HELLO"]),
            (b, "HELLO b", &["no deadline", "2: HELLO"]),
            (a, "ROOM r", &["1: ROOM_OK "]),
            (b, "ROOM r", &["2: ERROR room 'r' is full"]),
            (b, "ROOM s", &["2: ERROR too many rooms"]),
            (b, "ROOM_PEER_LIST", &[]),
        ],
    );
    world.protocol.renew(&RoomRules::Gst(rules()), &LIMITS);
    assert_eq!(world.say(b, "ROOM s"), ["2: ROOM_OK "], "a reload changes the limits");
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let rules = GstRules { token: Some(Secret::new("let/me in")), ..rules() };
    let mut world = World::new(Gst::new(&rules, &LIMITS));
    for (query, expected) in [
        (Some("token=let%2Fme+in"), true),
        (Some("x=1&token=let%2Fme%20in"), true),
        (Some("token=let"), false),
        (Some("token="), false),
        (None, false),
    ] {
        assert_eq!(world.knock("/", query).0.is_ok(), expected, "{query:?}");
    }
    assert_eq!(world.knock("/", None).0, Err(Refusal::Unauthorized));
}

#[test]
fn health_is_a_page() {
    let gst = Gst::new(&rules(), &LIMITS);
    assert_eq!((gst.page("/health"), gst.page("/healthy")), (Some("OK\n"), None));
    let gst = Gst::new(&GstRules { health: None, ..rules() }, &LIMITS);
    assert_eq!(gst.page("/health"), None);
}

#[test]
fn people_are_listed_by_room_and_by_session() {
    let (mut world, peers) = with(&["a", "b", "c"]);
    world.say(peers[0], "SESSION b");
    world.say(peers[2], "ROOM r");
    let mut rooms: Vec<(String, Vec<String>)> = world
        .protocol
        .rooms()
        .into_iter()
        .map(|room| (room.name, room.people.into_iter().map(|person| person.id).collect()))
        .collect();
    rooms.sort();
    assert_eq!(rooms, [("a - b".into(), vec!["a".into(), "b".into()]), ("r".into(), vec!["c".into()])]);
    assert_eq!(world.protocol.size(), Size { rooms: 2, people: 3 });
}

#[test]
fn any_input_in_any_order_is_survived() {
    let inputs = [
        "HELLO a",
        "HELLO b",
        "HELLO c",
        "HELLO d",
        "SESSION a",
        "SESSION b",
        "CALL c",
        "ROOM r",
        "ROOM s",
        "ROOM",
        "ROOM_PEER_MSG a x",
        "ROOM_PEER_MSG b y z",
        "ROOM_PEER_LIST",
        "",
        " ",
        "\u{2003}HELLO\u{2003}e",
        "{}",
    ];
    for seed in 0..64 {
        world().survives(&inputs, seed);
    }
}
