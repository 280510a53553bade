use super::*;
use crate::config::Secret;
use crate::signalling::world_tests::{LIMITS, World};

fn rules() -> BlueprintsRules {
    BlueprintsRules { token: None, keepalive: Duration::from_secs(30), turn: None }
}

fn world() -> World<Blueprints> {
    World::new(Blueprints::new(&rules(), &LIMITS))
}

const GET: &str = r#"{"type":"GETROOM","value":""}"#;
const WRONG: &str = r#"{"type":"WRONGROOM"}"#;

fn enter(number: u32) -> String {
    format!(r#"{{"type":"ENTERROOM","value":{number}}}"#)
}

fn create(world: &mut World<Blueprints>, peer: PeerKey) -> u32 {
    let reply = world.say(peer, GET);
    let start = format!(r#"{}: {{"type":"GETROOM","value":"#, peer.0);
    let number = reply[0].strip_prefix(&start).unwrap().strip_suffix('}').unwrap();
    let number = number.parse().unwrap();
    assert!((1..=999_999).contains(&number));
    number
}

/// Two in a room.
fn call() -> (World<Blueprints>, PeerKey, PeerKey, u32) {
    let mut world = world();
    let (creator, joiner) = (world.connect(), world.connect());
    let number = create(&mut world, creator);
    assert_eq!(world.say(joiner, &enter(number)), [""; 0], "success is silent");
    (world, creator, joiner, number)
}

#[test]
fn two_in_a_room_get_each_other_s_messages_byte_for_byte() {
    let (mut world, creator, joiner, _) = call();
    for text in [
        r#"{"type":"offer","sdp":"v=0\r\n"}"#,
        r#" { "sdp" : "x", "type":"answer" , "n":9007199254740993 } "#,
        r#"{"type":"candidate","label":0,"id":"0","candidate":"a\u00e9\/"}"#,
        r#"{"type":"CHATMSG","value":"hé"}"#,
        r#"{"no":"type"}"#,
        r#"{"type":7}"#,
        r#"{"type":"getroom"}"#,
        r#"{"type":"GETROOM","type":"x"}"#,
    ] {
        assert_eq!(world.say(joiner, text), [format!("{}: {text}", creator.0)]);
        assert_eq!(world.say(creator, text), [format!("{}: {text}", joiner.0)]);
    }
}

#[test]
fn keys_may_stand_in_any_order_and_numbers_in_quotes() {
    for form in [
        r##"{"value":#,"type":"ENTERROOM"}"##,
        r##"{"type":"ENTERROOM","value":"#"}"##,
        r##"{"type":"ENTERROOM","value":" # "}"##,
        r##"{"\u0074ype":"ENTERROOM","value":#,"more":[{}]}"##,
    ] {
        let mut world = world();
        let (creator, joiner) = (world.connect(), world.connect());
        let number = create(&mut world, creator);
        assert_eq!(world.say(joiner, &form.replace('#', &number.to_string())), [""; 0], "{form}");
        assert_eq!(world.say(joiner, r#"{"type":"x"}"#).len(), 1, "{form}");
    }
}

#[test]
fn a_room_that_nobody_or_two_are_in_is_the_wrong_one() {
    let (mut world, _, _, number) = call();
    let third = world.connect();
    let wrong = [format!("{}: {WRONG}", third.0)];
    assert_eq!(world.say(third, &enter(number)), wrong);
    for value in ["null", "true", "1.5", "-1", "[]", r#""""#, r#""x""#, "99999999999", "0", "1000000"] {
        let text = format!(r#"{{"type":"ENTERROOM","value":{value}}}"#);
        assert_eq!(world.say(third, &text), wrong, "{value}");
    }
    assert_eq!(world.say(third, r#"{"type":"ENTERROOM"}"#), wrong);
    assert_eq!(world.say(third, r#"{"type":"offer"}"#), [""; 0], "before a room, messages are dropped");
    create(&mut world, third);
}

#[test]
fn who_moves_leaves_the_room_he_was_in() {
    let (mut world, creator, joiner, first) = call();
    let second = create(&mut world, creator);
    assert_ne!(first, second);
    assert_eq!(world.say(creator, r#"{"type":"x"}"#), [""; 0], "alone in the new room");
    let third = world.connect();
    assert_eq!(world.say(third, &enter(first)), [""; 0], "the place in the first one is free");
    assert_eq!(world.say(joiner, r#"{"type":"x"}"#), [format!(r#"{}: {{"type":"x"}}"#, third.0)]);
    // Wrong room: stays; the own room: stays.
    assert_eq!(world.say(joiner, &enter(999_999)), [format!("{}: {WRONG}", joiner.0)]);
    assert_eq!(world.say(creator, &enter(second)), [format!("{}: {WRONG}", creator.0)]);
    assert_eq!(world.say(third, r#"{"type":"y"}"#), [format!(r#"{}: {{"type":"y"}}"#, joiner.0)]);
    // Another one that has place: moves.
    assert_eq!(world.say(third, &enter(second)), [""; 0]);
    assert_eq!(world.say(third, r#"{"type":"z"}"#), [format!(r#"{}: {{"type":"z"}}"#, creator.0)]);
}

#[test]
fn a_leaver_is_not_announced_and_his_place_is_free() {
    let (mut world, creator, joiner, number) = call();
    assert_eq!(world.leave(creator), [""; 0]);
    let next = world.connect();
    assert_eq!(world.say(next, &enter(number)), [""; 0]);
    assert_eq!(world.say(next, r#"{"type":"x"}"#), [format!(r#"{}: {{"type":"x"}}"#, joiner.0)]);
    world.leave(next);
    world.leave(joiner);
    let late = world.connect();
    assert_eq!(
        world.say(late, &enter(number)),
        [format!("{}: {WRONG}", late.0)],
        "the number is unknown now"
    );
}

#[test]
fn what_is_no_json_object_is_ignored() {
    let (mut world, creator, _, _) = call();
    for text in
        ["", "{", "[]", "7", r#""x""#, "null", "{}x", r#"{"type":"a"},"#, "{'type':'a'}", "\u{feff}{}"]
    {
        assert_eq!(world.say(creator, text), [""; 0], "{text:?}");
    }
    assert_eq!(world.binary(creator, b"{}"), [""; 0]);
    assert_eq!(world.say(creator, "{}").len(), 1, "an object without a type is forwarded");
}

#[test]
fn no_free_number_is_answered_with_the_wrong_room() {
    let limits = RoomLimits { rooms: 1, ..LIMITS };
    let mut world = World::new(Blueprints::new(&rules(), &limits));
    let (one, two) = (world.connect(), world.connect());
    create(&mut world, one);
    assert_eq!(world.say(two, GET), [format!("{}: {WRONG}", two.0)]);
    create(&mut world, one);
    assert_eq!(world.protocol.size(), Size { rooms: 1, people: 1 }, "one's own empty room makes place");
}

#[test]
fn numbers_are_unpredictable_and_not_in_use() {
    let mut world = world();
    let mut numbers: Vec<u32> = (0..50)
        .map(|_| {
            let peer = world.connect();
            create(&mut world, peer)
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50);
}

#[test]
fn with_turn_both_get_credentials_that_the_turn_service_takes() {
    let turn = TurnCredentials {
        url: "turn:host:3478?transport=udp".into(),
        secret: Secret::new("north"),
        lifetime: Duration::from_secs(60),
    };
    let rules = BlueprintsRules { turn: Some(turn), ..rules() };
    let mut world = World::new(Blueprints::new(&rules, &LIMITS));
    let (creator, joiner) = (world.connect(), world.connect());
    let object = |texts: Vec<String>| -> serde_json::Value {
        let [text] = &texts[..] else { panic!("{texts:?}") };
        serde_json::from_str(text.split_once(": ").unwrap().1).unwrap()
    };
    let created = object(world.say(creator, GET));
    let number = created["value"].as_u64().unwrap();
    let entered = object(world.say(joiner, &enter(number as u32)));
    assert_eq!(entered.get("value"), None);
    for reply in [&created, &entered] {
        assert_eq!(
            (&reply["type"], &reply["url"]),
            (&"GETROOM".into(), &"turn:host:3478?transport=udp".into())
        );
        let username = reply["username"].as_str().unwrap();
        let (expiry, id) = username.split_once(':').unwrap();
        assert_eq!((expiry, id.len()), ("1000060", 16));
        let again = mint(&Secret::new("north"), id, 1_000_060);
        assert_eq!(reply["credential"], again.password.expose());
    }
    let third = world.connect();
    assert_eq!(world.say(third, &enter(number as u32)), [format!("{}: {WRONG}", third.0)]);
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let rules = BlueprintsRules { token: Some(Secret::new("t")), ..rules() };
    let mut world = World::new(Blueprints::new(&rules, &LIMITS));
    assert_eq!(world.knock("/", Some("token=u")).0, Err(Refusal::Unauthorized));
    assert!(world.knock("/", Some("token=t")).0.is_ok());
}

#[test]
fn it_pings_every_half_minute_and_gives_up_after_two_minutes() {
    let keepalive = world().protocol.keepalive();
    assert_eq!(keepalive.ping, Some(Ping::Every(Duration::from_secs(30))));
    assert_eq!(keepalive.silence, Some(Duration::from_secs(120)));
}

#[test]
fn any_input_in_any_order_is_survived() {
    let inputs = [
        GET,
        GET,
        r#"{"type":"ENTERROOM","value":1}"#,
        r#"{"type":"ENTERROOM","value":"x"}"#,
        r#"{"type":"offer"}"#,
        "{}",
        "[",
        r#"{"type":"ENTERROOM","value":198403}"#,
    ];
    for seed in 0..64 {
        world().survives(&inputs, seed);
    }
}
