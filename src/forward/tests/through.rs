//! Transparent mode: everything passes, but only from those who proved themselves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{DTLS, MEDIA, World, client_addr};
use crate::forward::{DropReason, Verdict};
use crate::session::registration::{
    Command, EndReason, Mode, Registration, Role, SessionEventKind, SessionId,
};
use crate::stun::{self, Class, Key, Message};

fn backend_addr(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 2], 20_000 + n))
}

fn direct(w: &World, n: u64, candidates: &[SocketAddr]) -> Registration {
    let mut registration = w.registration(n, 0, Role::Controlling, candidates);
    registration.mode = Mode::Transparent;
    registration.edge = registration.backend.clone();
    registration
}

/// Session 1 with its backend; the client's first check was answered.
fn connected(w: &mut World) -> (Arc<Registration>, usize) {
    let registration = w.register(direct(w, 1, &[backend_addr(1)]));
    let backend = w.backend(&registration, backend_addr(1));
    w.check(&registration, client_addr(1), true);
    w.run(Duration::from_millis(50));
    (registration, backend)
}

fn answers(w: &mut World, at: SocketAddr) -> usize {
    let count = w.to_clients.iter().filter(|(to, bytes)| {
        *to == at && Message::parse(bytes).is_ok_and(|message| message.is_binding(Class::Success))
    });
    let count = count.count();
    w.to_clients.retain(|(to, bytes)| {
        *to != at || Message::parse(bytes).is_ok_and(|message| message.is_binding(Class::Request))
    });
    count
}

#[test]
fn checks_pass_to_the_backend_and_its_answers_pass_back() {
    let mut w = World::new();
    let (registration, backend) = connected(&mut w);
    assert_eq!(answers(&mut w, client_addr(1)), 1);
    assert_eq!(w.was_connected(), 1);
    assert!(w.answer_probes(&registration, client_addr(1)) > 0, "the backend checks the client itself");
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
    assert_eq!(w.backends[backend].media, [MEDIA.to_vec()]);
    w.to_clients.clear();
    assert!(matches!(w.backend_sends(backend, 0, &DTLS), Verdict::Forward(_)));
    assert_eq!(w.to_clients, [(client_addr(1), DTLS.to_vec())]);
}

#[test]
fn each_address_of_the_client_has_a_backend_side_of_its_own() {
    let mut w = World::new();
    let (registration, backend) = connected(&mut w);
    w.to_clients.clear();
    assert_eq!(
        w.check(&registration, client_addr(2), false),
        Verdict::Consumed,
        "held until its socket is open"
    );
    w.run(Duration::from_millis(50));
    assert_eq!(w.open_sockets(), 2);
    assert_eq!(answers(&mut w, client_addr(2)), 1, "answered where it was asked");
    assert_eq!(w.client_sends(client_addr(2), &MEDIA), Verdict::Drop(DropReason::UnprovenAddress));
    assert!(w.answer_probes(&registration, client_addr(2)) > 0);
    assert!(matches!(w.client_sends(client_addr(2), &MEDIA), Verdict::Forward(_)));
    w.to_clients.clear();
    w.backend_sends(backend, 1, &DTLS);
    assert_eq!(w.to_clients, [(client_addr(2), DTLS.to_vec())]);
}

#[test]
fn sessions_with_backends_of_their_own_share_a_socket() {
    let mut w = World::new();
    for n in 1..=20 {
        let registration = w.register(direct(&w, n.into(), &[backend_addr(n)]));
        w.backend(&registration, backend_addr(n));
        w.check(&registration, client_addr(n), true);
    }
    assert_eq!(w.open_sockets(), 1);
    w.run(Duration::from_millis(100));
    assert_eq!(w.was_connected(), 20);
    w.run(Duration::from_secs(45));
    assert_eq!((w.forwarder.live_sessions(), w.open_sockets()), (0, 0));
}

#[test]
fn a_candidate_that_stays_silent_makes_room_for_the_next_one() {
    let mut w = World::new();
    let registration = w.register(direct(&w, 1, &[backend_addr(1), backend_addr(2), backend_addr(3)]));
    let backend = w.backend(&registration, backend_addr(3));
    for _ in 0..8 {
        w.check(&registration, client_addr(1), true);
        w.run(Duration::from_millis(500));
    }
    assert_eq!(w.was_connected(), 1);
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
    assert_eq!(w.backends[backend].media.len(), 1);
    w.to_clients.clear();
    w.check(&registration, client_addr(2), true);
    w.run(Duration::from_millis(50));
    assert_eq!(answers(&mut w, client_addr(2)), 1, "a further flow starts with the candidate that answered");
}

#[test]
fn the_next_candidate_gets_the_check_that_the_silent_one_left_unanswered() {
    let mut w = World::new();
    let registration = w.register(direct(&w, 1, &[backend_addr(1), backend_addr(2)]));
    w.backend(&registration, backend_addr(2));
    w.check(&registration, client_addr(1), true);
    w.run(Duration::from_millis(1_100));
    assert_eq!(w.was_connected(), 1, "without another check of the client");
}

#[test]
fn a_backend_that_never_answers_ends_the_session() {
    let mut w = World::new();
    let registration = w.register(direct(&w, 1, &[backend_addr(1), backend_addr(2)]));
    for _ in 0..35 {
        w.check(&registration, client_addr(1), true);
        w.run(Duration::from_secs(1));
    }
    assert_eq!(w.ends()[0], "backend_silent");
    assert_eq!(w.open_sockets(), 0);
}

#[test]
fn forgers_and_replays_reach_nobody() {
    let mut w = World::new();
    let (registration, backend) = connected(&mut w);
    let stranger: SocketAddr = "192.0.2.66:6666".parse().expect("addr");
    let forged = w.check_bytes(&registration, "no idea what the password is");
    assert_eq!(w.client_sends(stranger, &forged), Verdict::Drop(DropReason::BadIntegrity));
    let genuine = w.check_bytes(&registration, &registration.edge.pwd);
    assert!(matches!(w.client_sends(client_addr(1), &genuine), Verdict::Forward(_)));
    assert_eq!(w.client_sends(stranger, &genuine), Verdict::Drop(DropReason::Replayed));
    assert_eq!(w.client_sends(stranger, &DTLS), Verdict::Drop(DropReason::UnknownAddress));
    assert!(w.backends[backend].media.is_empty());

    // On the known address: an answer with the wrong key, and answers of a backend that is none.
    let mut buffer = [0; 256];
    let wrong = Key::short_term("not the client's password");
    let len = stun::binding_success(&mut buffer, [9; 12], stranger, &wrong).expect("fits");
    assert_eq!(w.client_sends(client_addr(1), &buffer[..len]), Verdict::Drop(DropReason::BadIntegrity));
    assert_eq!(w.backend_sends(backend, 0, &buffer[..len]), Verdict::Drop(DropReason::BadIntegrity));
}

#[test]
fn a_pair_that_is_registered_again_is_refreshed_while_nobody_uses_it() {
    let mut w = World::new();
    let first = direct(&w, 1, &[backend_addr(1)]);
    let owner = first.owner.clone();
    w.register(first);
    w.run(Duration::from_secs(25));
    let mut second = direct(&w, 1, &[backend_addr(2)]);
    second.owner = owner;
    let second = w.register(second);
    w.backend(&second, backend_addr(2));
    w.run(Duration::from_secs(25));
    assert_eq!(w.forwarder.known_sessions(), 1, "the clock starts again");
    w.check(&second, client_addr(1), true);
    w.run(Duration::from_millis(50));
    assert_eq!(w.was_connected(), 1, "the last one counts");
    let third = direct(&w, 1, &[backend_addr(3)]);
    w.register(third);
    assert!(
        matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(to) if to.to == backend_addr(2))
    );
}

#[test]
fn a_connection_that_closes_takes_its_session_with_it_if_it_was_the_last() {
    let mut w = World::new();
    let (registration, _) = connected(&mut w);
    w.check(&registration, client_addr(2), true);
    w.forwarder.client_gone(w.now, 0, client_addr(2).to_owned());
    assert_eq!(w.forwarder.live_sessions(), 1);
    w.forwarder.client_gone(w.now, 0, client_addr(1));
    w.run(Duration::from_millis(10));
    assert_eq!(w.ends(), ["client_closed"]);
    assert_eq!(w.open_sockets(), 0);

    w.connected(7);
    w.forwarder.client_gone(w.now, 0, client_addr(7));
    w.run(Duration::from_millis(10));
    assert_eq!(w.ends(), ["client_closed"; 2], "the same in half-proxy mode");
}

#[test]
fn an_ice_restart_keeps_the_flow_and_takes_the_new_credentials() {
    let mut w = World::new();
    let (first, backend) = connected(&mut w);
    let mut next = w.registration(1, 1, Role::Controlling, &[backend_addr(1)]);
    (next.mode, next.edge, next.owner) = (Mode::Transparent, next.backend.clone(), first.owner.clone());
    let next = w.register(next);
    assert!(matches!(w.check(&first, client_addr(1), true), Verdict::Forward(_)), "the old pair goes on");
    w.backends[backend].dead = true;
    w.backend(&next, backend_addr(1));
    w.to_clients.clear();
    assert!(matches!(w.check(&next, client_addr(1), true), Verdict::Forward(_)));
    w.run(Duration::from_millis(50));
    assert_eq!(answers(&mut w, client_addr(1)), 1);
    assert_eq!(w.open_sockets(), 1);
    assert_eq!(w.was_connected(), 2, "the restart is told");
    w.command(Command::End(SessionId(1), EndReason::Hangup));
    assert!(w.events.iter().any(|event| matches!(event, SessionEventKind::Ended { .. })));
    assert_eq!((w.open_sockets(), w.forwarder.known_sessions()), (0, 0));
}

#[test]
fn a_running_session_does_not_lose_its_pair_to_another_one() {
    let mut w = World::new();
    let (registration, _) = connected(&mut w);
    let mut thief = direct(&w, 2, &[backend_addr(9)]);
    (thief.edge, thief.client, thief.backend) =
        (registration.edge.clone(), registration.client.clone(), registration.backend.clone());
    w.register(thief);
    assert_eq!(w.ends(), ["pair_in_use"]);
    assert!(
        matches!(w.check(&registration, client_addr(1), true), Verdict::Forward(to) if to.to == backend_addr(1))
    );
}
