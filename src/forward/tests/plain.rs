//! A listener that tells strangers their address: it says nothing else, and what is a check is treated as before.

use std::net::SocketAddr;
use std::time::Duration;

use super::world::{World, client_addr, random};
use crate::budget::Rate;
use crate::config::Limits;
use crate::forward::{DropReason, Received, Verdict, Via};
use crate::stun::{self, Builder, Class, Message, Method};

fn stranger() -> SocketAddr {
    "192.0.2.66:6666".parse().expect("addr")
}

fn plain() -> Vec<u8> {
    let mut buffer = [0; 64];
    let len = Builder::new(&mut buffer, Class::Request, Method::BINDING, [3; 12]).finish().expect("fits");
    buffer[..len].to_vec()
}

/// What is said to `bytes` at a listener.
fn told(w: &mut World, listener: u16, bytes: &[u8]) -> Result<Vec<u8>, Verdict> {
    let received = Received { via: Via::Listener(listener), from: stranger(), local: None };
    let mut reply = [0; stun::BINDING_RESPONSE_MAX];
    match w.forwarder.handle(w.now, received, bytes, &mut reply) {
        Verdict::Tell { len, to } => {
            assert_eq!((to.via, to.to), (received.via, stranger()));
            assert!(len <= stun::allowance(bytes.len(), stranger(), false));
            Ok(reply[..len].to_vec())
        }
        verdict => Err(verdict),
    }
}

#[test]
fn only_listeners_that_were_asked_to_tell_strangers_their_address() {
    let mut w = World::new();
    let silent = Err(Verdict::Drop(DropReason::MissingUsername));
    assert_eq!(told(&mut w, 0, &plain()), silent);
    w.forwarder.set_plain(&[0, 3]);
    let answer = told(&mut w, 0, &plain()).expect("an answer");
    assert_eq!(Message::parse(&answer).expect("STUN").xor_mapped_address(), Some(stranger()));
    assert_eq!(told(&mut w, 1, &plain()), silent);
    w.forwarder.set_plain(&[]);
    assert_eq!(told(&mut w, 0, &plain()), silent);
    assert_eq!(w.forwarder.counters().strangers_told, 1);
}

#[test]
fn a_source_pays_for_answers_and_for_failed_checks_from_one_budget() {
    let mut w = World::new();
    let limits = Limits { stun: Some(Rate { per_second: 10, burst: 5 }), ..Limits::default() };
    w.forwarder.set_limits(w.now, &limits);
    w.forwarder.set_plain(&[0]);
    assert_eq!((0..20).filter(|_| told(&mut w, 0, &plain()).is_ok()).count(), 5);
    assert_eq!(told(&mut w, 0, &plain()), Err(Verdict::Drop(DropReason::SourceOverBudget)));
    w.now += Duration::from_secs(1);
    assert!(told(&mut w, 0, &plain()).is_ok());
}

/// Whoever has used up a source's budget keeps no check of it from being heard.
#[test]
fn an_empty_budget_silences_no_valid_check() {
    let mut w = World::new();
    let limits = Limits { stun: Some(Rate { per_second: 1, burst: 5 }), ..Limits::default() };
    w.forwarder.set_limits(w.now, &limits);
    w.forwarder.set_plain(&[0]);
    let (registration, _) = w.connected(1);
    while told(&mut w, 0, &plain()).is_ok() {}
    let check = w.check_bytes(&registration, &registration.edge.pwd);
    assert!(matches!(w.client_sends(stranger(), &check), Verdict::Reply { .. }));
    assert!(matches!(w.check(&registration, client_addr(1), true), Verdict::Reply { .. }));
}

#[test]
fn no_cut_or_bent_check_gets_an_answer_and_no_noise_more_than_it_paid_for() {
    let mut w = World::new();
    let (registration, _) = w.connected(1);
    w.forwarder.set_plain(&[0]);
    let check = w.check_bytes(&registration, &registration.edge.pwd);
    w.client_sends(client_addr(1), &check);
    for len in 0..check.len() {
        assert!(told(&mut w, 0, &check[..len]).is_err(), "first {len} bytes");
    }
    for at in 0..check.len() {
        for bit in 0..8 {
            let mut bent = check.clone();
            bent[at] ^= 1 << bit;
            assert!(told(&mut w, 0, &bent).is_err(), "byte {at} bit {bit}");
        }
    }
    let (mut random, mut answered) = (random(7), 0);
    for _ in 0..20_000 {
        let mut head = [0; 2];
        random(&mut head);
        let mut bytes = plain();
        bytes.resize(20 + usize::from(head[0] % 16) * 4, 0);
        random(&mut bytes[20..]);
        bytes[3] = (bytes.len() - 20) as u8;
        if head[1] & 1 == 0 && bytes.len() > 24 {
            let len = (bytes.len() - 24) as u16;
            bytes[22..24].copy_from_slice(&len.to_be_bytes());
        }
        answered += usize::from(told(&mut w, 0, &bytes).is_ok());
        w.now += Duration::from_millis(50);
    }
    assert!(answered > 1000, "{answered}: most are well-formed");
}
