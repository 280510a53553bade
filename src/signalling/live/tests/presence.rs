//! Who leaves, who loses the connection, and who comes back.

use super::*;

fn lost() -> Departure {
    Departure::Lost(Vec::new())
}

#[test]
fn who_says_goodbye_has_left_at_once() {
    for code in [1000, 1001, 1005] {
        let mut stage = Stage::new();
        let (ann, ann_id) = stage.join("ann", "r");
        let (bob, _) = stage.join("bob", "r");
        stage.gone(ann, Departure::Left(code));
        let heard = stage.heard(bob);
        assert_eq!(names(&heard), ["eventLeave", "eventUserMediaConfiguration"]);
        let left = json!({"roomId": "r", "roomSize": 1, "socketId": ann_id, "userId": "ann"});
        assert_eq!(heard[0]["d"], left);
        assert_eq!(stage.notices(), [("room.leave", left)]);
    }
}

#[test]
fn the_last_one_who_leaves_ends_the_room() {
    let mut stage = Stage::new();
    let (ann, _) = stage.join("ann", "r");
    assert_eq!(stage.live.size(), Size { rooms: 1, people: 1 });
    stage.gone(ann, Departure::Closed);
    assert_eq!(stage.live.size(), Size::default());
    assert_eq!(stage.live.rooms(), []);
}

#[test]
fn who_loses_the_connection_may_come_back_within_half_a_minute() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, bob_id) = stage.join("bob", "r");
    stage.gone(ann, Departure::Lost(vec![Bytes::from_static(br#"{"a":"first"}"#)]));
    assert_eq!(stage.heard(bob), [Value::Null; 0], "the others see nothing of it");
    assert_eq!(stage.live.size().people, 2);
    stage.ask(bob, "sendMessage", json!({"to": ann_id, "message": "second"}));
    assert_eq!(stage.heard(bob)[0]["s"], true);
    stage.later(29);
    let again = stage.connect();
    stage.ask(again, "reconnect", json!({"socketId": ann_id}));
    let heard = stage.heard(again);
    assert_eq!(names(&heard), ["reconnectR", "first", "eventMessage"]);
    assert_eq!(heard[0], json!({"a": "reconnectR", "s": true, "d": {"roomSize": 2}}));
    stage.later(30);
    assert_eq!(stage.live.size().people, 2);
    stage.ask(again, "sendMessage", json!({"to": bob_id, "message": 1}));
    assert_eq!(names(&stage.heard(bob)), ["eventMessage"]);
}

#[test]
fn who_does_not_come_back_has_left() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, _) = stage.join("bob", "r");
    stage.gone(ann, lost());
    stage.later(30);
    assert_eq!(names(&stage.heard(bob)), ["eventLeave", "eventUserMediaConfiguration"]);
    let late = stage.connect();
    for id in [&*ann_id, "nobody"] {
        stage.ask(late, "reconnect", json!({"socketId": id}));
        assert_eq!(stage.error(late), 1317);
    }
    stage.ask(late, "reconnect", json!({}));
    assert_eq!(stage.error(late), 1283);
}

#[test]
fn an_abnormal_close_is_a_loss_too() {
    let mut stage = Stage::new();
    let (ann, _) = stage.join("ann", "r");
    stage.gone(ann, Departure::Left(1011));
    assert_eq!(stage.live.size().people, 1);
}

#[test]
fn a_new_connection_takes_over_an_old_one_that_still_seems_alive() {
    let mut stage = Stage::new();
    let (ann, id) = stage.join("ann", "r");
    let again = stage.connect();
    stage.ask(again, "reconnect", json!({"socketId": id}));
    assert_eq!(names(&stage.heard(again)), ["reconnectR"]);
    assert_eq!(stage.closed(ann), Some(1000));
    stage.gone(ann, Departure::Lost(vec![Bytes::from_static(br#"{"a":"late"}"#)]));
    assert_eq!(names(&stage.heard(again)), ["late"], "what the old one did not take");
    assert_eq!(stage.live.size().people, 1);
    stage.ask(again, "reconnect", json!({"socketId": id}));
    assert_eq!(stage.error(again), 1315);
}

#[test]
fn what_waits_for_somebody_is_bounded() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, _) = stage.join("bob", "r");
    stage.gone(ann, lost());
    let message = "x".repeat(60_000);
    let mut codes = Vec::new();
    for _ in 0..40 {
        stage.ask(bob, "sendMessage", json!({"to": ann_id, "message": message}));
        codes.push(stage.heard(bob)[0]["e"].as_u64());
    }
    assert_eq!((codes[0], codes[39]), (None, Some(1321)), "what has no place is said to the sender");
    stage.effects.clear();
    let again = stage.connect();
    stage.ask(again, "reconnect", json!({"socketId": ann_id}));
    let heard = stage.heard(again);
    assert!((10..=18).contains(&heard.len()), "{}", heard.len());
}

#[test]
fn the_operator_takes_out_who_has_lost_the_connection_too() {
    let mut stage = Stage::new();
    let (ann, ann_id) = stage.join("ann", "r");
    let (bob, bob_id) = stage.join("bob", "r");
    stage.gone(ann, lost());
    assert!(!stage.act(|live, cx| Protocol::evict(live, cx, &bob_id)), "who is here is closed instead");
    assert!(stage.act(|live, cx| Protocol::evict(live, cx, &ann_id)));
    assert_eq!(names(&stage.heard(bob)), ["eventLeave", "eventUserMediaConfiguration"]);
    let again = stage.connect();
    stage.ask(again, "reconnect", json!({"socketId": ann_id}));
    assert_eq!(stage.error(again), 1317);
}

#[test]
fn those_who_stay_are_told_of_larger_pictures() {
    let names = ["a", "b", "c", "d", "e"];
    let users = names.map(|name| (name.to_owned(), Secret::new(name)));
    let auth = Auth { users: users.to_vec(), ..Auth::default() };
    let mut stage = Stage::with(&LiveRules { auth, ..rules() }, limits(8, 0));
    let peers = names.map(|name| stage.join(name, "r").0);
    let told = |stage: &mut Stage| {
        let heard = stage.heard(peers[0]);
        let video = &heard.iter().find(|it| it["a"] == "eventUserMediaConfiguration").unwrap()["d"]["video"];
        (video["width"]["max"].clone(), video["height"]["max"].clone())
    };
    // Of those who stay, each sees all but itself: three, then two.
    for (peer, width, height) in [(peers[4], "320", "290"), (peers[3], "640", "580")] {
        stage.gone(peer, Departure::Closed);
        assert_eq!(told(&mut stage), (json!(width), json!(height)));
    }
}

#[test]
fn it_pings_every_five_seconds_and_gives_up_after_fifteen() {
    let keepalive = Stage::new().live.keepalive();
    assert_eq!(keepalive.ping, Some(Ping::Every(Duration::from_secs(5))));
    assert_eq!(keepalive.silence, Some(Duration::from_secs(15)));
    assert_eq!(keepalive.write_timeout, Duration::from_secs(10));
}
