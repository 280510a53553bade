//! What an offer and an answer cost on their way through the edge: reading, rewriting, and the whole message.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xrtc::config::DialectKind;
use xrtc::dialect::{Carrier, ConnectionId, Context, Message, Settings, Side, build};
use xrtc::sdp::{ClientView, Description, hide, towards_client};
use xrtc::session::registration::Mode;

const OFFER: &str = include_str!("../tests/vectors/sdp/echotest-http-1-client-offer.sdp");
const ANSWER: &str = include_str!("../tests/vectors/sdp/echotest-http-2-janus-answer.sdp");
const EDGE: &str = "candidate:1 1 udp 2013266431 192.0.2.1 6000 typ host";

fn descriptions(c: &mut Criterion) {
    let mut group = c.benchmark_group("sdp");
    let edge = [Box::from(EDGE)];
    let credentials = [Some(("0123456789abcdef", "0123456789abcdef0123456789abcdef")); 3];
    let view = ClientView { candidates: &edge, credentials: &credentials, lite: true };

    group.throughput(Throughput::Bytes(OFFER.len() as u64));
    group.bench_function("hide a browser's offer", |b| b.iter(|| hide(black_box(OFFER))));
    group
        .bench_function("read a browser's offer", |b| b.iter(|| Description::read(black_box(OFFER)).is_ok()));

    group.throughput(Throughput::Bytes(ANSWER.len() as u64));
    group.bench_function("read Janus' answer", |b| b.iter(|| Description::read(black_box(ANSWER)).is_ok()));
    let description = Description::read(ANSWER).unwrap_or_default();
    group.bench_function("show Janus' answer", |b| {
        b.iter(|| towards_client(black_box(ANSWER), &description, &view))
    });
    group.finish();
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("janus");
    let quoted = |sdp: &str| serde_json::Value::from(sdp).to_string();
    let offer = format!(
        r#"{{"janus":"message","session_id":1,"handle_id":2,"transaction":"t","body":{{}},"jsep":{{"type":"offer","sdp":{}}}}}"#,
        quoted(OFFER)
    );
    let answer = format!(
        r#"{{"janus":"event","session_id":1,"sender":2,"jsep":{{"type":"answer","sdp":{}}}}}"#,
        quoted(ANSWER)
    );
    let settings = Settings {
        route: "janus".into(),
        edge_candidates: std::iter::once(Box::from(EDGE)).collect(),
        mode: Mode::HalfProxy,
        prefer_tcp: false,
        upstream: None,
    };
    let Some(mut dialect) = build(&DialectKind::Janus, settings) else { return };
    let mut commands = Vec::new();
    let mut run = |from, body: &str| {
        commands.clear();
        let mut random = |bytes: &mut [u8]| bytes.fill(7);
        let mut cx = Context { now: Instant::now(), random: &mut random, commands: &mut commands };
        let carrier = Carrier::WebSocket(ConnectionId(1));
        dialect.handle(&mut cx, Message { from, carrier, body: black_box(body).as_bytes() })
    };
    group.bench_function("offer and answer", |b| {
        b.iter(|| (run(Side::Client, &offer), run(Side::Backend, &answer)));
    });
    let media = r#"[{"janus":"media","session_id":1,"sender":2,"mid":"0","type":"audio","receiving":true}]"#;
    group.bench_function("event that passes", |b| b.iter(|| run(Side::Backend, media)));
    group.finish();
}

criterion_group!(benches, descriptions, messages);
criterion_main!(benches);
