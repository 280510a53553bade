//! What failing checks may cost, and that nobody who is served pays for it.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{MEDIA, World, client_addr};
use crate::budget::Rate;
use crate::config::Limits;
use crate::forward::{DropReason, Verdict};
use crate::session::registration::Registration;

/// The same source as the clients of the world: the attacker shares their NAT, or forges its address.
fn neighbour(port: u16) -> SocketAddr {
    SocketAddr::new(client_addr(0).ip(), port)
}

fn world(rate: u32, burst: u32) -> World {
    let mut w = World::new();
    let limits = Limits { stun: Some(Rate { per_second: rate, burst }), ..Limits::default() };
    w.forwarder.set_limits(w.now, &limits);
    w
}

/// Sends `count` forged checks for a session; how many of them were looked at.
fn forge(w: &mut World, registration: &Registration, from: SocketAddr, count: usize) -> usize {
    let forged = |w: &mut World| {
        let bytes = w.check_bytes(registration, "not the password at all");
        w.client_sends(from, &bytes) == Verdict::Drop(DropReason::BadIntegrity)
    };
    (0..count).filter(|_| forged(w)).count()
}

#[test]
fn checks_without_a_session_have_a_reason_of_their_own_once_they_are_a_flood() {
    let mut w = world(10, 5);
    let nobody = w.registration(99, 0, crate::session::registration::Role::Controlling, &[]);
    let verdicts: Vec<_> = (0..7)
        .map(|_| {
            let bytes = w.check_bytes(&nobody, "whatever");
            w.client_sends(neighbour(7777), &bytes)
        })
        .collect();
    assert_eq!(verdicts[..5], [Verdict::Drop(DropReason::UnknownUsername); 5]);
    assert_eq!(verdicts[5..], [Verdict::Drop(DropReason::SourceOverBudget); 2]);
    w.now += Duration::from_secs(1);
    let bytes = w.check_bytes(&nobody, "whatever");
    assert_eq!(w.client_sends(neighbour(7777), &bytes), Verdict::Drop(DropReason::UnknownUsername));
}

#[test]
fn forged_checks_are_looked_at_until_source_and_session_have_had_their_share() {
    let mut w = world(100, 20);
    let (registration, _) = w.connected(1);
    // The session's own 50 last longer than the source's 20.
    assert_eq!(forge(&mut w, &registration, neighbour(7777), 500), 50);
    let bytes = w.check_bytes(&registration, "not the password at all");
    assert_eq!(w.client_sends(neighbour(7777), &bytes), Verdict::Drop(DropReason::CheckOverBudget));
    // Another source has a budget of its own.
    assert_eq!(forge(&mut w, &registration, "192.0.2.66:6666".parse().unwrap(), 500), 20);
    // Both fill up again: the session's by 10, the sources' by all they have.
    w.now += Duration::from_secs(1);
    assert_eq!(forge(&mut w, &registration, neighbour(7777), 500), 20);
}

#[test]
fn a_spent_source_costs_neither_its_neighbours_nor_the_session_that_was_attacked() {
    let mut w = world(1, 1);
    let (attacked, backend) = w.connected(1);
    forge(&mut w, &attacked, neighbour(7777), 500);
    // The client's own address is always heard, forged copies from it notwithstanding.
    forge(&mut w, &attacked, client_addr(1), 500);
    assert!(matches!(w.check(&attacked, client_addr(1), true), Verdict::Reply { .. }));
    assert!(matches!(w.client_sends(client_addr(1), &MEDIA), Verdict::Forward(_)));
    assert!(!w.backends[backend].media.is_empty());
    // A new session behind the same NAT gets in, and so does one that roams into it.
    let (other, _) = w.connected(2);
    assert!(matches!(w.check(&other, neighbour(9999), true), Verdict::Reply { .. }));
    // The attacked one, too, as soon as it has some of its share back.
    w.now += Duration::from_millis(100);
    assert!(matches!(w.check(&attacked, neighbour(9998), true), Verdict::Reply { .. }));
}

#[test]
fn without_a_limit_and_for_the_exempt_every_check_is_looked_at() {
    let mut w = world(1, 1);
    let (registration, _) = w.connected(1);
    w.forwarder.set_limits(w.now, &Limits { stun: None, ..Limits::default() });
    assert_eq!(forge(&mut w, &registration, neighbour(7777), 500), 500);
    w.forwarder
        .set_limits(w.now, &Limits { stun: Some(Rate { per_second: 1, burst: 1 }), ..Limits::default() });
    assert_eq!(forge(&mut w, &registration, "127.0.0.1:7777".parse().unwrap(), 500), 500);
}
