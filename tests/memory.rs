//! What a connected session costs in memory, counted: what the Janus dialect keeps of its offer and answer, what the worker
//! that serves it keeps, and what another worker keeps that only knows of it.

#![allow(unsafe_code, reason = "counting bytes needs an allocator")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xrtc::config::DialectKind;
use xrtc::dialect::{self, Carrier, Context, Dialect, Settings, Side};
use xrtc::forward::{Forwarder, Received, Setup, Verdict, Via};
use xrtc::session::registration::{BackendCandidate, CandidateTransport};
use xrtc::session::registration::{Command, Credentials, Mode, Origin, Owner, Registration, Role, SessionId};
use xrtc::stun::{self, BindingRequest, Class, IceRole, Key, Message};

/// Counts what lives, as the C library lays it out: eight bytes before each piece, and in steps of sixteen.
struct Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

fn count(layout: Layout, sign: i64) {
    let piece = ((layout.size() + 8).next_multiple_of(16)).max(32) as i64;
    let _ = LIVE.try_with(|live| live.set(live.get() + sign * piece));
}

// SAFETY: everything is left to the system's allocator; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout, 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout, -1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SESSIONS: u32 = 5_000;
const EDGE: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);

/// Two workers of an edge, of which the first gets all clients.
struct Edge {
    now: Instant,
    workers: [Forwarder; 2],
    reply: [u8; stun::BINDING_RESPONSE_MAX],
    registered: Vec<Arc<Registration>>,
}

impl Edge {
    fn new() -> Edge {
        let now = Instant::now();
        let worker = |worker| {
            let mut state = 1_u64;
            let random = move |bytes: &mut [u8]| random(&mut state, bytes);
            let listeners = vec![SocketAddr::from(([203, 0, 113, 1], 6001))];
            Forwarder::new(Setup { worker, listeners, max_sessions: 10_000, random: Box::new(random), now })
        };
        Edge {
            now,
            workers: [worker(0), worker(1)],
            reply: [0; 256],
            registered: Vec::with_capacity(SESSIONS as usize),
        }
    }

    fn command(&mut self, command: Command) {
        if let Command::Register(registration) = &command {
            self.registered.push(registration.clone());
        }
        for worker in &mut self.workers {
            worker.command(self.now, command.clone());
        }
    }

    /// The client of session `n` checks, the backend answers, media passes both ways.
    fn connect(&mut self, n: u32) {
        let registration = self.registered[n as usize].clone();
        let request = BindingRequest {
            receiver_ufrag: &registration.edge.ufrag,
            sender_ufrag: &registration.client.ufrag,
            priority: 1,
            role: IceRole::Controlling(1),
            use_candidate: true,
        };
        let (mut bytes, mut id) = ([0; 256], [1; 12]);
        id[..4].copy_from_slice(&n.to_be_bytes());
        let key = Key::short_term(&registration.edge.pwd);
        let len = stun::binding_request(&mut bytes, id, &request, &key).unwrap();
        let verdict = self.client_sends(n, &bytes[..len]);
        assert!(!matches!(verdict, Verdict::Drop(_)), "{verdict:?}");
        self.serve_backends();
        let mut rtp = [0x80; 100];
        rtp[1] = 96;
        assert!(matches!(self.client_sends(n, &rtp), Verdict::Forward(_)));
        let verdict = self.handle(Via::Backend(0), backend(n), &rtp);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    }

    /// Opens sockets that are asked for and answers checks, until there are none.
    fn serve_backends(&mut self) {
        while let Some(request) = self.workers[0].poll_socket_request() {
            self.workers[0].socket_opened(self.now, request, EDGE.into());
        }
        while let Some(transmit) = self.workers[0].poll_transmit() {
            let Ok(check) = Message::parse(&transmit.bytes) else { continue };
            if !check.is_binding(Class::Request) {
                continue;
            }
            let n = number(transmit.to.to);
            let key = Key::short_term(&self.registered[n as usize].backend.pwd);
            let mut bytes = [0; 256];
            let len = stun::binding_success(&mut bytes, check.transaction_id(), EDGE.into(), &key).unwrap();
            self.handle(transmit.to.via, transmit.to.to, &bytes[..len]);
        }
        for worker in &mut self.workers {
            while worker.poll_event().is_some() {}
        }
    }

    /// Time passes, with checks and their answers.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(20);
            for _ in 0..40 {
                self.workers[0].handle_timeout(self.now);
                self.workers[1].handle_timeout(self.now);
            }
            self.serve_backends();
        }
    }

    fn client_sends(&mut self, n: u32, bytes: &[u8]) -> Verdict {
        let client = SocketAddr::from(([198, 51, (n >> 14) as u8, 7], 5_000 + (n & 0x3fff) as u16));
        self.handle(Via::Listener(0), client, bytes)
    }

    fn handle(&mut self, via: Via, from: SocketAddr, bytes: &[u8]) -> Verdict {
        self.workers[0].handle(self.now, Received { via, from, local: None }, bytes, &mut self.reply)
    }
}

fn random(state: &mut u64, bytes: &mut [u8]) {
    for byte in bytes {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (*state >> 56) as u8;
    }
}

fn backend(n: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, 2], 20_000 + n as u16))
}

fn number(backend: SocketAddr) -> u32 {
    u32::from(backend.port()) - 20_000
}

fn janus() -> Box<dyn Dialect> {
    let settings = Settings {
        route: "janus".into(),
        edge_candidates: std::iter::once("candidate:1 1 udp 1 203.0.113.1 6001 typ host".into()).collect(),
        mode: Mode::HalfProxy,
        prefer_tcp: false,
        upstream: None,
    };
    dialect::build(&DialectKind::Janus, settings).unwrap()
}

/// One side's message of session `n` with a description that has audio and video in one bundle.
fn described(n: u32, from: Side) -> String {
    let (side, kind) = match from {
        Side::Client => ("client", "offer"),
        Side::Backend => ("backend", "answer"),
    };
    let section = |media: &str, mid: u32| {
        format!(
            "m={media} 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=ice-ufrag:{side}{n:05}\r\n\
             a=ice-pwd:{side}-password-of-{n:06}\r\na=setup:actpass\r\n"
        )
    };
    let candidate = match from {
        Side::Client => String::new(),
        Side::Backend => {
            format!("a=candidate:1 1 udp 2013266431 10.0.1.2 {} typ host\r\n", backend(n).port())
        }
    };
    let sdp = format!(
        "v=0\r\no=- {n} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n{}{candidate}{}",
        section("audio", 0),
        section("video", 1)
    );
    let ids = if from == Side::Client { "handle_id" } else { "sender" };
    format!(
        r#"{{"janus":"{}","session_id":{},"{ids}":{},"transaction":"t","jsep":{{"type":"{kind}","sdp":{}}}}}"#,
        if from == Side::Client { "message" } else { "event" },
        n + 1,
        n + 100_000,
        serde_json::Value::from(sdp)
    )
}

#[test]
fn a_connected_session_in_half_proxy_takes_less_than_five_kibibytes() {
    let (mut janus, mut edge) = (janus(), Edge::new());
    let mut state = 7;
    let before = LIVE.get();
    for n in 0..SESSIONS {
        for from in [Side::Client, Side::Backend] {
            let mut commands = Vec::new();
            let mut random = |bytes: &mut [u8]| random(&mut state, bytes);
            let mut cx = Context { now: edge.now, random: &mut random, commands: &mut commands };
            let path = format!("/janus/{}/{}", n + 1, n + 100_000);
            let carrier = Carrier::Rest { method: "POST", path: &path };
            janus.handle(&mut cx, dialect::Message { from, carrier, body: described(n, from).as_bytes() });
            commands.into_iter().for_each(|command| edge.command(command));
        }
        edge.connect(n);
    }
    edge.wait(Duration::from_secs(15));
    let each = (LIVE.get() - before) / i64::from(SESSIONS);
    assert_eq!(edge.workers[0].live_sessions(), SESSIONS as usize);
    println!("half proxy: {each} bytes per session");
    assert!(each < 5 * 1024, "{each} bytes per session");
    drop(janus);
    println!("  of them the workers: {}", (LIVE.get() - before) / i64::from(SESSIONS));
}

#[test]
fn a_connected_session_in_transparent_mode_takes_less_than_three_and_a_quarter() {
    let mut edge = Edge::new();
    let before = LIVE.get();
    for n in 0..SESSIONS {
        let credentials = |side: &str| Credentials {
            ufrag: format!("{side}{n:05}").into(),
            pwd: format!("{side}-password-of-{n:06}").into(),
        };
        edge.command(Command::Register(Arc::new(Registration {
            session: SessionId(n.into()),
            generation: 0,
            mode: Mode::Transparent,
            edge: credentials("backend"),
            client: credentials("client"),
            backend: credentials("backend"),
            role: Role::Controlling,
            prefer_tcp: false,
            candidates: vec![BackendCandidate {
                transport: CandidateTransport::Udp,
                addr: backend(n),
                priority: 2_013_266_431,
            }],
            origin: Arc::new(Origin { route: "rest".into(), label: format!("{n}").into() }),
            owner: Arc::new(Owner::nobody()),
        })));
        edge.connect(n);
    }
    edge.wait(Duration::from_secs(15));
    let each = (LIVE.get() - before) / i64::from(SESSIONS);
    assert_eq!(edge.workers[0].live_sessions(), SESSIONS as usize);
    println!("transparent: {each} bytes per session");
    assert!(each < 3 * 1024 + 256, "{each} bytes per session");
}
