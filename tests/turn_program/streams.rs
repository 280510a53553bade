//! TURN over TCP and TLS: messages in pieces of any size, connections that end while somebody is asked about them, and many
//! messages at once.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use xrtc::stun::Message;
use xrtc::turn::wire::{attribute, channel_header, method};

use crate::support::registered::{BACKEND_PWD, Peer, SILENCE, register, request as request_of_ice};
use crate::support::stream::blocking_tls;
use crate::turn_support::*;
use crate::world::*;

#[test]
fn messages_in_pieces_of_any_size_are_put_together() {
    let world = World::new("realm: example.org, allow_peers: [127.0.0.1], auth: {password: pw}");
    for piece in [1, 3, 50, usize::MAX] {
        goes_through_in_pieces(&mut world.stream(), piece);
        goes_through_in_pieces(&mut blocking_tls(world.stream()), piece);
    }
}

fn goes_through_in_pieces(stream: &mut (impl Read + Write), piece: usize) {
    let (realm, nonce) = challenged(&ask_over(stream, &allocate(1, None)));
    let signer = Signer::new("ann", "pw", &realm, &nonce);
    let mut say = |bytes: &[u8]| bytes.chunks(piece).for_each(|part| stream.write_all(part).unwrap());
    say(&allocate(2, Some(&signer)));
    let answer = next_message(stream);
    let relay = Message::parse(&answer).unwrap().xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap();
    let peer = socket_to(relay);
    let to = peer.local_addr().unwrap();
    let payloads = [&b"hello"[..], b"", b"four", &[7; 1201]];
    let mut all = with_peers(method::CHANNEL_BIND, 3, &[to], &[channel(0x4000)], &signer);
    for payload in payloads {
        all.extend(padded(payload));
    }
    all.extend(request(method::REFRESH, 4, &[lifetime(600)], Some(&signer)));
    let mut say = |bytes: &[u8]| bytes.chunks(piece).for_each(|part| stream.write_all(part).unwrap());
    say(&all);
    for number in [3, 4] {
        let answer = next_message(stream);
        assert_eq!((code(&answer), Message::parse(&answer).unwrap().transaction_id()), (0, id(number)));
    }
    for payload in payloads {
        assert_eq!(receive(&peer).unwrap(), payload);
        peer.send(payload).unwrap();
        assert_eq!(next_message(stream), padded(payload), "{} bytes back", payload.len());
    }
}

/// As it goes over a stream (RFC 8656 §12.5).
fn padded(payload: &[u8]) -> Vec<u8> {
    let mut message = [&channel_header(0x4000, payload.len())[..], payload].concat();
    message.resize(message.len().next_multiple_of(4), 0);
    message
}

/// STUN or ChannelData, with its padding.
fn next_message(stream: &mut impl Read) -> Vec<u8> {
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).unwrap();
    let said = usize::from(u16::from_be_bytes([message[2], message[3]]));
    let header = if message[0] < 0x40 { 20 } else { 4 };
    message.resize(header + said.next_multiple_of(4), 0);
    stream.read_exact(&mut message[4..]).unwrap();
    message
}

/// Nobody would end it before its time: its connection is gone already.
#[test]
fn a_client_that_left_before_the_webhook_answered_gets_no_allocation() {
    let hook = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/auth", hook.local_addr().unwrap());
    let (asked, is_asked) = mpsc::channel();
    let (may_answer, answer) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        for mut stream in hook.incoming().flatten() {
            let _ = stream.read(&mut [0; 2048]);
            asked.send(()).unwrap();
            let _ = answer.recv();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"password\":\"pw\"}");
        }
    });
    let world = World::new(&format!("realm: example.org, auth: {{webhook: \"{url}\"}}"));
    let mut stream = world.stream();
    let (realm, nonce) = challenged(&ask_over(&mut stream, &allocate(1, None)));
    let signer = Signer::new("ann", "pw", &realm, &nonce);
    stream.write_all(&allocate(2, Some(&signer))).unwrap();
    is_asked.recv_timeout(Duration::from_secs(5)).unwrap();
    drop(stream);
    until("the end of the connection", || world.log().contains("TURN connection ended"));
    drop(may_answer);
    // The answer is known for her by now, and for the other connection before.
    world.allocated("ann", "pw");
    world.metric("xrtc_turn_allocations{service=\"turn0\"}", 1);
    assert_eq!(world.json("/api/turn")["services"][0]["allocated"], 1);
}

/// What leads to the ICE port by a relay is the relay's alone: the next one may be another client's.
#[test]
fn a_new_relay_does_not_speak_for_the_one_that_was_closed_a_moment_ago() {
    let world = World::new("realm: example.org, allow_peers: [127.0.0.1], auth: {password: pw}");
    for session in 1..=10 {
        let backend = Peer::new();
        register(world.web, BACKEND_PWD, &[backend.candidate()]);
        let check = |number| request_of_ice("aFrg", "oFrg", BACKEND_PWD, number);
        let mut stream = world.stream();
        let (realm, nonce) = challenged(&ask_over(&mut stream, &allocate(1, None)));
        let signer = Signer::new("ann", "pw", &realm, &nonce);
        let by_a_relay = |number, check: &[u8]| {
            let permit = with_peers(method::CREATE_PERMISSION, number + 1, &[world.ice], &[], &signer);
            [allocate(number, Some(&signer)), permit, send(world.ice, check)].concat()
        };
        stream.write_all(&by_a_relay(2, &check(1))).unwrap();
        let (_, from) = backend.next();
        // All in one piece, so that mostly nothing else is done in between.
        let end = request(method::REFRESH, 4, &[lifetime(0)], Some(&signer));
        stream.write_all(&[end, by_a_relay(5, &check(2))].concat()).unwrap();
        while let Some((packet, again)) = backend.waits(SILENCE) {
            assert!(packet != check(2) || again != from, "it came as if from the first relay");
        }
        drop(stream);
        until("the end of the session", || world.log().matches("INFO ended session=").count() == session);
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
