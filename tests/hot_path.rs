//! Deciding over a forwarded packet costs no allocation: counted, in both modes and both directions. The whole way through
//! sockets is in `hot_path_sockets`.

#![allow(unsafe_code, reason = "counting allocations needs an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xrtc::config::Limits;
use xrtc::forward::{Forwarder, Received, Setup, Verdict, Via};
use xrtc::session::registration::{
    BackendCandidate, CandidateTransport, Command, Credentials, Mode, Origin, Owner, Registration, Role,
    SessionId,
};
use xrtc::stun::{self, BindingRequest, IceRole, Key, Message};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(of: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    of();
    ALLOCATIONS.get() - before
}

const CLIENT: ([u8; 4], u16) = ([198, 51, 100, 7], 5000);
const BACKEND: ([u8; 4], u16) = ([10, 0, 0, 2], 20_000);
const EDGE: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);

fn credentials(name: &str) -> Credentials {
    Credentials { ufrag: name.into(), pwd: format!("{name}-password-of-22-chars").into() }
}

struct Bench {
    forwarder: Forwarder,
    registration: Arc<Registration>,
    now: Instant,
    reply: [u8; stun::BINDING_RESPONSE_MAX],
}

impl Bench {
    /// A session with both legs up.
    fn connected(mode: Mode) -> Bench {
        let backend = credentials("backend");
        let registration = Arc::new(Registration {
            session: SessionId(1),
            generation: 0,
            mode,
            edge: if mode == Mode::Transparent { backend.clone() } else { credentials("edge") },
            client: credentials("client"),
            backend,
            role: Role::Controlling,
            prefer_tcp: false,
            candidates: vec![BackendCandidate {
                transport: CandidateTransport::Udp,
                addr: BACKEND.into(),
                priority: 2_013_266_431,
            }],
            origin: Arc::new(Origin { route: "test".into(), label: "test".into() }),
            owner: Arc::new(Owner::nobody()),
        });
        let now = Instant::now();
        let setup = Setup {
            worker: 0,
            listeners: vec![SocketAddr::from(([203, 0, 113, 1], 6001))],
            max_sessions: 10,
            random: Box::new(|bytes| bytes.fill(7)),
            now,
        };
        let mut forwarder = Forwarder::new(setup);
        forwarder.set_limits(now, &Limits { session_bytes: 1 << 30, ..Limits::default() });
        let mut bench = Bench { forwarder, registration: registration.clone(), now, reply: [0; 256] };
        bench.forwarder.command(now, Command::Register(registration));
        bench.check(1);
        bench.answer_checks();
        bench
    }

    fn check(&mut self, serial: u8) {
        let request = BindingRequest {
            receiver_ufrag: &self.registration.edge.ufrag,
            sender_ufrag: &self.registration.client.ufrag,
            priority: 1,
            role: IceRole::Controlling(1),
            use_candidate: true,
        };
        let mut bytes = [0; 256];
        let key = Key::short_term(&self.registration.edge.pwd);
        let len = stun::binding_request(&mut bytes, [serial; 12], &request, &key).expect("fits");
        self.handle(Via::Listener(0), CLIENT.into(), &bytes[..len]);
    }

    /// Opens the socket that was asked for, and answers as the backend what is sent to it.
    fn answer_checks(&mut self) {
        for _ in 0..20 {
            while let Some(request) = self.forwarder.poll_socket_request() {
                self.forwarder.socket_opened(self.now, request, EDGE.into());
            }
            let key = Key::short_term(&self.registration.backend.pwd);
            while let Some(transmit) = self.forwarder.poll_transmit() {
                let Ok(check) = Message::parse(&transmit.bytes) else { continue };
                let mut bytes = [0; 256];
                let mapped = if self.registration.mode == Mode::Transparent { CLIENT } else { EDGE };
                let len = stun::binding_success(&mut bytes, check.transaction_id(), mapped.into(), &key)
                    .expect("fits");
                self.handle(Via::Backend(0), BACKEND.into(), &bytes[..len]);
            }
            self.now += Duration::from_millis(50);
            self.forwarder.handle_timeout(self.now);
        }
    }

    fn handle(&mut self, via: Via, from: SocketAddr, bytes: &[u8]) -> Verdict {
        self.forwarder.handle(self.now, Received { via, from, local: None }, bytes, &mut self.reply)
    }
}

#[test]
fn a_forwarded_packet_costs_no_allocation() {
    for mode in [Mode::HalfProxy, Mode::Transparent] {
        let mut bench = Bench::connected(mode);
        let media = [0x80; 1200];
        let forwards = |verdict| matches!(verdict, Verdict::Forward(_));
        assert!(forwards(bench.handle(Via::Listener(0), CLIENT.into(), &media)), "{mode:?}: up");
        assert!(forwards(bench.handle(Via::Backend(0), BACKEND.into(), &media)), "{mode:?}: down");
        let count = allocations(|| {
            for _ in 0..10_000 {
                bench.now += Duration::from_micros(60);
                assert!(forwards(bench.handle(Via::Listener(0), CLIENT.into(), &media)));
                assert!(forwards(bench.handle(Via::Backend(0), BACKEND.into(), &media)));
            }
        });
        assert_eq!(count, 0, "{mode:?}");
    }
}

#[test]
fn a_strangers_packet_costs_no_allocation() {
    let mut bench = Bench::connected(Mode::HalfProxy);
    let stranger = SocketAddr::from(([192, 0, 2, 66], 6666));
    let mut forged = [0; 256];
    let request = BindingRequest {
        receiver_ufrag: "edge",
        sender_ufrag: "client",
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: true,
    };
    let key = Key::short_term("not the password at all");
    let len = stun::binding_request(&mut forged, [9; 12], &request, &key).expect("fits");
    let dropped = |verdict| matches!(verdict, Verdict::Drop(_));
    let count = allocations(|| {
        for _ in 0..1_000 {
            assert!(dropped(bench.handle(Via::Listener(0), stranger, &forged[..len])));
            assert!(dropped(bench.handle(Via::Listener(0), stranger, &[0x80; 100])));
            assert!(dropped(bench.handle(Via::Listener(0), stranger, &[22; 60])));
            assert!(dropped(bench.handle(Via::Backend(0), stranger, &[0x80; 100])));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(vec![1u8; 100])), 1);
}
