//! TURN with real sockets: the workers, their relays, bursts, another implementation's client, the webhook, reload and drain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod turn_support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::turn::client::{Client as OtherClient, ClientConfig};
use turn_support::*;
use webrtc_util::Conn;
use xrtc::auth::Store;
use xrtc::budget::Rate;
use xrtc::config::{Auth, Config, IpNet, Media, Secret};
use xrtc::listener::turn::{External, Externals, Facts, Limits, TurnSide};
use xrtc::stun::Message;
use xrtc::telemetry::metrics::MetricSource;
use xrtc::turn::wire::{attribute, channel_header, method};
use xrtc::turn::{Peers, Policy, Realm};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LIMITS: Limits = Limits { all: 100, per_user: 100, per_client: 100 };

fn auth() -> Auth {
    Auth { users: vec![("user".into(), Secret::new("pass"))], ..Auth::default() }
}

fn media() -> Media {
    let config = Config::from_text("services: {a: {proto: upstream, servers: [http://a]}}").unwrap().config;
    Media { workers: 2, ..config.media }
}

fn policy() -> Policy {
    let allow = vec![IpNet { addr: LOCAL, prefix: 32 }];
    Policy { peers: Peers { allow, own: vec![LOCAL], ..Peers::default() }, ..Policy::default() }
}

fn start(auth: &Auth) -> TurnSide {
    TurnSide::start(Facts {
        service: "turn0".into(),
        listen: SocketAddr::new(LOCAL, 0),
        media: media(),
        realm: Realm::new("example.org"),
        externals: Externals { addresses: vec![External::new(LOCAL, None).unwrap()], ports: 49_152..=65_535 },
        policy: policy(),
        limits: LIMITS,
        bandwidth: 0,
        max_lifetime: 3600,
        strangers: Rate { per_second: 1000, burst: 1000 },
        store: Store::new(auth).unwrap(),
        doors: Vec::new(),
    })
    .unwrap()
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((LOCAL, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    let mut answer = vec![0; 1500];
    let len = socket.recv(&mut answer).unwrap();
    answer.truncate(len);
    answer
}

/// A client with an allocation, and its relay.
fn allocated(server: SocketAddr, username: &str, password: &str) -> (UdpSocket, Signer, SocketAddr) {
    let socket = socket();
    socket.connect(server).unwrap();
    let (realm, nonce) = challenged(&ask(&socket, &allocate(1, None)));
    let signer = Signer::new(username, password, &realm, &nonce);
    let answer = ask(&socket, &allocate(2, Some(&signer)));
    assert_eq!(code(&answer), 0);
    let relay = Message::parse(&answer).unwrap().xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap();
    (socket, signer, relay)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_of_every_size_pass_both_ways_in_order() {
    let side = start(&auth());
    let server = side.address();
    let work = move || {
        let (client, signer, relay) = allocated(server, "user", "pass");
        let peer = socket();
        let to = peer.local_addr().unwrap();
        let bind = with_peers(method::CHANNEL_BIND, 3, &[to], &[channel(0x4000)], &signer);
        assert_eq!(code(&ask(&client, &bind)), 0);
        let mut buffer = vec![0; 2000];
        for len in [0, 1, 3, 4, 172, 1200, 1201] {
            for i in 0..20_u8 {
                let payload = vec![i; len];
                client.send(&[&channel_header(0x4000, len)[..], &payload].concat()).unwrap();
                peer.send_to(&payload, relay).unwrap();
            }
            for i in 0..20_u8 {
                let (n, from) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..n], from), (&vec![i; len][..], relay), "up, {len} bytes");
                let n = client.recv(&mut buffer).unwrap();
                assert_eq!(buffer[..4], channel_header(0x4000, len), "down, {len} bytes");
                assert_eq!(buffer[4..n], vec![i; len][..], "down, {len} bytes");
            }
        }
        // From another port of the peer: no channel leads there.
        let other = socket();
        for len in [0, 1, 5, 1000] {
            for _ in 0..5 {
                other.send_to(&vec![7; len], relay).unwrap();
            }
            for _ in 0..5 {
                let n = client.recv(&mut buffer).unwrap();
                let message = Message::parse(&buffer[..n]).unwrap();
                assert_eq!(message.method(), method::DATA);
                assert_eq!(
                    message.xor_address(attribute::XOR_PEER_ADDRESS),
                    Some(other.local_addr().unwrap())
                );
                assert_eq!(message.get(attribute::DATA), Some(&vec![7; len][..]));
            }
        }
        client.send(&send(other.local_addr().unwrap(), b"odd")).unwrap();
        let (n, from) = other.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..n], from), (&b"odd"[..], relay));
    };
    tokio::task::spawn_blocking(work).await.unwrap();
    until("counted", || side.counters().traffic.up.packets == 141);
    let listed = side.snapshot(usize::MAX, None).await;
    assert_eq!((listed.len(), &*listed[0].username, listed[0].channels), (1, "user", 1));
    let families = side.families();
    let allocations = families.iter().find(|family| family.name == "xrtc_turn_allocations").unwrap();
    assert_eq!(allocations.samples[0].value, 1.0);
    side.stop();
    assert_eq!(side.allocations(), 0);
}

/// The `turn` crate is another implementation of the client's side.
#[tokio::test(flavor = "multi_thread")]
async fn another_implementation_relays_through_it() {
    let side = start(&auth());
    let address = side.address().to_string();
    let client = OtherClient::new(ClientConfig {
        stun_serv_addr: address.clone(),
        turn_serv_addr: address,
        username: "user".into(),
        password: "pass".into(),
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    let mapped = client.send_binding_request().await.unwrap();
    assert_eq!(mapped.ip(), LOCAL);
    let relay = client.allocate().await.unwrap();
    let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0; 1500];
    for i in 0..50_u8 {
        relay.send_to(&[i; 100], peer.local_addr().unwrap()).await.unwrap();
        let (n, from) =
            tokio::time::timeout(Duration::from_secs(5), peer.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!((&buffer[..n], from), (&[i; 100][..], relay.local_addr().unwrap()));
        peer.send_to(&buffer[..n], from).await.unwrap();
        let back = tokio::time::timeout(Duration::from_secs(5), relay.recv_from(&mut buffer)).await.unwrap();
        assert_eq!(back.unwrap(), (100, peer.local_addr().unwrap()));
    }
    relay.close().await.unwrap();
    client.close().await.unwrap();
    until("the allocation ends", || side.allocations() == 0);
    side.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_about_by_webhook_gets_his_relay_from_one_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let hook = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/auth", hook.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hook.accept().await {
            let mut request = vec![0; 2048];
            let n = stream.read(&mut request).await.unwrap();
            let known = String::from_utf8_lossy(&request[..n]).contains(r#""username":"eve""#);
            let answer = if known {
                "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"password\":\"pw\"}"
            } else {
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let text = format!(
        "services: {{t: {{proto: turn, net: {{addr: ':3478'}}, turn: {{auth: {{webhook: '{url}'}}}}}}}}"
    );
    let config = Config::from_text(&text).unwrap().config;
    let xrtc::config::ServiceKind::Turn(turn) = &config.services[0].kind else { panic!() };
    let side = start(&turn.auth);
    let server = side.address();
    tokio::task::spawn_blocking(move || {
        allocated(server, "eve", "pw");
        let socket = socket();
        socket.connect(server).unwrap();
        let (realm, nonce) = challenged(&ask(&socket, &allocate(1, None)));
        let stranger = Signer::new("mallory", "pw", &realm, &nonce);
        assert_eq!(code(&ask(&socket, &allocate(2, Some(&stranger)))), 401);
    })
    .await
    .unwrap();
    side.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_users_and_peers_and_a_drain_lets_nobody_in() {
    let side = start(&auth());
    let server = side.address();
    let (client, signer, _) =
        tokio::task::spawn_blocking(move || allocated(server, "user", "pass")).await.unwrap();
    let other = Auth { users: vec![("new".into(), Secret::new("word"))], ..Auth::default() };
    side.renew(&other, (Policy::default(), Vec::new()), LIMITS, 0, Duration::ZERO).unwrap();
    let side = tokio::task::spawn_blocking(move || {
        let permit = |number| {
            let peer = SocketAddr::new(LOCAL, 9);
            code(&ask(&client, &with_peers(method::CREATE_PERMISSION, number, &[peer], &[], &signer)))
        };
        let mut numbers = 10..;
        until("the peer is denied", || {
            std::thread::sleep(Duration::from_millis(1));
            permit(10) == 403
        });
        let refresh = request(method::REFRESH, numbers.next().unwrap(), &[lifetime(600)], Some(&signer));
        assert_eq!(code(&ask(&client, &refresh)), 0, "who is in stays in");
        allocated(server, "new", "word");
        side.drain();
        let socket = socket();
        socket.connect(server).unwrap();
        let (realm, nonce) = challenged(&ask(&socket, &allocate(1, None)));
        let late = Signer::new("new", "word", &realm, &nonce);
        assert_eq!(code(&ask(&socket, &allocate(2, Some(&late)))), 508);
        side
    })
    .await
    .unwrap();
    side.stop();
}
