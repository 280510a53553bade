//! The ordinary life of sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{DTLS, MEDIA, World, client_addr, random};
use crate::forward::{DropReason, Forwarder, Received, Setup, Verdict, Via};
use crate::session::registration::{
    BackendCandidate, CandidateTransport, Command, EndReason, Role, SessionEventKind, SessionId,
};

#[test]
fn media_flows_both_ways_after_both_legs_are_validated() {
    let mut w = World::new();
    let (_, backend) = w.connected(1);
    assert_eq!(w.was_connected(), 1);
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
    assert!(matches!(w.client_sends(client_addr(1), &DTLS), Verdict::Forward(_)));
    assert_eq!(w.backends[backend].media, [MEDIA.to_vec(), DTLS.to_vec()]);
    assert!(matches!(w.backend_sends(backend, 0, &MEDIA), Verdict::Forward(_)));
    assert_eq!(w.to_clients, [(client_addr(1), MEDIA.to_vec())]);
    let counters = w.forwarder.counters();
    assert_eq!((counters.up_packets, counters.up_bytes), (2, 100));
    assert_eq!((counters.down_packets, counters.down_bytes), (1, 40));
}

#[test]
fn the_backend_may_be_the_one_that_controls() {
    let mut w = World::new();
    let addr: SocketAddr = "10.0.0.2:20001".parse().expect("addr");
    let registration = w.register(w.registration(1, 0, Role::Controlled, &[addr]));
    w.backend(&registration, addr);
    w.check(&registration, client_addr(1), true);
    w.run(Duration::from_millis(500));
    assert_eq!(w.was_connected(), 1);
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
}

#[test]
fn sessions_share_a_backend_socket_and_are_told_apart_by_the_backends_address() {
    let mut w = World::new();
    let sessions: Vec<_> = (1..=50).map(|n| w.connected(n)).collect();
    assert_eq!(w.opened, 1);
    for (n, (_, backend)) in (1..).zip(&sessions) {
        let mine = [0x80, n as u8, 3];
        assert!(matches!(w.client_sends(client_addr(n), &mine), Verdict::Forward(_)));
        assert_eq!(w.backends[*backend].media, [mine]);
        w.backend_sends(*backend, 0, &mine);
        assert_eq!(w.to_clients.pop(), Some((client_addr(n), mine.to_vec())));
    }
}

#[test]
fn a_backend_that_muxes_on_one_port_gets_a_socket_per_session() {
    let mut w = World::new();
    let addr: SocketAddr = "10.0.0.2:5000".parse().expect("addr");
    for n in 1..=5 {
        let registration = w.register(w.registration(n, 0, Role::Controlling, &[addr]));
        w.check(&registration, client_addr(n as u16), true);
    }
    assert_eq!(w.opened, 5);
    w.command(Command::End(SessionId(3), EndReason::Hangup));
    assert_eq!(w.open_sockets(), 4, "the socket that nobody needs is closed");
    let registration = w.register(w.registration(6, 0, Role::Controlling, &[addr]));
    w.check(&registration, client_addr(6), true);
    assert_eq!(w.open_sockets(), 5);
}

#[test]
fn candidates_may_trickle_in_before_and_after_the_first_check() {
    for early in [true, false] {
        let mut w = World::new();
        let addr: SocketAddr = "10.0.0.2:20001".parse().expect("addr");
        let registration = w.register(w.registration(1, 0, Role::Controlling, &[]));
        w.backend(&registration, addr);
        let candidate =
            BackendCandidate { transport: CandidateTransport::Udp, addr, priority: 2_015_363_327 };
        let trickle = Command::AddCandidates(SessionId(1), Arc::from([candidate]));
        if early {
            w.command(trickle.clone());
        }
        w.check(&registration, client_addr(1), true);
        if !early {
            assert_eq!(w.client_sends(client_addr(1), &MEDIA), Verdict::Drop(DropReason::BackendNotReady));
            w.command(trickle);
        }
        w.run(Duration::from_millis(300));
        assert_eq!(w.was_connected(), 1, "early: {early}");
    }
}

#[test]
fn a_roaming_client_is_followed_once_the_new_address_has_answered() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    let new = client_addr(777);
    assert!(matches!(w.check(&registration, new, true), Verdict::Reply { .. }));
    assert_eq!(w.client_sends(new, &MEDIA), Verdict::Drop(DropReason::UnprovenAddress));
    w.backend_sends(backend, 0, &DTLS);
    assert!(w.to_clients.contains(&(client_addr(1), DTLS.to_vec())), "not moved yet");
    assert_eq!(w.answer_probes(&registration, new), 1);
    assert!(matches!(w.client_sends(new, &MEDIA), Verdict::Forward(_)));
    w.backend_sends(backend, 0, &MEDIA);
    assert_eq!(w.to_clients.pop(), Some((new, MEDIA.to_vec())));
    assert!(
        w.events.iter().any(|event| matches!(event, SessionEventKind::Migrated { to, .. } if *to == new))
    );
}

#[test]
fn a_client_that_falls_silent_takes_its_session_with_it() {
    let mut w = World::new();
    w.connected(1);
    w.run(Duration::from_secs(29));
    assert_eq!(w.forwarder.live_sessions(), 1);
    w.run(Duration::from_secs(12));
    assert_eq!((w.forwarder.live_sessions(), w.forwarder.known_sessions()), (0, 0));
    assert_eq!(w.ends(), ["client_silent"]);
    assert_eq!(w.open_sockets(), 0);
    assert_eq!(w.client_sends(client_addr(1), &MEDIA), Verdict::Drop(DropReason::UnknownAddress));
}

#[test]
fn a_backend_that_dies_ends_the_session() {
    let mut w = World::new();
    let (registration, backend) = w.connected(1);
    w.backends[backend].dead = true;
    for _ in 0..60 {
        w.run(Duration::from_secs(1));
        w.check(&registration, client_addr(1), true);
    }
    assert_eq!(w.ends(), ["backend_silent"]);
    assert_eq!(w.open_sockets(), 0);
}

#[test]
fn a_backend_that_never_answers_ends_the_session_after_thirty_seconds() {
    let mut w = World::new();
    let addr: SocketAddr = "10.0.0.2:20001".parse().expect("addr");
    let registration = w.register(w.registration(1, 0, Role::Controlling, &[addr]));
    for second in 0..40 {
        w.check(&registration, client_addr(1), true);
        w.run(Duration::from_secs(1));
        assert_eq!(w.forwarder.live_sessions() == 0, second >= 30, "second {second}");
    }
    assert_eq!(w.ends(), ["backend_silent"]);
}

#[test]
fn a_connected_session_lives_as_long_as_its_client_checks() {
    let mut w = World::new();
    let (registration, _) = w.connected(1);
    for _ in 0..120 {
        w.run(Duration::from_secs(5));
        assert!(matches!(w.check(&registration, client_addr(1), true), Verdict::Reply { .. }));
    }
    assert_eq!(w.ends(), [""; 0]);
}

#[test]
fn a_registration_without_a_client_expires() {
    let mut w = World::new();
    let registration = w.register(w.registration(1, 0, Role::Controlling, &[]));
    w.run(Duration::from_secs(29));
    assert_eq!(w.forwarder.known_sessions(), 1);
    w.run(Duration::from_secs(32));
    assert_eq!(w.forwarder.known_sessions(), 0);
    assert_eq!(w.ends(), ["never_connected"]);
    assert_eq!(w.check(&registration, client_addr(1), true), Verdict::Drop(DropReason::UnknownUsername));
}

#[test]
fn signalling_ends_a_session_at_once_with_or_without_a_client() {
    let mut w = World::new();
    w.connected(1);
    w.command(Command::End(SessionId(1), EndReason::Hangup));
    w.register(w.registration(2, 0, Role::Controlling, &[]));
    w.command(Command::End(SessionId(2), EndReason::Detached));
    w.command(Command::End(SessionId(3), EndReason::Detached));
    assert_eq!(w.ends(), ["hangup", "detached"]);
    assert_eq!((w.forwarder.live_sessions(), w.forwarder.known_sessions()), (0, 0));
}

#[test]
fn registrations_are_bounded() {
    let mut w = World::new();
    for n in 0..1100 {
        w.register(w.registration(n, 0, Role::Controlling, &[]));
    }
    assert_eq!(w.forwarder.known_sessions(), 1000);
    assert_eq!(w.ends(), ["too_many_sessions"; 100]);
}

#[test]
fn a_client_that_claims_to_be_controlled_is_told_to_switch() {
    use crate::stun::{self, BindingRequest, ErrorCode, IceRole, Key, Message};
    let mut w = World::new();
    let registration = w.register(w.registration(1, 0, Role::Controlling, &[]));
    let request = BindingRequest {
        receiver_ufrag: &registration.edge.ufrag,
        sender_ufrag: &registration.client.ufrag,
        priority: 1,
        role: IceRole::Controlled(1),
        use_candidate: false,
    };
    let key = Key::short_term(&registration.edge.pwd);
    let (mut bytes, mut reply) = ([0; 256], [0; 256]);
    let len = stun::binding_request(&mut bytes, [5; 12], &request, &key).expect("fits");
    let received = Received { via: Via::Listener(0), from: client_addr(1), local: None };
    let Verdict::Reply { len, .. } = w.forwarder.handle(w.now, received, &bytes[..len], &mut reply) else {
        panic!("no reply")
    };
    let answer = Message::parse(&reply[..len]).expect("answer");
    assert_eq!(answer.verify(&key), Ok(()));
    assert_eq!(answer.error_code().map(|(code, _)| code), Some(ErrorCode::ROLE_CONFLICT));
}

#[test]
fn only_one_worker_claims_and_the_other_hands_over_what_belongs_to_it() {
    let mut w = World::new();
    let registration = w.register(w.registration(1, 0, Role::Controlling, &[]));
    let listeners = vec![SocketAddr::from(([203, 0, 113, 1], 6000))];
    let setup = Setup { worker: 1, listeners, max_sessions: 9, random: random(2), now: w.now };
    let mut other = Forwarder::new(setup);
    other.command(w.now, Command::Register(registration.clone()));
    w.check(&registration, client_addr(1), true);

    let received = Received { via: Via::Listener(0), from: client_addr(2), local: None };
    let mut reply = [0; 256];
    assert_eq!(
        other.handle(w.now, received, &MEDIA, &mut reply),
        Verdict::Drop(DropReason::UnknownAddress),
        "not before a valid check"
    );
    let forged = w.check_bytes(&registration, "wrong password, wrong again");
    assert_eq!(other.handle(w.now, received, &forged, &mut reply), Verdict::Drop(DropReason::BadIntegrity));
    let check = w.check_bytes(&registration, &registration.edge.pwd);
    assert_eq!(other.handle(w.now, received, &check, &mut reply), Verdict::HandOver { worker: 0 });
    assert_eq!(other.handle(w.now, received, &MEDIA, &mut reply), Verdict::HandOver { worker: 0 });
    assert!(matches!(w.client_sends(client_addr(2), &check), Verdict::Reply { .. }));

    other.command(w.now, Command::End(SessionId(1), EndReason::Hangup));
    assert_eq!(other.known_sessions(), 0);
    assert_eq!(
        other.handle(w.now, received, &MEDIA, &mut reply),
        Verdict::Drop(DropReason::UnknownAddress),
        "the address went with the session"
    );
    assert!(other.poll_event().is_none(), "the owner tells of the end");
}

fn over_tcp(addr: SocketAddr) -> BackendCandidate {
    BackendCandidate { transport: CandidateTransport::TcpPassive, addr, priority: 1_010_827_519 }
}

#[test]
fn tcp_towards_the_backend_is_tried_only_after_udp_stayed_silent() {
    let mut w = World::new();
    let (udp, tcp) = (SocketAddr::from(([10, 0, 0, 2], 20_001)), SocketAddr::from(([10, 0, 0, 2], 20_002)));
    let mut registration = w.registration(1, 0, Role::Controlling, &[udp]);
    registration.candidates.insert(0, over_tcp(tcp));
    let registration = w.register(registration);
    w.check(&registration, client_addr(1), true);
    w.run(Duration::from_millis(2_500));
    assert_eq!((w.opened, &w.dialled[..]), (1, &[][..]));
    w.run(Duration::from_secs(1));
    assert_eq!(w.dialled, [tcp]);
}

#[test]
fn tcp_is_not_tried_where_udp_works() {
    let mut w = World::new();
    let (udp, tcp) = (SocketAddr::from(([10, 0, 0, 2], 20_001)), SocketAddr::from(([10, 0, 0, 2], 20_002)));
    let mut registration = w.registration(1, 0, Role::Controlling, &[udp]);
    registration.candidates.push(over_tcp(tcp));
    let registration = w.register(registration);
    w.backend(&registration, udp);
    w.check(&registration, client_addr(1), true);
    w.run(Duration::from_secs(10));
    assert_eq!((w.was_connected(), w.dialled.len()), (1, 0));
}

#[test]
fn with_icetcp_tcp_comes_first_and_udp_when_it_fails() {
    let mut w = World::new();
    let (udp, tcp) = (SocketAddr::from(([10, 0, 0, 2], 20_001)), SocketAddr::from(([10, 0, 0, 2], 20_002)));
    let mut registration = w.registration(1, 0, Role::Controlling, &[udp]);
    registration.candidates.push(over_tcp(tcp));
    registration.prefer_tcp = true;
    let registration = w.register(registration);
    w.backend(&registration, udp);
    w.check(&registration, client_addr(1), true);
    assert_eq!(w.dialled, [tcp]);
    w.run(Duration::from_millis(300));
    assert_eq!(w.was_connected(), 1, "refused, so UDP at once");
}
