//! The RFC's answers to what does not hold, and how large the answers to strangers are on the wire: what SECURITY.md says is
//! compared with what is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use xrtc::auth::mint;
use xrtc::config::Secret;
use xrtc::stun::{AttributeType, Builder, Class, Message, Method};
use xrtc::turn::wire::{attribute, method};

use crate::turn_support::*;
use crate::world::*;

const TURN: &str =
    "realm: example.org, allow_peers: [127.0.0.1], auth: {users: {john: s3cr3t, jane: pw}, secrets: [rest]}";

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn wrong_credentials_are_challenged_again_and_counted_by_what_is_wrong() {
    let world = World::new(TURN);
    assert_eq!(world.refused("john", "wrong"), 401);
    assert_eq!(world.refused("nobody", "s3cr3t"), 401);
    let late = mint(&Secret::new("rest"), "alice", unix_now() - 1);
    assert_eq!(world.refused(&late.username, late.password.expose()), 401);
    let forged = mint(&Secret::new("another"), "alice", unix_now() + 60);
    assert_eq!(world.refused(&forged.username, forged.password.expose()), 401);
    let good = mint(&Secret::new("rest"), "alice", unix_now() + 60);
    world.allocated(&good.username, good.password.expose());
    for (result, times) in [("wrong_password", 2), ("unknown_user", 1), ("expired", 1), ("ok", 1)] {
        world.metric(&format!("xrtc_turn_auth_total{{service=\"turn0\",result=\"{result}\"}}"), times);
    }
    world.metric("xrtc_turn_allocations{service=\"turn0\"}", 1);
}

#[test]
fn a_refusal_brings_what_it_takes_to_come_again() {
    let world = World::new(TURN);
    let mut client = world.client();
    let signer = client.challenged("john", "wrong");
    let answer = ask(&client.socket, &allocate(50, Some(&signer)));
    let message = Message::parse(&answer).unwrap();
    assert_eq!((message.class(), message.method(), code(&answer)), (Class::Error, method::ALLOCATE, 401));
    let (realm, nonce) = challenged(&answer);
    assert_eq!(realm, "example.org");
    // Whoever gets the password right with it is in.
    let signer = Signer::new("john", "s3cr3t", &realm, &nonce);
    assert_eq!(code(&ask(&client.socket, &allocate(51, Some(&signer)))), 0);
}

#[test]
fn a_nonce_that_is_old_or_somebody_elses_is_stale_and_renewed() {
    let world = World::new(TURN);
    let (mut one, mut other) = (world.client(), world.client());
    let of_other = other.challenged("john", "s3cr3t");
    for signer in [of_other, { Signer { nonce: b"made up".to_vec(), ..one.challenged("john", "s3cr3t") } }] {
        let number = one.number();
        let answer = ask(&one.socket, &allocate(number, Some(&signer)));
        assert_eq!(code(&answer), 438);
        let (realm, nonce) = challenged(&answer);
        let again = Signer::new("john", "s3cr3t", &realm, &nonce);
        let number = one.number();
        let code = code(&ask(&one.socket, &allocate(number, Some(&again))));
        assert!(matches!(code, 0 | 437), "{code}");
    }
}

#[test]
fn transactions_and_users_are_kept_apart() {
    let world = World::new(TURN);
    let (mut client, relay) = world.allocated("john", "s3cr3t");
    let signer = client.signer();
    // The same transaction again is a retransmission, another one a mistake (RFC 8656 §7.2).
    let again = ask(&client.socket, &allocate(3, Some(&signer)));
    assert_eq!(Message::parse(&again).unwrap().xor_address(attribute::XOR_RELAYED_ADDRESS), Some(relay));
    assert_eq!(code(&ask(&client.socket, &allocate(77, Some(&signer)))), 437);
    let jane = client.challenged_as("jane", "pw");
    assert_eq!(code(&ask(&client.socket, &request(method::REFRESH, 78, &[lifetime(600)], Some(&jane)))), 441);
    // Nobody can answer for the server, and what answers nothing changes nothing.
    for class in [Class::Success, Class::Error] {
        let mut bytes = vec![0; 100];
        let len = Builder::new(&mut bytes, class, method::REFRESH, id(3)).finish().unwrap();
        assert!(is_silent(&client.socket, &bytes[..len]));
    }
    assert_eq!(client.refresh(600), 0);
    // Somebody else's 5-tuple has no allocation, whatever it signs.
    let mut stranger = world.client();
    let signer = stranger.challenged("john", "s3cr3t");
    let refresh = request(method::REFRESH, 9, &[lifetime(0)], Some(&signer));
    assert_eq!(code(&ask(&stranger.socket, &refresh)), 0, "what is gone is gone");
    assert_eq!(client.refresh(600), 0, "and the other one's goes on");
    let permit = with_peers(method::CREATE_PERMISSION, 10, &["9.9.9.9:9".parse().unwrap()], &[], &signer);
    assert_eq!(code(&ask(&stranger.socket, &permit)), 437);
}

/// Every question of the table in SECURITY.md that a socket can ask, by the words of its first column.
fn questions() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let unknown = (AttributeType(0x7abc), vec![]);
    let fingerprint = |method: Method, attributes: Attributes<'_>| {
        let mut bytes = vec![0; 200];
        let mut builder = Builder::new(&mut bytes, Class::Request, method, id(5));
        for (typ, value) in attributes {
            builder = builder.attribute(*typ, value);
        }
        let len = builder.fingerprint().finish().unwrap();
        bytes.truncate(len);
        bytes
    };
    let signer = Signer::new("u", "p", "r", b"n");
    let plain = |method, attributes: Attributes<'_>| request(method, 5, attributes, None);
    BTreeMap::from([
        ("Binding", vec![plain(Method::BINDING, &[])]),
        ("Binding with FINGERPRINT", vec![fingerprint(Method::BINDING, &[])]),
        ("Binding, one unknown attribute", vec![plain(Method::BINDING, &[unknown])]),
        ("Allocate, as Chromium sends it", vec![plain(method::ALLOCATE, &[udp()])]),
        ("Allocate with LIFETIME", vec![plain(method::ALLOCATE, &[udp(), lifetime(600)])]),
        ("Allocate with FINGERPRINT", vec![fingerprint(method::ALLOCATE, &[udp()])]),
        (
            "Allocate with SOFTWARE (56 bytes in all)",
            vec![plain(method::ALLOCATE, &[udp(), (AttributeType::SOFTWARE, vec![b'x'; 24])])],
        ),
        (
            "Allocate, Refresh or ChannelBind without attributes (no client does that)",
            [method::ALLOCATE, method::REFRESH, method::CHANNEL_BIND].map(|it| plain(it, &[])).to_vec(),
        ),
        ("a nonce that is not ours", vec![allocate(5, Some(&signer))]),
    ])
}

/// The rows of the table: question, bytes asked, bytes answered, factor on the wire, factor of the payload.
fn table() -> Vec<[String; 5]> {
    let text = include_str!("../../SECURITY.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| question")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    rows.map(|row| cells(row).try_into().unwrap()).collect()
}

#[test]
fn what_the_security_page_says_is_what_goes_over_the_wire() {
    const HEADERS: f64 = 28.0;
    let world = World::new(TURN);
    let mut questions = questions();
    let table = table();
    assert!(!table.is_empty());
    for [what, asked, answered, wire, payload] in &table {
        for question in questions.remove(what.as_str()).unwrap_or_else(|| panic!("nobody asks {what:?}")) {
            let socket = socket_to(world.turn);
            assert_eq!(*asked, question.len().to_string(), "{what}");
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket.send(&question).unwrap();
            let len = receive(&socket).map(|answer| answer.len());
            assert!(receive(&socket).is_none(), "{what}: one question, one answer");
            let said = [&**answered, wire, payload].map(str::to_owned);
            let Some(len) = len else {
                assert_eq!(said, ["none", "0", "0"], "{what}");
                continue;
            };
            let (question, answer) = (question.len() as f64, len as f64);
            let factor = (answer + HEADERS) / (question + HEADERS);
            assert!(factor <= 1.5, "{what}: {factor}");
            let measured = [len.to_string(), format!("{factor:.2}"), format!("{:.2}", answer / question)];
            assert_eq!(said, measured, "{what}");
        }
    }
    assert!(questions.is_empty(), "not in the table: {:?}", questions.keys());
}
