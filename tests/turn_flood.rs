//! A flood of requests from everywhere, alone in its process, whose memory it measures.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod turn_support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use turn_support::allocate;
use xrtc::auth::Store;
use xrtc::budget::Rate;
use xrtc::config::{Auth, Config, Media, Secret};
use xrtc::listener::turn::{External, Externals, Facts, Limits, TurnSide};
use xrtc::turn::{Policy, Realm};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn start() -> TurnSide {
    let config = Config::from_text("services: {a: {proto: upstream, servers: [http://a]}}").unwrap().config;
    let auth = Auth { users: vec![("user".into(), Secret::new("pass"))], ..Auth::default() };
    TurnSide::start(Facts {
        service: "turn0".into(),
        listen: SocketAddr::new(LOCAL, 0),
        media: Media { workers: 2, ..config.media },
        realm: Realm::new("example.org"),
        externals: Externals { addresses: vec![External::new(LOCAL, None).unwrap()], ports: 49_152..=65_535 },
        policy: Policy::default(),
        limits: Limits { all: 100, per_user: 100, per_client: 100 },
        bandwidth: 0,
        max_lifetime: 3600,
        strangers: Rate { per_second: 50, burst: 500 },
        store: Store::new(&auth).unwrap(),
        doors: Vec::new(),
    })
    .unwrap()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_allocates_from_everywhere_takes_no_memory() {
    let side = start();
    let server = side.address();
    let flood = move |rounds: u8| {
        let packet = allocate(1, None);
        for round in 0..rounds {
            // All of 127/8 is this host: addresses that each come once.
            for i in 0..250_u8 {
                let from = Ipv4Addr::new(127, 1 + i % 100, round, i);
                let Ok(socket) = UdpSocket::bind((from, 0)) else { continue };
                for _ in 0..40 {
                    let _ = socket.send_to(&packet, server);
                }
            }
        }
    };
    tokio::task::spawn_blocking(move || flood(4)).await.unwrap();
    let before = resident();
    tokio::task::spawn_blocking(move || flood(20)).await.unwrap();
    let grown = resident().saturating_sub(before);
    assert!(grown < 4096, "200 000 forged requests took {grown} KiB");
    assert_eq!(side.allocations(), 0);
    side.stop();
}
