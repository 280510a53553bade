//! What one packet costs before a session is asked: its kind, and for STUN reading, proving and answering it.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xrtc::classify::{Kind, classify};
use xrtc::session::observe::{Observed, Tick};
use xrtc::stun::{self, BindingRequest, IceRole, Key, Message};

const ID: stun::TransactionId = *b"transaction!";
const PASSWORD: &str = "asd88fgpdd777uzjYhagZg12";

criterion_group!(packet, kinds, stun_messages, observing);
criterion_main!(packet);

fn kinds(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    group.throughput(Throughput::Elements(1));
    let mut rtp = [0_u8; 1200];
    rtp[0] = 0x80;
    let (check, len) = check();
    group.bench_function("rtp", |b| b.iter(|| classify(black_box(&rtp))));
    group.bench_function("stun", |b| b.iter(|| classify(black_box(&check[..len]))));
    group.finish();
}

fn stun_messages(c: &mut Criterion) {
    let key = Key::short_term(PASSWORD);
    let client: SocketAddr = "198.51.100.7:40001".parse().expect("literal");
    let (check, len) = check();
    let check = &check[..len];
    let mut reply = [0; stun::BINDING_RESPONSE_MAX];

    let mut group = c.benchmark_group("stun");
    group.throughput(Throughput::Elements(1));
    group.bench_function("key from password", |b| b.iter(|| Key::short_term(black_box(PASSWORD))));
    group.bench_function("parse", |b| {
        b.iter(|| Message::parse(black_box(check)).map(|m| m.ufrags().is_some()))
    });
    group.bench_function("parse, check fingerprint, verify", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(check)).expect("well formed");
            (message.check_fingerprint(), message.verify(&key))
        });
    });
    group.bench_function("build success", |b| {
        b.iter(|| stun::binding_success(&mut reply, black_box(ID), black_box(client), &key));
    });
    group.finish();
}

/// What a session remembers of a media packet: one stream, and four in turn as with audio and video of both kinds.
fn observing(c: &mut Criterion) {
    let mut group = c.benchmark_group("observe");
    group.throughput(Throughput::Elements(1));
    for streams in [1_u32, 4] {
        let mut observed = Observed::new(Tick::default());
        let (mut rtp, mut number) = ([0_u8; 1200], 0_u32);
        (rtp[0], rtp[1]) = (0x80, 96);
        group.bench_function(format!("rtp, {streams} streams"), |b| {
            b.iter(|| {
                number = number.wrapping_add(1);
                rtp[2..4].copy_from_slice(&((number / streams) as u16).to_be_bytes());
                rtp[4..8].copy_from_slice(&(number / streams).wrapping_mul(90).to_be_bytes());
                rtp[11] = (number % streams) as u8;
                let tick = Tick { micros: number.wrapping_mul(1_000 / streams), millis: number / streams };
                observed.up(tick, Kind::Media, black_box(&rtp), true)
            })
        });
    }
    group.finish();
}

/// A check as Chromium sends it to an edge with a minted ufrag.
fn check() -> ([u8; 256], usize) {
    let request = BindingRequest {
        receiver_ufrag: "edge1234edge1234",
        sender_ufrag: "hX4Z",
        priority: 0x6eff_ffff,
        role: IceRole::Controlling(0x0123_4567_89ab_cdef),
        use_candidate: true,
    };
    let mut buffer = [0; 256];
    let len = stun::binding_request(&mut buffer, ID, &request, &Key::short_term(PASSWORD)).expect("fits");
    (buffer, len)
}
