//! What somebody who is not the client can send to the port: nothing is answered, nothing changes, nothing reaches
//! the backend, and the client's media goes on.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::backend::{Backend, BackendPeer};
use support::client::{Client, negotiate};
use support::edge::Edge;
use support::peer::media_packet;
use support::sdp;
use tokio::net::UdpSocket;
use xrtc::stun::{self, AttributeType, Builder, Class, Key, Method};

/// Stands in every forged packet that has room for it, so that it is found wherever it arrives.
const MARK: &[u8; 12] = b"forged!bytes";

/// How long an answer would have to come; the edge answers within a millisecond.
const SILENCE: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_checks_are_not_answered_and_move_nothing() {
    let scene = Scene::new().await;
    let real = scene.check().build();
    let from_the_client = scene.clients_own_check();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("wrong integrity", scene.check().key("wrong password of 24 chars").build()),
        ("the client's own password", scene.check().key(&scene.client_pwd()).build()),
        ("missing integrity", scene.check().without_integrity().build()),
        ("missing integrity and fingerprint", scene.check().bare().build()),
        ("unknown ufrag of the edge", scene.check().ufrags("nobody", &scene.victim.ufrag).build()),
        ("unknown ufrag of the client", scene.check().ufrags(&scene.victim.edge_ufrag, "nobody").build()),
        (
            "ufrags the wrong way round",
            scene.check().ufrags(&scene.victim.ufrag, &scene.victim.edge_ufrag).build(),
        ),
        ("no ufrag of the client", scene.check().username(&scene.victim.edge_ufrag).build()),
        ("empty username", scene.check().username("").build()),
        ("bad fingerprint", flipped(&real, real.len() - 1)),
        ("changed priority", flipped(&real, position(&real, &0x6eff_ffff_u32.to_be_bytes()))),
        ("trailing byte", [&real[..], &[0]].concat()),
        ("the client's own check, from elsewhere", from_the_client),
        ("success without a request", scene.response(Class::Success)),
        ("error without a request", scene.response(Class::Error)),
        ("an indication with good integrity", scene.check().class(Class::Indication).build()),
        ("another method with good integrity", scene.check().method(Method(3)).build()),
    ];
    for (what, packet) in &cases {
        scene.expect_nothing_happens(what, packet).await;
    }
    scene.expect_nothing_forged_arrived();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_from_an_unvalidated_address_go_nowhere() {
    let scene = Scene::new().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("DTLS ClientHello", client_hello()),
        ("RTP", [&media_packet("")[..], MARK].concat()),
        ("RTCP", [&[0x80, 201, 0, 1, 0, 0, 0, 1][..], MARK].concat()),
        ("TURN channel data", [&[0x40, 0, 0, 12][..], MARK].concat()),
        ("ZRTP", [&[0x10, 0, 0, 1][..], MARK].concat()),
        ("QUIC", [&[0xc0, 0, 0, 1][..], MARK].concat()),
        ("nothing known", [&[0x07][..], MARK].concat()),
        ("one byte", vec![0x80]),
        ("no byte", vec![]),
        ("the largest datagram", MARK.repeat(5_400)),
    ];
    for (what, packet) in &cases {
        scene.expect_nothing_happens(what, packet).await;
    }
    scene.expect_nothing_forged_arrived();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_checks_of_every_length_are_dropped_from_any_address() {
    let scene = Scene::new().await;
    let whole = scene.check().build();
    let stranger = Stranger::new(scene.edge.udp).await;
    let before = scene.at_backend.tap.received_media();
    for len in 0..whole.len() {
        stranger.send(&whole[..len]).await;
        // With everything but the fingerprint it would be a good check again.
        if len >= 20 && len != whole.len() - 8 {
            let mut corrected = whole[..len].to_vec();
            corrected[2..4].copy_from_slice(&(len as u16 - 20).to_be_bytes());
            stranger.send(&corrected).await;
        }
        scene.victim.peer.tap.inject(&whole[..len], scene.edge.udp).await;
    }
    stranger.expect_silence("truncated checks").await;
    assert_eq!(scene.at_backend.tap.received_media(), before, "a truncated check reached the backend");
    scene.expect_media_goes_on("truncated checks").await;
    scene.expect_nothing_forged_arrived();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_checks_before_the_first_real_one_take_no_session() {
    let backend = Backend::start().await;
    let edge = Edge::start(backend.addr);
    let negotiated = negotiate(edge.http).await;
    let edge_ufrag = sdp::value(&negotiated.answer, "ice-ufrag").unwrap();
    let stranger = Stranger::new(edge.udp).await;
    for forged in [
        Check::new(edge_ufrag, &negotiated.peer.ufrag, "wrong password of 24 chars").build(),
        Check::new(edge_ufrag, &negotiated.peer.ufrag, "").bare().build(),
        client_hello(),
    ] {
        stranger.send(&forged).await;
    }
    stranger.expect_silence("forged checks").await;
    let client = negotiated.connect().await;
    assert_eq!(client.ping("first").await, format!("first via {}", client.handle));
    assert!(stranger.nothing_came(), "media went to the stranger");
    let received = backend.peer(client.handle).tap.received();
    assert!(received.iter().all(|datagram| !datagram.contains(MARK)));
}

/// Knowing the password is not enough: media moves only to an address that answers the edge's own checks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_address_that_answers_nothing_gets_no_media() {
    let scene = Scene::new().await;
    let second = Stranger::new(scene.edge.udp).await;
    for _ in 0..5 {
        second.send(&scene.check().fresh().use_candidate().build()).await;
        scene.expect_media_goes_on("a valid check from elsewhere").await;
    }
    let before = scene.at_backend.tap.received_media();
    second.send(&[&media_packet("")[..], MARK].concat()).await;
    tokio::time::sleep(SILENCE).await;
    assert_eq!(scene.at_backend.tap.received_media(), before, "media of an unproven address was forwarded");
    let received = second.drain();
    assert!(received.iter().all(|packet| packet[0] < 4), "an unproven address got media");
    assert!(received.len() <= 10, "more than an answer and a check per check: {}", received.len());
    scene.expect_nothing_forged_arrived();
}

/// One client in the middle of a call.
struct Scene {
    edge: Edge,
    victim: Client,
    at_backend: std::sync::Arc<BackendPeer>,
    _backend: Backend,
}

impl Scene {
    async fn new() -> Scene {
        let backend = Backend::start().await;
        let edge = Edge::start(backend.addr);
        let victim = Client::connect(edge.http).await;
        let at_backend = backend.peer(victim.handle);
        let scene = Scene { edge, victim, at_backend, _backend: backend };
        scene.expect_media_goes_on("nothing yet").await;
        scene
    }

    /// A check that is good in every respect.
    fn check(&self) -> Check {
        Check::new(&self.victim.edge_ufrag, &self.victim.ufrag, &self.victim.edge_pwd)
    }

    fn client_pwd(&self) -> String {
        sdp::value(&self.victim.offer, "ice-pwd").unwrap().to_owned()
    }

    /// The newest check that the client really sent.
    fn clients_own_check(&self) -> Vec<u8> {
        let sent = self.victim.peer.tap.sent();
        let mut checks = sent.into_iter().filter(|datagram| {
            stun::Message::parse(&datagram.bytes).is_ok_and(|message| message.is_binding(Class::Request))
        });
        checks.next_back().unwrap().bytes
    }

    /// An answer to a check that nobody sent, signed as the client would sign it.
    fn response(&self, class: Class) -> Vec<u8> {
        let key = Key::short_term(&self.client_pwd());
        let mut buffer = vec![0; 256];
        let builder =
            Builder::new(&mut buffer, class, Method::BINDING, *MARK).xor_mapped_address(self.edge.udp);
        let len = builder.integrity(&key).fingerprint().finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    async fn expect_nothing_happens(&self, what: &str, packet: &[u8]) {
        let stranger = Stranger::new(self.edge.udp).await;
        let before = self.at_backend.tap.received_media();
        for _ in 0..3 {
            stranger.send(packet).await;
        }
        stranger.expect_silence(what).await;
        assert_eq!(self.at_backend.tap.received_media(), before, "{what}: a packet reached the backend");
        self.expect_media_goes_on(what).await;
        assert!(stranger.nothing_came(), "{what}: the client's media went elsewhere");
    }

    async fn expect_media_goes_on(&self, what: &str) {
        let text = format!("media after {what}");
        assert_eq!(self.victim.ping(&text).await, format!("{text} via {}", self.victim.handle));
        let text = format!("data after {what}");
        assert_eq!(self.victim.ping_data(&text).await, format!("echo {text}"));
    }

    fn expect_nothing_forged_arrived(&self) {
        for (end, tap) in [("backend", &self.at_backend.tap), ("client", &self.victim.peer.tap)] {
            let forged = tap.received().iter().filter(|datagram| datagram.contains(MARK)).count();
            assert_eq!(forged, 0, "forged bytes reached the {end}");
        }
        let past: Vec<SocketAddr> = self.victim.peer.tap.received().iter().map(|seen| seen.peer).collect();
        assert!(past.iter().all(|peer| *peer == self.edge.udp), "the client heard of somebody else");
        let log = self.edge.log();
        assert!(!log.contains("migrated"), "the session moved:\n{log}");
    }
}

/// Somebody else at another address.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    async fn new(edge: SocketAddr) -> Stranger {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(edge).await.unwrap();
        Stranger { socket }
    }

    async fn send(&self, packet: &[u8]) {
        self.socket.send(packet).await.unwrap();
    }

    async fn expect_silence(&self, what: &str) {
        tokio::time::sleep(SILENCE).await;
        let received = self.drain();
        assert!(received.is_empty(), "{what}: answered with {received:02x?}");
    }

    fn nothing_came(&self) -> bool {
        self.drain().is_empty()
    }

    fn drain(&self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let mut received = Vec::new();
        while let Ok(len) = self.socket.try_recv(&mut buffer) {
            received.push(buffer[..len].to_vec());
        }
        received
    }
}

/// A check, to be made wrong in one respect.
#[derive(Clone)]
struct Check {
    class: Class,
    method: Method,
    id: stun::TransactionId,
    username: String,
    key: Option<Key>,
    fingerprint: bool,
    use_candidate: bool,
}

impl Check {
    fn new(edge_ufrag: &str, ufrag: &str, pwd: &str) -> Check {
        Check {
            class: Class::Request,
            method: Method::BINDING,
            id: *MARK,
            username: format!("{edge_ufrag}:{ufrag}"),
            key: Some(Key::short_term(pwd)),
            fingerprint: true,
            use_candidate: false,
        }
    }

    fn key(self, pwd: &str) -> Check {
        Check { key: Some(Key::short_term(pwd)), ..self }
    }

    fn without_integrity(self) -> Check {
        Check { key: None, ..self }
    }

    fn bare(self) -> Check {
        Check { key: None, fingerprint: false, ..self }
    }

    fn ufrags(self, receiver: &str, sender: &str) -> Check {
        self.username(&format!("{receiver}:{sender}"))
    }

    fn username(self, username: &str) -> Check {
        Check { username: username.to_owned(), ..self }
    }

    fn class(self, class: Class) -> Check {
        Check { class, ..self }
    }

    fn method(self, method: Method) -> Check {
        Check { method, ..self }
    }

    fn use_candidate(self) -> Check {
        Check { use_candidate: true, ..self }
    }

    /// With a transaction id that was not used before.
    fn fresh(self) -> Check {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut id = self.id;
        id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Check { id, ..self }
    }

    fn build(&self) -> Vec<u8> {
        let mut buffer = vec![0; 512];
        let mut builder = Builder::new(&mut buffer, self.class, self.method, self.id)
            .attribute(AttributeType::USERNAME, self.username.as_bytes())
            .priority(0x6eff_ffff)
            .ice_controlling(1);
        if self.use_candidate {
            builder = builder.use_candidate();
        }
        if let Some(key) = &self.key {
            builder = builder.integrity(key);
        }
        if self.fingerprint {
            builder = builder.fingerprint();
        }
        let len = builder.finish().unwrap();
        buffer.truncate(len);
        buffer
    }
}

fn flipped(packet: &[u8], at: usize) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at] ^= 1;
    packet
}

fn position(packet: &[u8], needle: &[u8]) -> usize {
    packet.windows(needle.len()).position(|window| window == needle).unwrap()
}

/// A DTLS 1.2 record with a ClientHello whose random carries the mark.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![0xfe, 0xfd];
    hello.extend_from_slice(MARK);
    hello.extend_from_slice(&[0x5a; 20]);
    // No session, no cookie, one cipher suite, null compression.
    hello.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let len = hello.len() as u8;
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, len + 12];
    record.extend_from_slice(&[1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len]);
    record.extend_from_slice(&hello);
    record
}
