//! `enable_stun`: an ICE port that tells strangers their address, and is otherwise what it was.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use xrtc::stun::{AttributeType, Builder, Class, Key, Message, Method};

use crate::support::stream::{receive_frame, send_frame};
use crate::support::within;
use crate::turn_support::{code, id, request};
use crate::world::*;

fn binding(with: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 600];
    let len = with(Builder::new(&mut bytes, Class::Request, Method::BINDING, id(7))).finish().unwrap();
    bytes.truncate(len);
    bytes
}

fn asking() -> File {
    File { net: ", enable_stun: true".into(), ..File::new("realm: example.org") }
}

#[test]
fn a_stranger_is_told_his_address_and_nothing_more() {
    let world = World::with(&asking());
    let socket = socket_to(world.ice);
    let answer = ask(&socket, &binding(|it| it));
    assert_eq!(answer.len(), 32, "no larger than it must be");
    let told = Message::parse(&answer).unwrap();
    assert_eq!(told.transaction_id(), id(7));
    assert_eq!(told.xor_mapped_address(), Some(socket.local_addr().unwrap()));
    assert_eq!(told.attributes().count(), 1, "no SOFTWARE");

    let answer = ask(&socket, &binding(|it| it.attribute(AttributeType::SOFTWARE, b"me").fingerprint()));
    assert!(Message::parse(&answer).unwrap().has_fingerprint());
    let unknown = [(AttributeType(0x7abc), vec![])];
    assert_eq!(code(&ask(&socket, &request(Method::BINDING, 1, &unknown, None))), 420);
    world.metric("xrtc_stun_total{kind=\"plain_request\",result=\"ok\"}", 3);
}

#[test]
fn what_is_not_plain_stays_unanswered() {
    let world = World::with(&asking());
    let socket = socket_to(world.ice);
    let key = Key::short_term("a password that is not one");
    let plain = binding(|it| it);
    for (what, packet) in [
        (
            "a check of nobody",
            binding(|it| it.ufrags("nobody", "knows").priority(1).integrity(&key).fingerprint()),
        ),
        ("a user without integrity", binding(|it| it.ufrags("nobody", "knows"))),
        ("a check without a user", binding(|it| it.priority(1).ice_controlling(1))),
        ("integrity without a user", binding(|it| it.integrity(&key))),
        ("an Allocate", crate::turn_support::allocate(1, None)),
        ("a wrong fingerprint", {
            let mut bent = binding(|it| it.fingerprint());
            *bent.last_mut().unwrap() ^= 1;
            bent
        }),
        ("a cut header", plain[..19].to_vec()),
        ("a wrong length", [&plain[..], &[0; 4]].concat()),
        ("a response", [&[1, 1][..], &plain[2..]].concat()),
        ("an indication", [&[0, 0x11][..], &plain[2..]].concat()),
        ("no cookie", [&plain[..4], &[0; 4], &plain[8..]].concat()),
        ("noise", vec![0x5a; 200]),
    ] {
        assert!(is_silent(&socket, &packet), "{what}");
    }
    ask(&socket, &plain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_off_where_nobody_asked_for_it_and_follows_a_reload() {
    let off = File::new("realm: example.org");
    let world = World::with(&off);
    let socket = socket_to(world.ice);
    assert!(is_silent(&socket, &binding(|it| it)));
    world.reload(&asking()).await;
    ask(&socket, &binding(|it| it));
    world.reload(&off).await;
    assert!(is_silent(&socket, &binding(|it| it)));
}

#[test]
fn a_source_gets_what_its_budget_allows() {
    let rest = "limits: {stun_rate: 1, stun_burst: 5, exempt: []}\n".into();
    let world = World::with(&File { rest, ..asking() });
    let socket = socket_to(world.ice);
    for _ in 0..40 {
        socket.send(&binding(|it| it)).unwrap();
    }
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let answers = std::iter::from_fn(|| receive(&socket)).count();
    assert!((5..=7).contains(&answers), "{answers}");
    world.metric("xrtc_drops_total{reason=\"source_over_budget\"}", 30);
}

/// In frames, as ICE-TCP has them. It proves nothing, so the connection ends as one without a check does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_too_and_that_keeps_no_connection_open() {
    let world = World::with(&asking());
    let mut stream = tokio::net::TcpStream::connect(world.web).await.unwrap();
    let opened = Instant::now();
    let local = stream.local_addr().unwrap();
    for _ in 0..4 {
        send_frame(&mut stream, &binding(|it| it)).await;
        let answer = within(5, "an answer", receive_frame(&mut stream)).await;
        assert_eq!(Message::parse(&answer).unwrap().xor_mapped_address(), Some(local));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(within(10, "the end", stream.read(&mut [0; 10])).await.unwrap_or(0), 0);
    assert!((9..13).contains(&opened.elapsed().as_secs()), "{:?}", opened.elapsed());
}
