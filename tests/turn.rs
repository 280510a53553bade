//! The TURN core in virtual time: who gets a relay, what goes where, the RFC's answers to everybody else, and what strangers
//! get.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod turn_support;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use turn_support::*;
use xrtc::auth::{Known, Rejection};
use xrtc::budget::Rate;
use xrtc::config::Secret;
use xrtc::stun::{self, AttributeType, Class, Message, Method};
use xrtc::turn::wire::{attribute, channel_header, data_head, method};
use xrtc::turn::*;

const CLIENT: &str = "198.51.100.1:40000";
const PEER: &str = "8.8.4.4:5000";
const PEER_V6: &str = "[2600::1]:5000";
const DOOR: &str = "203.0.113.7:6001";
const PUBLIC: &str = "203.0.113.7";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn client(text: &str) -> Client {
    Client { transport: Transport::Udp, stream: 0, remote: addr(text), local: None }
}

/// Users, quotas and sockets that are numbers.
#[derive(Default)]
struct World {
    users: HashMap<String, Known>,
    relays: HashMap<u32, SocketAddr>,
    held: usize,
    most: usize,
    next: u32,
    token: Option<[u8; 8]>,
    /// What is not to be had.
    without: Vec<(Family, NoRelay)>,
}

impl Outside for World {
    fn known(&mut self, username: &str, _: IpAddr) -> Known {
        self.users.get(username).cloned().unwrap_or(Known::Rejected(Rejection::UnknownUser))
    }

    fn admit(&mut self, _: &str, _: IpAddr) -> Result<(), Full> {
        if self.held >= self.most {
            return Err(Full::Quota);
        }
        self.held += 1;
        Ok(())
    }

    fn release(&mut self, _: &str, _: IpAddr) {
        self.held -= 1;
    }

    fn open(&mut self, wish: Wish) -> Result<Opened, NoRelay> {
        let (ip, token) = match wish {
            Wish::Any(Family::V4) | Wish::Even { family: Family::V4, reserve: false } => (PUBLIC, None),
            Wish::Even { family: Family::V4, reserve: true } => (PUBLIC, Some([9; 8])),
            Wish::Any(Family::V6) | Wish::Even { family: Family::V6, .. } => ("2600::7", None),
            Wish::Reserved(token) if Some(token) == self.token.take() => (PUBLIC, None),
            Wish::Reserved(_) => return Err(NoRelay::Exhausted),
        };
        let ip: IpAddr = ip.parse().unwrap();
        if let Some((_, reason)) = self.without.iter().find(|(family, _)| *family == Family::of(ip)) {
            return Err(*reason);
        }
        let id = (0..).find(|id| !self.relays.contains_key(id)).unwrap();
        self.next += 1;
        let address = SocketAddr::new(ip, 50_000 + self.next as u16);
        self.relays.insert(id, address);
        self.token = token.or(self.token);
        Ok(Opened { relay: Relay { id: RelayId(id), address }, token })
    }

    fn close(&mut self, relay: RelayId) {
        self.relays.remove(&relay.0).expect("closed once");
    }

    fn is_relay(&self, address: SocketAddr) -> bool {
        self.relays.values().any(|relay| *relay == address)
    }
}

struct Bench {
    server: Server,
    world: World,
    now: Instant,
    numbers: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench::with("example.org", Rate { per_second: 1000, burst: 100_000 })
    }

    fn with(realm: &str, strangers: Rate) -> Bench {
        let now = Instant::now();
        let peers = Peers { own: vec![PUBLIC.parse().unwrap()], ..Peers::default() };
        let policy = Policy { peers, doors: vec![vec![addr(DOOR)]], own_ports: vec![3478], mappings: vec![] };
        let server = Server::new(Setup {
            realm: Realm::new(realm),
            nonces: Nonces::new([3; 32], now),
            policy: Arc::new(policy),
            bandwidth: 0,
            max_lifetime: 3600,
            strangers,
            seed: 5,
            now,
        });
        let mut world = World { most: 10, ..World::default() };
        for (name, password) in [("user", "pass"), ("other", "word")] {
            world.users.insert(name.into(), Known::Passwords(vec![Secret::new(password)]));
        }
        world.users.insert("1000:late".into(), Known::Rejected(Rejection::Expired));
        world.users.insert("hook".into(), Known::Ask);
        Bench { server, world, now, numbers: 100 }
    }

    fn handle(&mut self, client: Client, packet: &[u8]) -> (Verdict, Vec<u8>) {
        let mut reply = [0; stun::BINDING_RESPONSE_MAX];
        let verdict = self.server.handle(self.now, client, packet, &mut reply, &mut self.world);
        let len = if let Verdict::Reply { len } = verdict { len } else { 0 };
        (verdict, reply[..len].to_vec())
    }

    fn answer(&mut self, client: Client, packet: &[u8]) -> Vec<u8> {
        let (verdict, reply) = self.handle(client, packet);
        assert!(matches!(verdict, Verdict::Reply { .. }), "{verdict:?}");
        reply
    }

    fn code(&mut self, client: Client, packet: &[u8]) -> u16 {
        code(&self.answer(client, packet))
    }

    fn signer(&mut self, client: Client, username: &str, password: &str) -> Signer {
        let (realm, nonce) = challenged(&self.answer(client, &allocate(1, None)));
        Signer::new(username, password, &realm, &nonce)
    }

    fn next(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A client with an allocation.
    fn allocated(&mut self, text: &str) -> (Client, Signer, SocketAddr) {
        let client = client(text);
        let signer = self.signer(client, "user", "pass");
        let number = self.next();
        let answer = self.answer(client, &allocate(number, Some(&signer)));
        assert_eq!(code(&answer), 0);
        let message = Message::parse(&answer).unwrap();
        assert_eq!(message.verify(&signer.keys.md5), Ok(()));
        assert_eq!(message.xor_mapped_address(), Some(client.remote));
        assert_eq!(message.get(attribute::LIFETIME), Some(&600_u32.to_be_bytes()[..]));
        (client, signer, message.xor_address(attribute::XOR_RELAYED_ADDRESS).unwrap())
    }

    fn permit(&mut self, client: Client, signer: &Signer, peer: &str) -> u16 {
        let number = self.next();
        self.code(client, &with_peers(method::CREATE_PERMISSION, number, &[addr(peer)], &[], signer))
    }

    fn bind(&mut self, client: Client, signer: &Signer, peer: &str, number: u16) -> u16 {
        let transaction = self.next();
        let packet = with_peers(method::CHANNEL_BIND, transaction, &[addr(peer)], &[channel(number)], signer);
        self.code(client, &packet)
    }

    fn hear_peer(&mut self, relay: u32, peer: &str) -> FromPeer {
        self.server.handle_peer(self.now, RelayId(relay), addr(peer), (1, 100), &self.world)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.server.handle_timeout(self.now, &mut self.world);
    }
}

fn channel_data(number: u16, payload: &[u8]) -> Vec<u8> {
    [&channel_header(number, payload.len())[..], payload].concat()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_channel_carries_data_both_ways_without_a_copy() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    assert_eq!(bench.bind(client, &signer, PEER, 0x4001), 0);
    let packet = channel_data(0x4001, b"hello");
    let to_peer = Verdict::Relay { relay: RelayId(0), to: addr(PEER), at: 4, len: 5 };
    assert_eq!(bench.handle(client, &packet).0, to_peer);
    // Padding behind it is allowed (RFC 8656 §12.5).
    assert_eq!(bench.handle(client, &[&packet[..], &[0; 3]].concat()).0, to_peer);
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Channel { client, number: 0x4001 });
    let other_port = FromPeer::Indication { client, peer: addr("8.8.4.4:9") };
    assert_eq!(bench.hear_peer(0, "8.8.4.4:9"), other_port);
    assert_eq!(bench.hear_peer(0, "8.8.4.5:5000"), FromPeer::Drop(TurnDrop::NoPermission));
    let up = bench.server.counters().traffic.up;
    assert_eq!((up.packets, up.bytes), (2, 10));
}

#[test]
fn send_and_data_indications_carry_data_both_ways() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    let packet = send(addr(PEER), b"hello");
    assert_eq!(bench.handle(client, &packet).0, Verdict::Drop(TurnDrop::NoPermission));
    assert_eq!(bench.permit(client, &signer, "8.8.4.4:1"), 0);
    let Verdict::Relay { to, at, len, .. } = bench.handle(client, &packet).0 else { panic!("not relayed") };
    assert_eq!((to, &packet[at..at + len]), (addr(PEER), &b"hello"[..]));
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Indication { client, peer: addr(PEER) });
    for (peer, len) in [(PEER, 5), (PEER, 8), ("[2600::1]:7", 0), (PEER, 1200)] {
        let mut head = [0; stun::BINDING_RESPONSE_MAX];
        let head_len = data_head(&mut head, id(3), addr(peer), len).unwrap();
        let mut whole = head[..head_len].to_vec();
        whole.resize(head_len + len.next_multiple_of(4), 0);
        let message = Message::parse(&whole).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, method::DATA));
        assert_eq!(message.xor_address(attribute::XOR_PEER_ADDRESS), Some(addr(peer)));
        assert_eq!(message.get(attribute::DATA).unwrap().len(), len);
    }
}

#[test]
fn a_client_without_a_credential_is_told_how_and_nothing_is_kept() {
    let mut bench = Bench::new();
    let client = client(CLIENT);
    let answer = bench.answer(client, &allocate(1, None));
    assert_eq!(code(&answer), 401);
    assert_eq!(bench.server.allocations() + bench.world.relays.len() + bench.world.held, 0);
}

#[test]
fn the_rfcs_answers_to_wrong_credentials() {
    let mut bench = Bench::new();
    let client = client(CLIENT);
    let good = bench.signer(client, "user", "pass");
    let mut wrong = |signer: &Signer| {
        let number = bench.next();
        bench.code(client, &allocate(number, Some(signer)))
    };
    for (username, password) in [("user", "wrong"), ("user", ""), ("nobody", "pass"), ("1000:late", "x")] {
        let signer = Signer::new(username, password, &good.realm, &good.nonce);
        assert_eq!(wrong(&signer), 401, "{username} {password}");
    }
    assert_eq!(wrong(&Signer::new("user", "pass", "elsewhere.org", &good.nonce)), 401);
    for nonce in [&b"12345678"[..], b"", b"obMatJos2gAAA12345678", &[0xff; 40]] {
        assert_eq!(wrong(&Signer::new("user", "pass", &good.realm, nonce)), 438, "{nonce:?}");
    }
    // Another client's nonce.
    let theirs = bench.signer(self::client("198.51.100.2:1"), "user", "pass");
    assert_eq!(bench.code(client, &allocate(7, Some(&theirs))), 438);
    // The nonce of yesterday, and the one that comes with that answer.
    bench.pass(2 * WINDOW);
    let stale = bench.answer(client, &allocate(8, Some(&good)));
    assert_eq!(code(&stale), 438);
    let (realm, nonce) = challenged(&stale);
    assert_eq!(bench.code(client, &allocate(9, Some(&Signer::new("user", "pass", &realm, &nonce)))), 0);
    let auth = |result| bench.server.counters().auth(result);
    assert_eq!((auth(AuthResult::WrongPassword), auth(AuthResult::UnknownUser)), (2, 1));
    assert_eq!((auth(AuthResult::Expired), auth(AuthResult::StaleNonce), auth(AuthResult::Ok)), (1, 6, 1));
}

#[test]
fn integrity_without_the_rest_is_a_bad_request() {
    let mut bench = Bench::new();
    let client = client(CLIENT);
    let signer = bench.signer(client, "user", "pass");
    for missing in 0..3 {
        let mut bytes = vec![0; 500];
        let mut builder = stun::Builder::new(&mut bytes, Class::Request, method::ALLOCATE, id(1))
            .attribute(udp().0, &udp().1);
        let all = [
            (AttributeType::USERNAME, signer.username.as_bytes()),
            (AttributeType::REALM, signer.realm.as_bytes()),
            (AttributeType::NONCE, &signer.nonce),
        ];
        for (_, (typ, value)) in all.iter().enumerate().filter(|(i, _)| *i != missing) {
            builder = builder.attribute(*typ, value);
        }
        let len = builder.integrity(&signer.keys.md5).finish().unwrap();
        assert_eq!(bench.code(client, &bytes[..len]), 400);
    }
}

#[test]
fn sha256_is_offered_and_taken_and_cannot_be_bid_down() {
    let mut bench = Bench::new();
    let client = Client { transport: Transport::Tcp, stream: 1, ..client(CLIENT) };
    let mut signer = bench.signer(client, "user", "pass");
    assert!(signer.nonce.starts_with(b"obMatJos2gAAA"));
    signer.sha256 = true;
    let answer = bench.answer(client, &allocate(2, Some(&signer)));
    assert_eq!(code(&answer), 0);
    assert_eq!(Message::parse(&answer).unwrap().verify_sha256(&signer.keys.sha256_sha256), Ok(()));
    // MD5 in the list that we never sent.
    let mut bytes = vec![0; 500];
    let len = stun::Builder::new(&mut bytes, Class::Request, method::REFRESH, id(3))
        .attribute(AttributeType::USERNAME, b"user")
        .attribute(AttributeType::REALM, signer.realm.as_bytes())
        .attribute(AttributeType::NONCE, &signer.nonce)
        .attribute(attribute::PASSWORD_ALGORITHMS, &[0, 1, 0, 0])
        .attribute(attribute::PASSWORD_ALGORITHM, &[0, 1, 0, 0])
        .integrity(&signer.keys.md5)
        .finish()
        .unwrap();
    assert_eq!(bench.code(client, &bytes[..len]), 400);
}

#[test]
fn an_allocation_belongs_to_its_user_and_to_its_5_tuple() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    let other = Signer::new("other", "word", &signer.realm, &signer.nonce);
    assert_eq!(bench.code(client, &request(method::REFRESH, 5, &[lifetime(0)], Some(&other))), 441);
    let forged = Signer::new("other", "no", &signer.realm, &signer.nonce);
    assert_eq!(bench.code(client, &request(method::REFRESH, 6, &[lifetime(0)], Some(&forged))), 401);
    // 441 is for everything but Allocate (RFC 8656 §19).
    assert_eq!(bench.code(client, &allocate(10, Some(&other))), 437);
    assert_eq!(bench.server.allocations(), 1);
    let elsewhere = self::client("198.51.100.1:40001");
    let theirs = bench.signer(elsewhere, "user", "pass");
    for packet in [
        request(method::REFRESH, 7, &[lifetime(600)], Some(&theirs)),
        with_peers(method::CREATE_PERMISSION, 8, &[addr(PEER)], &[], &theirs),
        with_peers(method::CHANNEL_BIND, 9, &[addr(PEER)], &[channel(0x4000)], &theirs),
    ] {
        assert_eq!(bench.code(elsewhere, &packet), 437);
    }
    assert_eq!(bench.handle(elsewhere, &send(addr(PEER), b"x")).0, Verdict::Drop(TurnDrop::NoAllocation));
    let local = Client { local: Some([10, 0, 0, 1].into()), ..client };
    let dropped = Verdict::Drop(TurnDrop::NoAllocation);
    assert_eq!(bench.handle(local, &channel_data(0x4000, b"x")).0, dropped);
}

#[test]
fn a_retransmitted_allocate_is_answered_the_same_and_another_one_refused() {
    let mut bench = Bench::new();
    let client = client(CLIENT);
    let signer = bench.signer(client, "user", "pass");
    let packet = allocate(2, Some(&signer));
    let first = bench.answer(client, &packet);
    assert_eq!(bench.answer(client, &packet), first);
    assert_eq!(bench.server.allocations(), 1);
    assert_eq!(bench.code(client, &allocate(3, Some(&signer))), 437);
}

#[test]
fn lifetimes_end_what_they_are_for() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    assert_eq!(bench.bind(client, &signer, PEER, 0x4001), 0);
    let data = channel_data(0x4001, b"x");
    bench.pass(PERMISSION_LIFETIME - Duration::from_secs(1));
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Channel { client, number: 0x4001 });
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Drop(TurnDrop::NoPermission));
    assert!(matches!(bench.handle(client, &data).0, Verdict::Relay { .. }), "the channel lasts longer");
    // Asking for less than the usual gives the usual, for too much the most (RFC 8656 §7.2).
    for (asked, granted) in [(60, 600), (601, 601), (1_000_000, 3600), (u32::MAX, 3600)] {
        let number = bench.next();
        let packet = request(method::REFRESH, number, &[lifetime(asked)], Some(&signer));
        let answer = bench.answer(client, &packet);
        let told = Message::parse(&answer).unwrap().get(attribute::LIFETIME).unwrap().to_vec();
        assert_eq!(told, u32::to_be_bytes(granted), "{asked}");
    }
    bench.pass(CHANNEL_LIFETIME);
    assert_eq!(bench.handle(client, &data).0, Verdict::Drop(TurnDrop::NoChannel));
    for _ in 0..60 {
        bench.pass(MINUTE);
    }
    assert_eq!((bench.server.allocations(), bench.world.relays.len(), bench.world.held), (0, 0, 0));
}

#[test]
fn a_refresh_to_zero_ends_it_twice_over() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    for number in 2..4 {
        assert_eq!(bench.code(client, &request(method::REFRESH, number, &[lifetime(0)], Some(&signer))), 0);
        assert_eq!((bench.server.allocations(), bench.world.held), (0, 0));
    }
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Drop(TurnDrop::NoAllocation));
}

#[test]
fn an_expired_channel_rests_before_it_is_somebody_elses() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    let mut signer = signer;
    assert_eq!(bench.bind(client, &signer, PEER, 0x4001), 0);
    assert_eq!(bench.bind(client, &signer, PEER, 0x4001), 0, "the same again refreshes");
    assert_eq!(bench.bind(client, &signer, "8.8.4.4:5001", 0x4001), 400, "the number is taken");
    assert_eq!(bench.bind(client, &signer, PEER, 0x4002), 400, "the peer is bound");
    for number in [0, 0x3fff, 0x8000, 0xffff] {
        assert_eq!(bench.bind(client, &signer, "8.8.4.4:1", number), 400, "{number:#x}");
    }
    let refresh = request(method::REFRESH, 900, &[lifetime(3600)], Some(&signer));
    assert_eq!(bench.code(client, &refresh), 0);
    bench.pass(CHANNEL_LIFETIME + Duration::from_secs(1));
    let renewed = bench.signer(client, "user", "pass");
    signer = renewed;
    assert_eq!(bench.bind(client, &signer, "8.8.4.4:5001", 0x4001), 400, "it rests");
    bench.pass(PERMISSION_LIFETIME);
    signer = bench.signer(client, "user", "pass");
    assert_eq!(bench.bind(client, &signer, "8.8.4.4:5001", 0x4001), 0);
}

#[test]
fn what_an_allocate_may_ask_for() {
    let even = |bits: u8| (attribute::EVEN_PORT, vec![bits]);
    let token = || (attribute::RESERVATION_TOKEN, vec![9; 8]);
    let fragment = || (attribute::DONT_FRAGMENT, vec![]);
    let tcp = || (attribute::REQUESTED_TRANSPORT, vec![6, 0, 0, 0]);
    for (attributes, expected) in [
        (vec![udp(), family(1)], 0),
        (vec![udp(), family(2)], 0),
        (vec![udp(), family(3)], 440),
        (vec![udp(), also(2)], 0),
        (vec![udp(), also(1)], 400),
        (vec![udp(), also(2), family(1)], 400),
        (vec![udp(), also(2), even(0x80)], 400),
        (vec![udp(), even(0)], 0),
        (vec![udp(), token()], 508),
        (vec![udp(), token(), even(0)], 400),
        (vec![udp(), fragment()], 420),
        (vec![tcp()], 442),
        (vec![(attribute::REQUESTED_TRANSPORT, vec![17])], 400),
        (vec![udp(), (attribute::LIFETIME, vec![0, 1])], 400),
        (vec![], 400),
        (vec![udp(), (AttributeType(0x7abc), vec![])], 420),
        (vec![udp(), (AttributeType(0xfabc), vec![])], 0),
    ] {
        let mut bench = Bench::new();
        let client = client(CLIENT);
        let signer = bench.signer(client, "user", "pass");
        let packet = request(method::ALLOCATE, 2, &attributes, Some(&signer));
        let answer = bench.answer(client, &packet);
        assert_eq!(code(&answer), expected, "{attributes:?}");
        assert_eq!(bench.world.held, usize::from(expected == 0), "{attributes:?}");
        if attributes.contains(&also(2)) && expected == 0 {
            let message = Message::parse(&answer).unwrap();
            let both: Vec<_> = message.xor_addresses(attribute::XOR_RELAYED_ADDRESS).flatten().collect();
            assert_eq!(both.len(), 2);
        }
    }
}

#[test]
fn of_two_families_the_one_that_is_there_is_given_and_the_other_explained() {
    use NoRelay::{Exhausted, Family as NotServed};
    let (v4, v6) = (Family::V4, Family::V6);
    for (without, expected) in [
        (vec![(v6, NotServed)], Ok([2, 0, 4, 40])),
        (vec![(v6, Exhausted)], Ok([2, 0, 5, 8])),
        (vec![(v4, NotServed)], Ok([1, 0, 4, 40])),
        (vec![(v4, Exhausted)], Ok([1, 0, 5, 8])),
        (vec![(v4, NotServed), (v6, NotServed)], Err(440)),
        (vec![(v4, NotServed), (v6, Exhausted)], Err(508)),
        (vec![(v4, Exhausted), (v6, NotServed)], Err(508)),
    ] {
        let mut bench = Bench::new();
        bench.world.without = without;
        let client = client(CLIENT);
        let signer = bench.signer(client, "user", "pass");
        let packet = request(method::ALLOCATE, 2, &[udp(), also(2)], Some(&signer));
        let answer = bench.answer(client, &packet);
        let Ok(told) = expected else {
            assert_eq!(code(&answer), expected.unwrap_err());
            assert_eq!(bench.world.held, 0);
            continue;
        };
        let message = Message::parse(&answer).unwrap();
        assert_eq!(message.get(attribute::ADDRESS_ERROR_CODE), Some(&told[..]));
        let relays: Vec<_> = message.xor_addresses(attribute::XOR_RELAYED_ADDRESS).flatten().collect();
        assert_eq!(relays.iter().map(SocketAddr::is_ipv4).collect::<Vec<_>>(), [told[0] == 2]);
        assert_eq!(bench.answer(client, &packet), answer, "a retransmission");
    }
}

/// A client with a relay of each family, and a channel from each.
fn with_both(bench: &mut Bench) -> (Client, Signer) {
    let client = client(CLIENT);
    let signer = bench.signer(client, "user", "pass");
    let packet = request(method::ALLOCATE, 2, &[udp(), also(2)], Some(&signer));
    assert_eq!(bench.code(client, &packet), 0);
    assert_eq!(bench.bind(client, &signer, PEER, 0x4004), 0);
    assert_eq!(bench.bind(client, &signer, PEER_V6, 0x4006), 0);
    (client, signer)
}

impl Bench {
    fn refresh(&mut self, client: Client, signer: &Signer, attributes: Attributes<'_>) -> u16 {
        let number = self.next();
        self.code(client, &request(method::REFRESH, number, attributes, Some(signer)))
    }

    /// Whether what the client sends on a channel leaves.
    fn leaves(&mut self, client: Client, number: u16) -> bool {
        matches!(self.handle(client, &channel_data(number, b"x")).0, Verdict::Relay { .. })
    }
}

/// RFC 8656 §8.1.
#[test]
fn one_family_of_an_allocation_is_given_up_without_the_other() {
    let mut bench = Bench::new();
    let (client, signer) = with_both(&mut bench);
    assert_eq!(bench.refresh(client, &signer, &[lifetime(0), family(2)]), 0);
    assert_eq!((bench.server.allocations(), bench.world.relays.len(), bench.world.held), (1, 1, 1));
    assert!(bench.leaves(client, 0x4004));
    assert_eq!(bench.handle(client, &channel_data(0x4006, b"x")).0, Verdict::Drop(TurnDrop::NoChannel));
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Channel { client, number: 0x4004 });
    assert_eq!(bench.hear_peer(1, PEER_V6), FromPeer::Drop(TurnDrop::NoAllocation));
    assert_eq!(bench.permit(client, &signer, PEER_V6), 443);
    assert_eq!(bench.refresh(client, &signer, &[lifetime(600), family(2)]), 443);
    assert_eq!(bench.refresh(client, &signer, &[lifetime(600)]), 0);
    // Its number and its peer are free.
    assert_eq!(bench.bind(client, &signer, "8.8.4.4:6", 0x4006), 0);
    assert_eq!(bench.refresh(client, &signer, &[lifetime(0), family(1)]), 0);
    assert_eq!((bench.server.allocations(), bench.world.relays.len(), bench.world.held), (0, 0, 0));
    assert_eq!(bench.refresh(client, &signer, &[lifetime(600)]), 437);
}

#[test]
fn a_family_that_is_not_refreshed_expires_and_the_other_goes_on() {
    let mut bench = Bench::new();
    let (client, signer) = with_both(&mut bench);
    assert_eq!(bench.refresh(client, &signer, &[lifetime(3600), family(2)]), 0);
    bench.pass(Duration::from_secs(599));
    assert_eq!(bench.world.relays.len(), 2);
    bench.pass(Duration::from_secs(2));
    assert_eq!((bench.server.allocations(), bench.world.relays.len(), bench.world.held), (1, 1, 1));
    let late = bench.signer(client, "user", "pass");
    assert_eq!(bench.permit(client, &late, PEER), 443);
    assert_eq!(bench.bind(client, &late, PEER_V6, 0x4006), 0);
    assert!(bench.leaves(client, 0x4006));
    for _ in 0..51 {
        bench.pass(MINUTE);
    }
    assert_eq!((bench.server.allocations(), bench.world.relays.len(), bench.world.held), (0, 0, 0));
}

#[test]
fn a_reserved_port_is_for_whoever_brings_the_token() {
    let mut bench = Bench::new();
    let client = client(CLIENT);
    let signer = bench.signer(client, "user", "pass");
    let even = (attribute::EVEN_PORT, vec![0x80]);
    let answer = bench.answer(client, &request(method::ALLOCATE, 2, &[udp(), even], Some(&signer)));
    let token = Message::parse(&answer).unwrap().get(attribute::RESERVATION_TOKEN).unwrap().to_vec();
    let second = self::client("198.51.100.1:40002");
    let theirs = bench.signer(second, "user", "pass");
    let with_token = [udp(), (attribute::RESERVATION_TOKEN, token)];
    assert_eq!(bench.code(second, &request(method::ALLOCATE, 3, &with_token, Some(&theirs))), 0);
}

#[test]
fn quotas_are_answered_and_given_back() {
    let mut bench = Bench::new();
    bench.world.most = 1;
    let (client, signer, _) = bench.allocated(CLIENT);
    let second = self::client("198.51.100.2:1");
    let theirs = bench.signer(second, "user", "pass");
    assert_eq!(bench.code(second, &allocate(2, Some(&theirs))), 486);
    assert_eq!(bench.code(client, &request(method::REFRESH, 3, &[lifetime(0)], Some(&signer))), 0);
    assert_eq!(bench.code(second, &allocate(4, Some(&theirs))), 0);
}

#[test]
fn denied_peers_are_forbidden_counted_and_told_once() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    for peer in ["127.0.0.1:53", "10.0.0.1:1", "169.254.169.254:80", "224.0.0.1:1", "127.0.0.2:2"] {
        assert_eq!(bench.permit(client, &signer, peer), 403, "{peer}");
        assert_eq!(bench.bind(client, &signer, peer, 0x4005), 403, "{peer}");
        assert_eq!(bench.handle(client, &send(addr(peer), b"x")).0, Verdict::Drop(TurnDrop::NoPermission));
    }
    // One bad peer spoils them all.
    let both = with_peers(method::CREATE_PERMISSION, 50, &[addr(PEER), addr("10.0.0.1:1")], &[], &signer);
    assert_eq!(bench.code(client, &both), 403);
    assert_eq!(bench.handle(client, &send(addr(PEER), b"x")).0, Verdict::Drop(TurnDrop::NoPermission));
    assert_eq!(bench.server.counters().denials(Denial::Loopback), 4);
    let told: Vec<_> =
        std::iter::from_fn(|| bench.server.poll_notice()).map(|notice| notice.reason).collect();
    assert_eq!(told, [Denial::Loopback, Denial::Private, Denial::Metadata, Denial::Multicast]);
    assert_eq!(bench.permit(client, &signer, "[2600::1]:1"), 443, "the allocation is IPv4");
}

#[test]
fn one_request_permits_as_many_peers_as_it_has_room_for() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    let peers: Vec<SocketAddr> = (0..50).map(|i| SocketAddr::from(([8, 8, 4, i], 5000))).collect();
    assert_eq!(bench.code(client, &with_peers(method::CREATE_PERMISSION, 50, &peers, &[], &signer)), 0);
    for peer in &peers {
        assert!(matches!(bench.handle(client, &send(*peer, b"x")).0, Verdict::Relay { .. }), "{peer}");
    }
    assert_eq!(bench.code(client, &with_peers(method::CREATE_PERMISSION, 51, &[], &[], &signer)), 400);
}

/// Connect of RFC 6062, what only servers send, and what nobody knows (RFC 8489 §6.3).
#[test]
fn what_asks_for_another_method_is_thrown_away_whoever_asks() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    for method in [Method(0x000), method::SEND, method::DATA, Method(0x00a), Method(0x0aa)] {
        for signer in [None, Some(&signer)] {
            let question = request(method, 9, &[lifetime(600)], signer);
            assert_eq!(bench.handle(client, &question).0, Verdict::Drop(TurnDrop::Unexpected), "{method:?}");
        }
    }
}

#[test]
fn of_this_host_only_relays_and_the_ice_port_are_reached() {
    let mut bench = Bench::new();
    let (client, signer, ours) = bench.allocated(CLIENT);
    let (second, theirs, relay) = bench.allocated("198.51.100.2:1");
    assert_eq!(bench.permit(client, &signer, DOOR), 0);
    let inside = bench.handle(client, &send(addr(DOOR), b"check")).0;
    let Verdict::Inside { relay: from, door, to, len, .. } = inside else { panic!("{inside:?}") };
    assert_eq!((from.address, door, to, len), (ours, 0, addr(DOOR), 5));
    let back = bench.server.handle_inside(bench.now, from.id, addr(DOOR), 9);
    assert_eq!(back, FromPeer::Indication { client, peer: addr(DOOR) });
    let to_relay = bench.handle(client, &send(relay, b"x")).0;
    assert_eq!(to_relay, Verdict::Relay { relay: from.id, to: relay, at: to_relay_at(&to_relay), len: 1 });
    for port in [53, 3478, 22, 0, 50_999] {
        let peer = SocketAddr::new(PUBLIC.parse().unwrap(), port);
        assert_eq!(bench.handle(client, &send(peer, b"x")).0, Verdict::Drop(TurnDrop::PeerDenied), "{port}");
        let transaction = bench.next();
        let bound = with_peers(method::CHANNEL_BIND, transaction, &[peer], &[channel(0x4009)], &signer);
        assert_eq!(bench.code(client, &bound), 403);
    }
    // A channel to a relay does not outlive it: the port may be somebody else's by then.
    assert_eq!(bench.bind(client, &signer, &relay.to_string(), 0x4002), 0);
    assert!(matches!(bench.handle(client, &channel_data(0x4002, b"x")).0, Verdict::Relay { .. }));
    assert_eq!(bench.code(second, &request(method::REFRESH, 77, &[lifetime(0)], Some(&theirs))), 0);
    let dropped = Verdict::Drop(TurnDrop::PeerDenied);
    assert_eq!(bench.handle(client, &channel_data(0x4002, b"x")).0, dropped);
}

fn to_relay_at(verdict: &Verdict) -> usize {
    if let Verdict::Relay { at, .. } = verdict { *at } else { 0 }
}

#[test]
fn a_reload_takes_permissions_away_and_leaves_allocations() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    assert_eq!(bench.bind(client, &signer, PEER, 0x4001), 0);
    let deny = vec![xrtc::config::IpNet { addr: [8, 8, 4, 0].into(), prefix: 24 }];
    let policy = Policy { peers: Peers { deny, ..Peers::default() }, ..Policy::default() };
    bench.server.renew(Arc::new(policy), 0, &bench.world);
    assert_eq!(bench.handle(client, &channel_data(0x4001, b"x")).0, Verdict::Drop(TurnDrop::NoChannel));
    assert_eq!(bench.hear_peer(0, PEER), FromPeer::Drop(TurnDrop::NoPermission));
    assert_eq!(bench.permit(client, &signer, PEER), 403);
    assert_eq!(bench.server.allocations(), 1);
}

#[test]
fn who_is_in_stays_in_though_the_credential_expires() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    bench.world.users.insert("user".into(), Known::Rejected(Rejection::Expired));
    assert_eq!(bench.code(client, &request(method::REFRESH, 2, &[lifetime(600)], Some(&signer))), 0);
    let second = self::client("198.51.100.2:1");
    let theirs = bench.signer(second, "user", "pass");
    assert_eq!(bench.code(second, &allocate(3, Some(&theirs))), 401);
}

#[test]
fn the_webhook_is_asked_only_for_who_has_shown_his_nonce() {
    let mut bench = Bench::new();
    let client = client(CLIENT);
    let signer = bench.signer(client, "hook", "x");
    assert_eq!(bench.handle(client, &allocate(2, Some(&signer))).0, Verdict::Ask);
    let forged = Signer::new("hook", "x", &signer.realm, b"AAAAAAAA");
    assert_eq!(bench.code(client, &allocate(3, Some(&forged))), 438);
}

#[test]
fn limits_of_one_allocation_hold() {
    let mut bench = Bench::new();
    let (client, signer, _) = bench.allocated(CLIENT);
    let mut codes = Vec::new();
    for i in 0..200_u16 {
        codes.push(bench.bind(client, &signer, &format!("9.9.{}.{}:1", i / 250, i % 250), 0x4000 + i));
    }
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), MOST_PEERS);
    assert!(codes[MOST_PEERS..].iter().all(|code| *code == 508));
}

mod strangers {
    use super::*;

    const HEADERS_V4: usize = 28;

    /// Everything that a stranger may get an answer to, as short as it can be asked.
    fn questions() -> Vec<(&'static str, Vec<u8>)> {
        let unknown = (AttributeType(0x7abc), vec![]);
        let mut with_fingerprint = vec![0; 100];
        let len = stun::Builder::new(&mut with_fingerprint, Class::Request, method::ALLOCATE, id(1))
            .attribute(udp().0, &udp().1)
            .fingerprint()
            .finish()
            .unwrap();
        with_fingerprint.truncate(len);
        let signer = Signer::new("u", "p", "r", b"n");
        let mut bare_integrity = vec![0; 100];
        let len = stun::Builder::new(&mut bare_integrity, Class::Request, method::REFRESH, id(1))
            .integrity(&signer.keys.md5)
            .finish()
            .unwrap();
        bare_integrity.truncate(len);
        vec![
            ("Binding", request(Method::BINDING, 1, &[], None)),
            ("Binding, unknown attribute", request(Method::BINDING, 1, std::slice::from_ref(&unknown), None)),
            ("Binding, eight of them", request(Method::BINDING, 1, &vec![unknown; 8], None)),
            ("Allocate (Chromium's)", allocate(1, None)),
            ("Allocate with FINGERPRINT", with_fingerprint),
            ("Allocate with LIFETIME", request(method::ALLOCATE, 1, &[udp(), lifetime(600)], None)),
            (
                "Allocate with SOFTWARE",
                request(method::ALLOCATE, 1, &[udp(), (AttributeType::SOFTWARE, vec![b'x'; 24])], None),
            ),
            ("Allocate without anything", request(method::ALLOCATE, 1, &[], None)),
            ("Refresh", request(method::REFRESH, 1, &[], None)),
            ("ChannelBind", request(method::CHANNEL_BIND, 1, &[], None)),
            ("unknown method", request(Method(0x0aa), 1, &[], None)),
            ("integrity alone", bare_integrity),
            ("stale nonce", allocate(1, Some(&signer))),
        ]
    }

    #[test]
    fn no_answer_is_larger_than_one_and_a_half_times_the_question() {
        for realm in
            ["x", "xrtc", "example.org", "turn.example.org", "a-long-host-name.of.a.large.company.example"]
        {
            let mut bench = Bench::with(realm, Rate { per_second: 1000, burst: 1000 });
            for (what, question) in questions() {
                let (verdict, answer) = bench.handle(client(CLIENT), &question);
                let factor = (answer.len() + HEADERS_V4) as f64 / (question.len() + HEADERS_V4) as f64;
                println!(
                    "{realm:>12.12} {what:<28} {:>3} -> {:>3} bytes: {factor:.2} on the wire, {:.2} of the payload",
                    question.len(),
                    answer.len(),
                    answer.len() as f64 / question.len() as f64,
                );
                assert!(factor <= 1.5, "{realm} {what}: {factor}");
                assert!(matches!(verdict, Verdict::Reply { .. } | Verdict::Drop(_)));
            }
        }
    }

    #[test]
    fn every_allocate_that_a_browser_sends_is_answered_whatever_the_realm() {
        for realm in ["x", "example.org", "a-long-host-name.of.a.large.company.example"] {
            let mut bench = Bench::with(realm, Rate { per_second: 1000, burst: 1000 });
            let short = bench.answer(client(CLIENT), &allocate(1, None));
            let (told, nonce) = challenged(&short);
            assert!(realm.starts_with(&told) && told.len() <= SHORT_REALM);
            assert_eq!(
                bench.code(client(CLIENT), &allocate(2, Some(&Signer::new("user", "pass", &told, &nonce)))),
                0
            );
            let stream = Client { transport: Transport::Tcp, stream: 3, ..client(CLIENT) };
            let (told, nonce) = challenged(&bench.answer(stream, &allocate(1, None)));
            assert_eq!(told, realm);
            assert_eq!(
                bench.code(stream, &allocate(2, Some(&Signer::new("user", "pass", &told, &nonce)))),
                0
            );
        }
    }

    #[test]
    fn a_spoofed_flood_is_answered_seldom_and_leaves_nothing_behind() {
        let mut bench = Bench::with("example.org", Rate { per_second: 50, burst: 500 });
        let packet = allocate(1, None);
        let mut answered = 0;
        for i in 0..100_000_u32 {
            let client = client(&format!("203.0.113.{}:{}", i % 2, 1024 + i % 60_000));
            answered += usize::from(matches!(bench.handle(client, &packet).0, Verdict::Reply { .. }));
        }
        assert_eq!(answered, 2 * 500, "one burst for each of the two victims");
        assert_eq!(bench.server.allocations() + bench.world.held + bench.world.relays.len(), 0);
        assert_eq!(bench.server.counters().drops(TurnDrop::OverBudget), 99_000);
    }

    #[test]
    fn who_is_in_is_not_held_to_the_budget_of_strangers() {
        let mut bench = Bench::with("example.org", Rate { per_second: 1, burst: 3 });
        let (client, signer, _) = bench.allocated(CLIENT);
        while matches!(bench.handle(client, &allocate(1, None)).0, Verdict::Reply { .. }) {}
        for number in 10..100 {
            let packet = request(method::REFRESH, number, &[lifetime(600)], Some(&signer));
            assert_eq!(bench.code(client, &packet), 0);
        }
    }
}

mod hostile {
    use super::*;

    /// Real packets of every kind, to be cut and bent.
    fn packets() -> Vec<Vec<u8>> {
        let mut bench = Bench::new();
        let (_, signer, _) = bench.allocated(CLIENT);
        vec![
            allocate(1, None),
            allocate(2, Some(&signer)),
            request(method::REFRESH, 3, &[lifetime(600)], Some(&signer)),
            with_peers(method::CREATE_PERMISSION, 4, &[addr(PEER), addr("[2600::1]:1")], &[], &signer),
            with_peers(method::CHANNEL_BIND, 5, &[addr(PEER)], &[channel(0x4000)], &signer),
            send(addr(PEER), b"payload"),
            channel_data(0x4000, b"payload"),
            request(Method::BINDING, 6, &[], None),
        ]
    }

    #[test]
    fn every_cut_and_every_bent_byte_of_every_packet_is_survived() {
        let mut bench = Bench::new();
        let (client, signer, _) = bench.allocated(CLIENT);
        assert_eq!(bench.bind(client, &signer, PEER, 0x4000), 0);
        for packet in packets() {
            for len in 0..packet.len() {
                fuzz(&packet[..len]);
                bench.handle(client, &packet[..len]);
            }
            for at in 0..packet.len() {
                for bit in 0..8 {
                    let mut bent = packet.clone();
                    bent[at] ^= 1 << bit;
                    fuzz(&bent);
                    bench.handle(client, &bent);
                }
            }
        }
        assert!(bench.server.allocations() <= 1);
    }

    #[test]
    fn a_bent_request_never_does_anything() {
        let mut bench = Bench::new();
        let (client, signer, _) = bench.allocated(CLIENT);
        let packet = with_peers(method::CREATE_PERMISSION, 4, &[addr(PEER)], &[], &signer);
        for at in 0..packet.len() {
            let mut bent = packet.clone();
            bent[at] ^= 0x10;
            bench.handle(client, &bent);
            let dropped = FromPeer::Drop(TurnDrop::NoPermission);
            assert_eq!(bench.hear_peer(0, PEER), dropped, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&bytes);
        }
    }
}

/// A packet costs the same whether there is one allocation or thousands: nothing is walked through.
#[test]
fn thousands_of_allocations_cost_a_packet_nothing() {
    let time = |allocations: u32| {
        let mut bench = Bench::new();
        bench.world.most = usize::MAX;
        let mut last = None;
        for i in 0..allocations {
            let (client, signer, _) =
                bench.allocated(&format!("198.51.{}.{}:{}", i / 250, i % 250, 2000 + i));
            if i < 100 || i + 1 == allocations {
                assert_eq!(bench.bind(client, &signer, PEER, 0x4001), 0);
                last = Some(client);
            }
        }
        let (client, packet) = (last.unwrap(), channel_data(0x4001, &[0x80; 172]));
        let mut reply = [0; stun::BINDING_RESPONSE_MAX];
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let start = Instant::now();
            for _ in 0..1000 {
                let verdict = bench.server.handle(bench.now, client, &packet, &mut reply, &mut bench.world);
                assert!(matches!(verdict, Verdict::Relay { .. }));
            }
            best = best.min(start.elapsed());
        }
        best
    };
    let (few, many) = (time(10), time(4000));
    // A walk through all would be four hundred times as long.
    assert!(many < few * 3, "1000 packets: {few:?} with 10 allocations, {many:?} with 4000");
}
