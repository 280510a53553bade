use super::*;
use crate::config::{Auth, RoomWebhook, Scheme, Secret, ServerUrl};
use crate::signalling::protocol::Departure;
use crate::signalling::world_tests::{LIMITS, World};

fn rules() -> WebrtcServerRules {
    WebrtcServerRules {
        auth: Auth { password: Some(Secret::new("pw")), ..Auth::default() },
        auth_timeout: Duration::from_secs(5),
        idle_timeout: Some(Duration::from_secs(60)),
        webhook: None,
    }
}

fn world() -> World<WebrtcServer> {
    World::new(WebrtcServer::new(&rules(), &LIMITS))
}

const UNAUTHORIZED: &str = r#"{"event":"unauthorized"}"#;
const INVALID: &str = r#"{"event":"invalid_message"}"#;

fn login(username: &str, password: &str) -> String {
    let data = serde_json::json!({ "username": username, "password": password });
    format!(r#"{{"event":"authenticate","data":{data}}}"#)
}

fn answer(username: &str, is_valid: bool) -> Input {
    Input::Answer(Answer::Login { username: username.to_owned(), is_valid })
}

/// Somebody in a room, and its id.
fn join(world: &mut World<WebrtcServer>, room: &str, username: &str) -> (PeerKey, String) {
    let peer = world.knock(&format!("/{room}"), None).0.unwrap();
    let effects = world.input(peer, answer(username, true));
    let start = format!(r#"{}: {{"event":"authenticated","data":{{"peer_id":""#, peer.0);
    let id = effects.iter().find_map(|effect| effect.strip_prefix(&start)).unwrap();
    (peer, id.strip_suffix(r#""}}"#).unwrap().to_owned())
}

#[test]
fn the_room_is_one_segment_of_the_path() {
    let mut world = world();
    for (rest, room) in [
        ("/r1", Ok("r1")),
        ("r1", Ok("r1")),
        ("/a%20b%2Fc", Ok("a b/c")),
        ("/gr%C3%BC%C3%9Fe", Ok("grüße")),
        ("", Err(Refusal::NotFound)),
        ("/", Err(Refusal::NotFound)),
        ("/a/b", Err(Refusal::NotFound)),
        ("/a/", Err(Refusal::NotFound)),
        ("/%ff", Err(Refusal::NotFound)),
        ("/%4", Err(Refusal::NotFound)),
    ] {
        let (opened, effects) = world.knock(rest, Some("ignored=1"));
        match (opened, room) {
            (Ok(peer), Ok(room)) => {
                assert_eq!(effects, ["deadline 5s"]);
                assert_eq!(world.protocol.visitors[&peer].room, room);
            }
            (opened, room) => assert_eq!(opened.map(|_| ""), room, "{rest}"),
        }
    }
}

#[test]
fn a_login_is_asked_about_and_answered() {
    let mut world = world();
    let peer = world.knock("/r", None).0.unwrap();
    assert_eq!(world.say(peer, &login("ann", "pw")), [r#"ask Login("ann", "r", 192.0.2.7)"#]);
    assert_eq!(world.input(peer, answer("ann", false)), [format!("1: {UNAUTHORIZED}")]);
    assert_eq!(world.say(peer, &login("ann", "pw2")).len(), 1, "it may try again");
    let effects = world.input(peer, answer("ann", true));
    let id = &world.protocol.visitors[&peer].member.as_ref().unwrap().id;
    assert_eq!(
        effects,
        [format!(r#"1: {{"event":"authenticated","data":{{"peer_id":"{id}"}}}}"#), "no deadline".into()]
    );
    assert!(id.len() == 16 && id.ends_with("=="), "{id}");
}

#[test]
fn whatever_is_no_login_is_unauthorized_and_the_socket_stays() {
    let mut world = world();
    let peer = world.knock("/r", None).0.unwrap();
    for text in [
        "",
        "{",
        "[]",
        "null",
        r#"{"event":"offer","to":"x"}"#,
        r#"{"event":"authenticate"}"#,
        r#"{"event":"authenticate","data":{"username":"a"}}"#,
        r#"{"event":"authenticate","data":{"username":1,"password":"x"}}"#,
        r#"{"event":"authenticate","data":{"username":"a","password":null}}"#,
        r#"{"event":"authenticate","data":"x"}"#,
        r#"{"event":["authenticate"],"data":{"username":"a","password":"b"}}"#,
        r#"{"event":"authenticate","data":{"username":"a","password":"b"}} x"#,
        "PING",
        "ping ",
    ] {
        assert_eq!(world.say(peer, text), [format!("1: {UNAUTHORIZED}")], "{text}");
    }
    assert_eq!(world.binary(peer, b"{}"), [""; 0]);
    let extra = r#"{"x":1,"data":{"password":"b","y":[],"username":"a"},"event":"authenticate"}"#;
    assert_eq!(world.say(peer, extra), [r#"ask Login("a", "r", 192.0.2.7)"#], "extra keys are ignored");
}

#[test]
fn ping_is_answered_at_any_time() {
    let mut world = world();
    let peer = world.knock("/r", None).0.unwrap();
    assert_eq!(world.say(peer, "ping"), ["1: pong"]);
    let (peer, _) = join(&mut world, "r", "ann");
    assert_eq!(world.say(peer, "ping"), ["2: pong"]);
}

#[test]
fn a_login_that_comes_too_late_finds_the_door_closed() {
    let mut world = world();
    let peer = world.knock("/r", None).0.unwrap();
    assert_eq!(world.input(peer, Input::Deadline), ["1 closed 1000"]);
    assert_eq!(world.input(peer, answer("ann", true)), [""; 0]);
    assert_eq!(world.protocol.size(), Size::default());
}

#[test]
fn those_who_are_there_hear_of_the_newcomer_before_he_hears_of_himself() {
    let mut world = world();
    let (ann, _) = join(&mut world, "r", "ann");
    let (_, _) = join(&mut world, "other", "cid");
    let bob = world.knock("/r", None).0.unwrap();
    let effects = world.input(bob, answer("b\"ob", true));
    let id = world.protocol.visitors[&bob].member.as_ref().unwrap().id.clone();
    assert_eq!(
        effects,
        [
            format!(r#"{}: {{"event":"joined","data":{{"peer_id":"{id}","username":"b\"ob"}}}}"#, ann.0),
            format!(r#"{}: {{"event":"authenticated","data":{{"peer_id":"{id}"}}}}"#, bob.0),
            "no deadline".into(),
        ]
    );
    let left = format!(r#"{}: {{"event":"left","data":{{"peer_id":"{id}","username":"b\"ob"}}}}"#, ann.0);
    assert_eq!(world.leave(bob), [left]);
    assert_eq!(world.leave(bob), [""; 0], "once");
}

#[test]
fn who_never_logged_in_is_nobody() {
    let mut world = world();
    join(&mut world, "r", "ann");
    let peer = world.knock("/r", None).0.unwrap();
    assert_eq!(world.input(peer, Input::Gone(Departure::Lost(Vec::new()))), [""; 0]);
}

#[test]
fn a_relayed_message_keeps_every_byte_but_for_to_and_from() {
    let mut world = world();
    let (ann, from) = join(&mut world, "r", "ann");
    let (bob, to) = join(&mut world, "r", "bob");
    let own = format!(r#""from":"{from}""#);
    for (sent, received) in [
        (
            r#"{"event":"offer","to":"TO","data":{"sdp":"v=0\r\n"}}"#,
            r#"{"event":"offer",FROM,"data":{"sdp":"v=0\r\n"}}"#,
        ),
        (
            r#" { "to" : "TO" , "x":9007199254740993, "event":"a\u0062" , "z":[1e5, {}] } "#,
            r#" { FROM , "x":9007199254740993, "event":"a\u0062" , "z":[1e5, {}] } "#,
        ),
        (r#"{"event":"e","to":"TO"}"#, r#"{"event":"e",FROM}"#),
        (r#"{"from":"liar","event":"e","to":"TO"}"#, r#"{FROM,"event":"e"}"#),
        (r#"{"event":"e","to":"TO", "from":{"x":1},"k":2}"#, r#"{"event":"e",FROM,"k":2}"#),
        (r#"{"to":"nobody","to":"TO","event":"e"}"#, r#"{FROM,"event":"e"}"#),
        (r#"{"\u0074o":"TO","event":"e","\u0066rom":"liar"}"#, r#"{FROM,"event":"e"}"#),
        (
            r#"{"event":"authenticate","to":"TO","data":{"to":"x","from":"y"}}"#,
            r#"{"event":"authenticate",FROM,"data":{"to":"x","from":"y"}}"#,
        ),
    ] {
        let expected = format!("{}: {}", bob.0, received.replace("FROM", &own));
        assert_eq!(world.say(ann, &sent.replace("TO", &to)), [expected], "{sent}");
    }
    let to_self = format!(r#"{{"event":"e","to":"{from}"}}"#);
    assert_eq!(world.say(ann, &to_self), [format!(r#"{}: {{"event":"e",{own}}}"#, ann.0)]);
}

#[test]
fn what_cannot_be_relayed_is_an_invalid_message_to_the_sender_alone() {
    let mut world = world();
    let (ann, _) = join(&mut world, "r", "ann");
    let (_, bob) = join(&mut world, "r", "bob");
    let (_, stranger) = join(&mut world, "other", "cid");
    for text in [
        "",
        "{",
        "[]",
        "7",
        r#"{"event":"e"}"#,
        &login("ann", "pw"),
        &format!(r#"{{"to":"{bob}"}}"#),
        &format!(r#"{{"to":"{bob}","event":7}}"#),
        r#"{"event":"e","to":7}"#,
        r#"{"event":"e","to":null}"#,
        &format!(r#"{{"event":"e","to":"{bob}"}} x"#),
    ] {
        assert_eq!(world.say(ann, text), [format!("1: {INVALID}")], "{text}");
    }
    for to in [r#""nobody""#, r#""a\u0062\/""#, &format!(r#""{stranger}""#)] {
        let reply =
            format!(r#"1: {{"event":"invalid_message","data":{{"reason":"unknown_peer","to":{to}}}}}"#);
        assert_eq!(world.say(ann, &format!(r#"{{"event":"e","to":{to}}}"#)), [reply]);
    }
    assert_eq!(world.binary(ann, b"x"), [""; 0]);
}

#[test]
fn the_same_user_may_be_there_twice() {
    let mut world = world();
    let (_, first) = join(&mut world, "r", "ann");
    let (_, second) = join(&mut world, "r", "ann");
    assert_ne!(first, second);
    let people = world.protocol.rooms().remove(0).people;
    assert_eq!(people.iter().map(|person| &*person.id).collect::<Vec<_>>(), [first, second]);
}

#[test]
fn full_rooms_are_refused_before_the_upgrade_and_at_the_login() {
    let limits = RoomLimits { peers: 1, rooms: 1, ..LIMITS };
    let mut world = World::new(WebrtcServer::new(&rules(), &limits));
    let (one, two) = (world.knock("/r", None).0.unwrap(), world.knock("/r", None).0.unwrap());
    let three = world.knock("/other", None).0.unwrap();
    assert_eq!(world.input(one, answer("a", true)).len(), 2);
    assert_eq!(world.input(two, answer("b", true)), [format!("2: {UNAUTHORIZED}")]);
    assert_eq!(world.input(three, answer("c", true)), [format!("3: {UNAUTHORIZED}")]);
    assert_eq!(world.knock("/r", None).0, Err(Refusal::Full("the room is full")));
    assert_eq!(world.knock("/s", None).0, Err(Refusal::Full("there are as many rooms as there may be")));
    world.leave(one);
    assert!(world.knock("/s", None).0.is_ok());
}

#[test]
fn the_server_can_send_to_a_room_and_to_one() {
    let mut world = world();
    let (ann, id) = join(&mut world, "r", "ann");
    let (bob, _) = join(&mut world, "r", "bob");
    join(&mut world, "other", "cid");
    let event = |data: Option<&str>| ServerEvent {
        event: "e\"".into(),
        data: data.map(|data| data.as_bytes().to_vec()),
    };
    let mut delivered = None;
    let effects =
        world.run(|protocol, cx| delivered = protocol.publish(cx, "r", &event(Some(r#"{"n":1.0}"#))));
    let text = r#"{"event":"e\"","data":{"n":1.0}}"#;
    assert_eq!(
        (delivered, effects),
        (Some(2), vec![format!("{}: {text}", ann.0), format!("{}: {text}", bob.0)])
    );
    world.run(|protocol, cx| delivered = protocol.publish(cx, "nobody's", &event(None)));
    assert_eq!(delivered, Some(0));
    let mut sent = false;
    assert_eq!(
        world.run(|protocol, cx| sent = protocol.send(cx, &id, &event(None))),
        [r#"1: {"event":"e\""}"#]
    );
    assert!(sent);
    assert_eq!(world.run(|protocol, cx| sent = protocol.send(cx, "x", &event(None))), [""; 0]);
    assert!(!sent);
}

#[test]
fn a_webhook_hears_of_joins_and_leaves_once_with_the_others() {
    let url = ServerUrl {
        scheme: Scheme::Http,
        host: "h".into(),
        port: 80,
        path: String::new(),
        query: String::new(),
    };
    let rules = WebrtcServerRules { webhook: Some(RoomWebhook { url, secret: None }), ..rules() };
    let mut world = World::new(WebrtcServer::new(&rules, &LIMITS));
    let (_, ann) = join(&mut world, "r", "ann");
    let told = |effects: Vec<String>| -> Vec<serde_json::Value> {
        let bodies = effects.iter().filter_map(|effect| effect.strip_prefix("tell "));
        bodies.map(|body| serde_json::from_str(body).unwrap()).collect()
    };
    let bob = world.knock("/r", None).0.unwrap();
    let joined = told(world.input(bob, answer("bob", true)));
    let id = world.protocol.visitors[&bob].member.as_ref().unwrap().id.clone();
    let notice = |event| {
        serde_json::json!({
            "event": event, "room": "r", "username": "bob", "peer_id": id, "at": "1970-01-12T13:46:40.000Z",
            "others": [{"username": "ann", "peer_id": ann}],
        })
    };
    assert_eq!(joined, [notice("join")]);
    assert_eq!(told(world.leave(bob)), [notice("leave")]);
    let never = world.knock("/r", None).0.unwrap();
    assert_eq!(told(world.leave(never)), [serde_json::Value::Null; 0]);
}

#[test]
fn any_input_in_any_order_is_survived() {
    let good = login("a", "b");
    let inputs = [
        &*good,
        "ping",
        r#"{"event":"e","to":"x"}"#,
        "{",
        r#"{"event":"e","to":"","from":"","to":""}"#,
        "[]",
    ];
    for seed in 0..64 {
        let mut world = world();
        world.survives(&inputs, seed);
    }
}

#[test]
fn editing_never_panics_and_never_leaves_a_second_from() {
    let members =
        [r#""to":"a""#, r#""from":1"#, r#""event":"e""#, r#" "x" : [{"to":1}] "#, r#""\u0074o":"b""#];
    for mask in 0..5_usize.pow(4) {
        let picked: Vec<&str> = (0..4).map(|digit| members[mask / 5_usize.pow(digit) % 5]).collect();
        let text = format!("{{{}}}", picked.join(","));
        let Some((message, _)) = addressed(text.as_bytes()) else { continue };
        let sent = sent_from(text.as_bytes(), &message, "me");
        let sent = json_edit::whole_value(&sent).unwrap();
        let named = |wanted| sent.members().filter(|(key, _)| key == wanted).count();
        assert_eq!((named("from"), named("to")), (1, 0), "{text}");
        assert_eq!(sent.member("from").unwrap().string().unwrap(), "me");
    }
}
