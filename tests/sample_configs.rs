//! The sample configurations of both generations run: ports, addresses and files are replaced by what a test can have,
//! and nothing else.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::net::{SocketAddr, TcpListener};

use support::edge::{Edge, Ground};
use support::stream::{self, ask};
use tokio::net::{TcpStream, UdpSocket};
use xrtc::stun::{self, BindingRequest, IceRole, Key};

const GET: &[u8] = b"GET /page.html HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_of_the_rewriting_generation_runs() {
    let answer = over_tls(include_str!("vectors/config/generation_a.yml")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("a page"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_of_the_registering_generation_runs() {
    let answer = over_tls(include_str!("vectors/config/generation_b.yml")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("a page"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_with_the_first_spelling_runs() {
    let edge = start(include_str!("vectors/config/generation_a_early.yml"));
    let answer = ask(TcpStream::connect(edge.http).await.unwrap(), GET, usize::MAX).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    ends_well(edge);
}

/// Runs `sample`, checks that it listens for ICE too, and returns what it answers over TLS.
async fn over_tls(sample: &str) -> String {
    let edge = start(sample);
    let tcp = TcpStream::connect(edge.http).await.unwrap();
    let tls = stream::tls(tcp, rustls::ALL_VERSIONS).await.unwrap();
    let answer = ask(tls, GET, usize::MAX).await;
    assert!(has_udp(edge.udp).await, "{}", edge.log());
    ends_well(edge);
    answer
}

fn start(sample: &str) -> Edge {
    Edge::start_with(|ground| {
        stream::write_certificate(ground.dir, "edge");
        let www = ground.dir.join("www");
        std::fs::create_dir(&www).unwrap();
        std::fs::write(www.join("page.html"), "a page").unwrap();
        on_this_machine(sample, ground)
    })
}

fn on_this_machine(sample: &str, ground: &Ground<'_>) -> String {
    let dir = ground.dir.display();
    let ice_tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let replaced = [
        (":6443", ground.tcp.to_string()),
        (":6080", ice_tcp.to_string()),
        (":6000", ground.udp.to_string()),
        ("/etc/edge/tls.crt", format!("{dir}/cert.pem")),
        ("/etc/edge/tls.key", format!("{dir}/key.pem")),
        ("/srv/www", format!("{dir}/www")),
        ("candidate_host_ip", "127.0.0.1".to_owned()),
        ("- host_ip", "- 127.0.0.1".to_owned()),
        ("janus-backend", "127.0.0.1".to_owned()),
        ("web-backend", "127.0.0.1".to_owned()),
        ("ums-backend", "127.0.0.1".to_owned()),
        ("ums-spare", "127.0.0.1".to_owned()),
    ];
    replaced.into_iter().fold(sample.to_owned(), |text, (from, to)| text.replace(from, &to))
}

/// Whether somebody listens there: a closed port refuses a datagram on loopback, and this one says nothing.
async fn has_udp(addr: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(addr).await.unwrap();
    let request = BindingRequest {
        receiver_ufrag: "nobody",
        sender_ufrag: "noone",
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: false,
    };
    let (mut bytes, key) = ([0; 512], Key::short_term("a password of 24 letters"));
    let length = stun::binding_request(&mut bytes, rand::random(), &request, &key).unwrap();
    socket.send(&bytes[..length]).await.unwrap();
    let answer = tokio::time::timeout(support::registered::SILENCE, socket.recv(&mut [0; 64])).await;
    answer.is_err()
}

/// SIGTERM ends it with exit code 0.
fn ends_well(edge: Edge) {
    let (status, log) = edge.end_with_status();
    assert!(status.is_some_and(|status| status.code() == Some(0)), "{status:?}\n{log}");
}
