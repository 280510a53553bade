//! ICE restarts: the old pair carries media until the new one is validated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::world::{MEDIA, World, client_addr};
use crate::forward::{DropReason, Verdict};
use crate::session::registration::{Registration, Role};

fn restarted(w: &mut World, first: &Registration, backend: SocketAddr) -> Arc<Registration> {
    let mut next = w.registration(first.session.0, first.generation + 1, Role::Controlling, &[backend]);
    next.owner = first.owner.clone();
    w.register(next)
}

#[test]
fn media_flows_by_the_old_pair_until_both_legs_of_the_new_one_are_validated() {
    let mut w = World::new();
    let (first, old_backend) = w.connected(1);
    let addr = w.backends[old_backend].addr;
    let second = restarted(&mut w, &first, addr);
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
    assert!(matches!(w.check(&first, client_addr(1), true), Verdict::Reply { .. }));

    // Janus takes the new credentials on the same port.
    w.backends[old_backend].dead = true;
    let backend = w.backend(&second, addr);
    w.run(Duration::from_millis(500));
    assert_eq!(w.was_connected(), 1, "the client has not followed yet");
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));

    let new = client_addr(500);
    assert!(matches!(w.check(&second, new, true), Verdict::Reply { .. }));
    assert_eq!(w.was_connected(), 1, "the new address has not answered yet");
    w.answer_probes(&second, new);
    assert_eq!(w.was_connected(), 2);
    w.backend_sends(backend, 0, &MEDIA);
    assert_eq!(w.to_clients.pop(), Some((new, MEDIA.to_vec())));
    assert_eq!(w.check(&first, client_addr(1), true), Verdict::Drop(DropReason::UnknownUsername));
    assert_eq!(w.ends(), [""; 0]);
}

#[test]
fn a_restart_on_the_same_address_needs_no_new_proof() {
    let mut w = World::new();
    let (first, old_backend) = w.connected(1);
    let addr = w.backends[old_backend].addr;
    let second = restarted(&mut w, &first, addr);
    w.backends[old_backend].dead = true;
    w.backend(&second, addr);
    w.check(&second, client_addr(1), true);
    w.run(Duration::from_millis(500));
    assert_eq!(w.was_connected(), 2);
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
}

#[test]
fn a_restart_that_the_client_never_follows_is_forgotten_and_the_call_goes_on() {
    let mut w = World::new();
    let (first, backend) = w.connected(1);
    let addr = w.backends[backend].addr;
    let second = restarted(&mut w, &first, addr);
    for _ in 0..90 {
        w.run(Duration::from_secs(1));
        w.check(&first, client_addr(1), true);
    }
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
    assert_eq!(w.check(&second, client_addr(1), true), Verdict::Drop(DropReason::UnknownUsername));
    assert_eq!(w.ends(), [""; 0]);
}

#[test]
fn a_restart_before_anybody_connected_is_served_by_either_pair() {
    for follow in [0, 1] {
        let mut w = World::new();
        let addr: SocketAddr = "10.0.0.2:20001".parse().expect("addr");
        let first = w.register(w.registration(1, 0, Role::Controlling, &[addr]));
        let second = restarted(&mut w, &first, addr);
        let used = if follow == 0 { &first } else { &second };
        w.backend(used, addr);
        assert!(matches!(w.check(used, client_addr(1), true), Verdict::Reply { .. }));
        w.run(Duration::from_millis(500));
        assert_eq!(w.was_connected(), 1, "generation {follow}");
    }
}

#[test]
fn many_restarts_in_a_row_leave_one_session_and_one_socket() {
    let mut w = World::new();
    let (mut last, mut backend) = w.connected(1);
    let addr = w.backends[backend].addr;
    for n in 0..20 {
        let next = restarted(&mut w, &last, addr);
        w.backends[backend].dead = true;
        backend = w.backend(&next, addr);
        w.check(&next, client_addr(1), true);
        w.run(Duration::from_millis(400));
        assert_eq!(w.was_connected(), n + 2);
        last = next;
    }
    assert_eq!((w.forwarder.live_sessions(), w.forwarder.known_sessions()), (1, 1));
    assert_eq!(w.open_sockets(), 1);
}
