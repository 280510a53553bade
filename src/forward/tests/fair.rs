//! One client that sends too much, and the shortcut for packets that follow one another.

use std::sync::Arc;
use std::time::Duration;

use super::world::{MEDIA, World, client_addr};
use crate::config::Limits;
use crate::forward::{Destination, DropReason, Received, Verdict, Via};
use crate::session::registration::{Command, EndReason, Registration, Role};

/// Two sessions, 1 and 2, connected in a world where each client may send so many packets per second; 0: any number.
fn two(session_packets: u32) -> (World, [Arc<Registration>; 2]) {
    let mut w = World::with(&Limits { session_packets, stun: None, ..Limits::default() });
    let sessions = [1, 2].map(|n| w.connected(n).0);
    (w, sessions)
}

/// How many of `packets` from client `n` go on.
fn passed(w: &mut World, n: u16, packets: usize) -> usize {
    let forwarded = |verdict| matches!(verdict, Verdict::Forward(_));
    (0..packets).filter(|_| forwarded(w.client_sends(client_addr(n), &MEDIA))).count()
}

#[test]
fn a_client_that_floods_is_held_to_its_rate_and_the_other_loses_nothing() {
    let (mut w, _) = two(1_000);
    let (mut flood, mut call) = (0, 0);
    for _ in 0..100 {
        flood += passed(&mut w, 1, 500);
        call += passed(&mut w, 2, 5);
        w.now += Duration::from_millis(10);
    }
    assert_eq!(call, 500, "everything of who keeps to the limit");
    assert!((1_000..=1_251).contains(&flood), "{flood} in a second of 50 000");
    let dropped = w.forwarder.counters().drops(DropReason::ClientTooFast);
    assert_eq!(dropped, 50_000 - flood as u64);
}

#[test]
fn what_the_backend_sends_does_not_count_against_the_client() {
    let (mut w, _) = two(10);
    let from_backend =
        (0..5_000).filter(|_| matches!(w.backend_sends(0, 0, &MEDIA), Verdict::Forward(_))).count();
    assert_eq!(from_backend, 5_000);
    assert_eq!(passed(&mut w, 1, 1), 1);
}

#[test]
fn while_the_worker_is_behind_every_client_gets_its_share_of_the_turn() {
    let (mut w, _) = two(0);
    w.forwarder.begin_turn(false);
    assert_eq!(passed(&mut w, 1, 1_000), 1_000, "alone, nobody is held back");
    for _ in 0..3 {
        w.forwarder.begin_turn(true);
        assert_eq!(passed(&mut w, 1, 200), 32);
        assert_eq!(passed(&mut w, 2, 20), 20);
    }
    assert_eq!(w.forwarder.counters().drops(DropReason::ClientOverShare), 3 * 168);
}

#[test]
fn a_flood_of_strangers_does_not_touch_anybodys_share() {
    let (mut w, _) = two(100);
    w.forwarder.begin_turn(true);
    for n in 0..1_000 {
        let verdict = w.client_sends(client_addr(1_000 + n), &MEDIA);
        assert_eq!(verdict, Verdict::Drop(DropReason::UnknownAddress));
    }
    assert_eq!((passed(&mut w, 1, 20), passed(&mut w, 2, 20)), (20, 20));
}

#[test]
fn packets_that_follow_go_where_the_tables_say_now() {
    // All of it within one moment, in which the shortcut would be good.
    let (mut w, [one, two]) = two(0);
    let to = |w: &World, n: usize| w.backends[n].addr;
    let sends = |w: &mut World, n: u16| match w.client_sends(client_addr(n), &MEDIA) {
        Verdict::Forward(Destination { to, .. }) => to,
        other => panic!("{other:?}"),
    };
    for _ in 0..3 {
        assert_eq!(sends(&mut w, 1), to(&w, 0), "the first, and those that follow");
        assert_eq!(sends(&mut w, 2), to(&w, 1), "another sender between");
        assert_eq!(sends(&mut w, 2), to(&w, 1));
        assert_eq!(w.backend_sends(0, 0, &MEDIA), to_client(1));
    }
    // The client moves.
    w.check(&one, client_addr(7), true);
    assert!(w.answer_probes(&one, client_addr(7)) > 0);
    assert_eq!(w.backend_sends(0, 0, &MEDIA), to_client(7));
    assert_eq!(w.backend_sends(0, 0, &MEDIA), to_client(7));
    // The session ends.
    assert_eq!(sends(&mut w, 2), to(&w, 1));
    w.command(Command::End(two.session, EndReason::Hangup));
    let gone = Verdict::Drop(DropReason::UnknownAddress);
    assert_eq!(w.client_sends(client_addr(2), &MEDIA), gone);
    // Another one takes its place in the tables, from the same address.
    let backend = w.backends[1].addr;
    let third = w.register(w.registration(3, 0, Role::Controlling, &[backend]));
    assert_eq!(w.client_sends(client_addr(2), &MEDIA), gone);
    w.check(&third, client_addr(2), true);
    let early = w.client_sends(client_addr(2), &MEDIA);
    assert_eq!(early, Verdict::Drop(DropReason::BackendNotReady), "not by the way of the one before");
}

/// Sessions that connected together come due together.
#[test]
fn checks_that_are_due_in_one_moment_leave_a_few_at_a_time_so_that_packets_go_between() {
    const SESSIONS: usize = 80;
    let mut w = World::new();
    for n in 0..SESSIONS as u16 {
        w.connected(n);
    }
    w.run(Duration::from_secs(2));
    w.now += Duration::from_secs(6);
    let mut sent = Vec::new();
    while w.forwarder.next_timeout().is_some_and(|at| at <= w.now) {
        w.forwarder.handle_timeout(w.now);
        sent.push(std::iter::from_fn(|| w.forwarder.poll_transmit()).count());
    }
    assert!(sent.iter().all(|checks| *checks <= 32), "{sent:?}");
    assert!(sent.iter().sum::<usize>() > SESSIONS / 2, "most wanted to send: {sent:?}");
}

fn to_client(n: u16) -> Verdict {
    Verdict::Forward(Destination { via: Via::Listener(0), to: client_addr(n), local: None })
}

#[test]
fn a_session_is_counted_whole_by_the_shortcut() {
    let (mut w, _) = two(0);
    let received = Received { via: Via::Listener(0), from: client_addr(1), local: None };
    let before = w.forwarder.counters().up_packets;
    for _ in 0..100 {
        w.forwarder.handle(w.now, received, &MEDIA, &mut [0; 256]);
    }
    assert_eq!(w.forwarder.counters().up_packets, before + 100);
    let story = w.forwarder.story(w.now, crate::session::registration::SessionId(1)).expect("it is here");
    assert_eq!((story.traffic.up_packets, story.traffic.up_bytes), (100, 4_000));
}
