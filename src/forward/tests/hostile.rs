//! Bytes from strangers: nothing is answered, nothing moves, nothing panics. A panic means a bug here, never bad input.

use std::net::SocketAddr;

use super::world::{DTLS, MEDIA, World, client_addr};
use crate::forward::{DropReason, Received, Verdict, Via};
use crate::stun::{Key, Message};

fn stranger() -> SocketAddr {
    "192.0.2.66:6666".parse().expect("addr")
}

#[test]
fn a_forged_check_is_dropped_for_what_is_wrong_with_it() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    let wrong = w.check_bytes(&registration, "not the password at all");
    assert_eq!(w.client_sends(stranger(), &wrong), Verdict::Drop(DropReason::BadIntegrity));

    let mut unknown = w.registration(99, 0, registration.role, &[]);
    unknown.edge.pwd = registration.edge.pwd.clone();
    let unknown = w.check_bytes(&unknown, &registration.edge.pwd);
    assert_eq!(w.client_sends(stranger(), &unknown), Verdict::Drop(DropReason::UnknownUsername));

    let bare = {
        use crate::stun::{Builder, Class, Method};
        let mut buffer = [0; 256];
        let len = Builder::new(&mut buffer, Class::Request, Method::BINDING, [3; 12])
            .ufrags(&registration.edge.ufrag, &registration.client.ufrag)
            .priority(1)
            .finish()
            .expect("fits");
        buffer[..len].to_vec()
    };
    assert_eq!(w.client_sends(stranger(), &bare), Verdict::Drop(DropReason::MissingIntegrity));

    let genuine = w.check_bytes(&registration, &registration.edge.pwd);
    assert!(matches!(w.client_sends(client_addr(1), &genuine), Verdict::Reply { .. }));
    assert_eq!(w.client_sends(stranger(), &genuine), Verdict::Drop(DropReason::Replayed));

    assert_eq!(w.client_sends(stranger(), &DTLS), Verdict::Drop(DropReason::UnknownAddress));
    assert!(w.backends[backend].media.is_empty());
    w.backend_sends(backend, 0, &MEDIA);
    assert_eq!(w.to_clients, [(client_addr(1), MEDIA.to_vec())], "the victim's media goes on");
}

#[test]
fn an_old_replay_may_be_answered_but_gains_neither_media_nor_a_say() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    let old = w.check_bytes(&registration, &registration.edge.pwd);
    w.client_sends(client_addr(1), &old);
    for _ in 0..100 {
        w.check(&registration, client_addr(1), true);
    }
    w.client_sends(stranger(), &old);
    assert_eq!(w.client_sends(stranger(), &DTLS), Verdict::Drop(DropReason::UnprovenAddress));
    w.to_clients.clear();
    w.backend_sends(backend, 0, &MEDIA);
    assert_eq!(w.to_clients, [(client_addr(1), MEDIA.to_vec())]);
}

#[test]
fn a_stranger_on_the_backend_side_reaches_no_client() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    w.to_clients.clear();
    let received = Received { via: Via::Backend(0), from: stranger(), local: None };
    let mut reply = [0; 256];
    assert_eq!(
        w.forwarder.handle(w.now, received, &MEDIA, &mut reply),
        Verdict::Drop(DropReason::UnknownBackend)
    );
    let check = w.check_bytes(&registration, &registration.backend.pwd);
    assert!(matches!(w.forwarder.handle(w.now, received, &check, &mut reply), Verdict::Drop(_)));
    assert!(matches!(w.backend_sends(backend, 9, &MEDIA), Verdict::Drop(DropReason::UnknownBackend)));
    assert!(w.to_clients.is_empty());
}

#[test]
fn every_truncation_and_every_changed_byte_of_a_check_is_dropped() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    let check = w.check_bytes(&registration, &registration.edge.pwd);
    // The genuine one arrives first: a copy whose FINGERPRINT was turned into an unknown attribute behind
    // MESSAGE-INTEGRITY is still authentic (RFC 8489 §14.5), and caught as the replay that it is.
    w.client_sends(client_addr(1), &check);
    let mut failures = Vec::new();
    for len in 0..check.len() {
        if !matches!(w.client_sends(stranger(), &check[..len]), Verdict::Drop(_)) {
            failures.push(format!("first {len} bytes"));
        }
    }
    for at in 0..check.len() {
        for bit in 0..8 {
            let mut mutated = check.clone();
            mutated[at] ^= 1 << bit;
            if !matches!(w.client_sends(stranger(), &mutated), Verdict::Drop(_)) {
                failures.push(format!("byte {at} bit {bit}"));
            }
        }
    }
    assert!(failures.is_empty(), "not dropped: {failures:?}");
    assert!(w.backends[backend].media.is_empty());
    assert_eq!(w.forwarder.live_sessions(), 1);
}

#[test]
fn random_bytes_on_either_side_never_panic_and_never_pass() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    let template = w.check_bytes(&registration, &registration.edge.pwd);
    let mut random = super::world::random(99);
    for round in 0..20_000 {
        let mut head = [0; 4];
        random(&mut head);
        let mut bytes = vec![0; usize::from(head[0])];
        random(&mut bytes);
        if round % 3 == 0 {
            // Looks like STUN, down to the cookie.
            let keep = template.len().min(bytes.len()).min(usize::from(head[1]) % 28);
            bytes[..keep].copy_from_slice(&template[..keep]);
        }
        assert!(matches!(w.client_sends(stranger(), &bytes), Verdict::Drop(_)));
        let from_backend = w.backend_sends(backend, 0, &bytes);
        let media = bytes.first().is_some_and(|first| matches!(first, 20..=63 | 128..=191));
        assert_eq!(matches!(from_backend, Verdict::Forward(_)), media, "{bytes:?}");
    }
    assert_eq!(w.forwarder.live_sessions(), 1);
}

#[test]
fn an_answer_that_nobody_asked_for_proves_nothing() {
    use crate::stun;
    let mut w = World::new();
    let (registration, _) = w.connected(1);
    let key = Key::short_term(&registration.client.pwd);
    let mut buffer = [0; 256];
    let len = stun::binding_success(&mut buffer, [1; 12], client_addr(1), &key).expect("fits");
    assert!(Message::parse(&buffer[..len]).is_ok());
    assert_eq!(w.client_sends(stranger(), &buffer[..len]), Verdict::Drop(DropReason::UnknownAddress));
    assert_eq!(w.client_sends(client_addr(1), &buffer[..len]), Verdict::Drop(DropReason::UnexpectedStun));
}
