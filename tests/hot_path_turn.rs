//! What TURN carries costs no allocation either, from socket to socket and in both directions: to a peer by a relay's own
//! socket, and to the edge's own ICE port within the process, through the session behind it to its backend. Nothing else may
//! run in this program, so it has one test.

#![allow(clippy::unwrap_used, reason = "a test")]

mod hot_support;
mod turn_support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hot_support::{Session, allocations, drain, media, not_the_edge, socket, the_counter_counts};
use turn_support::{Signer, allocate, challenged, channel, code, with_peers};
use xrtc::auth::Store;
use xrtc::budget::Rate;
use xrtc::config::{Auth, IpNet, Secret};
use xrtc::listener::tcp::StreamDoor;
use xrtc::listener::turn::{External, Externals, Facts, Limits, TurnSide};
use xrtc::session::registration::Mode;
use xrtc::stun::Message;
use xrtc::turn::wire::{attribute, channel_header, method};
use xrtc::turn::{Peers, Policy, Realm};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const CHANNEL: u16 = 0x4000;
const BURST: usize = 20;
const BURSTS: usize = 500;
const PACKETS: u64 = 2 * (BURST * BURSTS) as u64;

fn start(doors: Vec<(SocketAddr, StreamDoor)>) -> TurnSide {
    let (addresses, doors): (Vec<_>, Vec<_>) = doors.into_iter().unzip();
    let allow = vec![IpNet { addr: LOCAL, prefix: 32 }];
    TurnSide::start(Facts {
        service: "turn0".into(),
        listen: SocketAddr::new(LOCAL, 0),
        media: media(),
        realm: Realm::new("example.org"),
        externals: Externals { addresses: vec![External::new(LOCAL, None).unwrap()], ports: 49_152..=65_535 },
        policy: Policy {
            doors: addresses.into_iter().map(|address| vec![address]).collect(),
            peers: Peers { allow, own: vec![LOCAL], ..Peers::default() },
            ..Policy::default()
        },
        limits: Limits { all: 10, per_user: 10, per_client: 10 },
        bandwidth: 0,
        max_lifetime: 3600,
        strangers: Rate { per_second: 1000, burst: 1000 },
        store: Store::new(&Auth { users: vec![("user".into(), Secret::new("pass"))], ..Auth::default() })
            .unwrap(),
        doors,
    })
    .unwrap()
}

/// A client with a relay and a channel.
struct Client {
    socket: UdpSocket,
    relay: SocketAddr,
}

impl Client {
    fn with_channel_to(server: SocketAddr, peer: SocketAddr) -> Client {
        let socket = socket();
        socket.connect(server).unwrap();
        let (realm, nonce) = challenged(&ask(&socket, &allocate(1, None)));
        let signer = Signer::new("user", "pass", &realm, &nonce);
        let answer = ask(&socket, &allocate(2, Some(&signer)));
        let relay = Message::parse(&answer).unwrap().xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap();
        let bind = with_peers(method::CHANNEL_BIND, 3, &[peer], &[channel(CHANNEL)], &signer);
        assert_eq!(code(&ask(&socket, &bind)), 0);
        Client { socket, relay }
    }

    fn send(&self, payload: &[u8]) {
        self.socket.send(&[&channel_header(CHANNEL, payload.len())[..], payload].concat()).unwrap();
    }

    fn receive(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.socket.recv(buffer)?;
        assert_eq!(buffer[..4], channel_header(CHANNEL, len - 4));
        Ok(len - 4)
    }
}

fn ask(socket: &UdpSocket, request: &[u8]) -> Vec<u8> {
    socket.send(request).unwrap();
    let mut answer = vec![0; 1500];
    let len = socket.recv(&mut answer).unwrap();
    answer.truncate(len);
    answer
}

/// Bursts of packets up and down at once; all of them arrive. `other` has a turn at everything that is no media.
fn talk(client: &Client, peer: &UdpSocket, towards_client: SocketAddr, mut other: impl FnMut(&[u8])) {
    let (packet, mut buffer) = ([0x80; 1200], [0; 2048]);
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            client.send(&packet);
            peer.send_to(&packet, towards_client).unwrap();
        }
        let mut media = 0;
        while media < BURST {
            let len = client.receive(&mut buffer).expect("nothing is lost on loopback");
            media += usize::from(len == packet.len());
        }
        let mut media = 0;
        while media < BURST {
            let len = peer.recv(&mut buffer).expect("nothing is lost on loopback");
            media += usize::from(len == packet.len());
            if len != packet.len() {
                other(&buffer[..len]);
            }
        }
    }
}

fn by_a_relays_socket() {
    let side = start(Vec::new());
    let peer = socket();
    let client = Client::with_channel_to(side.address(), peer.local_addr().unwrap());
    let talk = || talk(&client, &peer, client.relay, |_| {});
    // Buffers grow to the largest batch.
    talk();
    let count = allocations(talk);
    assert!(count < PACKETS / 1000, "by a relay's socket: {count} allocations for {PACKETS} packets");
    side.stop();
}

fn within_the_process() {
    let backend = socket();
    let session = Session::registered(Mode::HalfProxy, backend.local_addr().unwrap());
    let port = session.edge.addresses()[0];
    let side = start(vec![(port, session.edge.add_stream_door(port))]);
    let client = Client::with_channel_to(side.address(), port);
    let towards_client = connect(&session, &client, &backend);
    let talk = || {
        talk(&client, &backend, towards_client, |check| {
            let answer = session.answer(check, client.relay).unwrap();
            backend.send_to(&answer, towards_client).unwrap();
        });
    };
    talk();
    let count = allocations(talk);
    assert!(count < PACKETS / 200, "within the process: {count} allocations for {PACKETS} packets");
    side.stop();
    session.edge.stop();
}

/// Checks and answers until media passes; where the backend sees the client.
fn connect(session: &Session, client: &Client, backend: &UdpSocket) -> SocketAddr {
    let end = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0; 2048];
    let mut towards_client = None;
    while Instant::now() < end {
        client.send(&session.check());
        while let Ok((len, from)) = backend.recv_from(&mut buffer) {
            if let Some(answer) = session.answer(&buffer[..len], client.relay) {
                backend.send_to(&answer, from).unwrap();
                towards_client = Some(from);
                break;
            }
        }
        client.send(&[0x80; 100]);
        if let (Ok(100), Some(towards_client)) = (backend.recv(&mut buffer), towards_client) {
            drain(&client.socket);
            drain(backend);
            return towards_client;
        }
    }
    panic!("does not connect");
}

#[test]
fn what_turn_carries_costs_no_allocation_from_socket_to_socket() {
    not_the_edge();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let _inside = runtime.enter();
    by_a_relays_socket();
    within_the_process();
    the_counter_counts();
}
