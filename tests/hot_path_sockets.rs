//! The whole way of a packet, from socket to socket, costs no allocation: a running worker's are counted, in both modes and
//! both directions. Nothing else may run in this program, so it has one test.

#![allow(unsafe_code, reason = "counting allocations needs an allocator")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use xrtc::config::{Limits, Media};
use xrtc::listener::PacketSide;
use xrtc::session::registration::{
    BackendCandidate, CandidateTransport, Command, Credentials, Mode, Origin, Owner, Registration, Role,
    SessionId, SessionSink,
};
use xrtc::stun::{self, BindingRequest, Class, IceRole, Key, Message};

/// Counts what threads allocate that did not say that they are none of the edge's.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static NOT_THE_EDGE: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything is left to the system's allocator; counting touches two numbers only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !NOT_THE_EDGE.try_with(Cell::get).unwrap_or(true) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
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

const BURST: usize = 20;

/// A session through a running edge, and the sockets at its ends.
struct Call {
    edge: PacketSide,
    registration: Arc<Registration>,
    client: UdpSocket,
    backend: UdpSocket,
    /// Where the backend sees the client.
    towards_client: Option<SocketAddr>,
}

impl Call {
    fn connected(mode: Mode) -> Call {
        let media = Media {
            workers: 1,
            backend_ports: 20_000..=39_999,
            socket_buffer: 1 << 20,
            offload: true,
            pin_workers: false,
            observe_rtp: true,
        };
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let listeners = ["127.0.0.1:0".parse().unwrap()];
        let limits = Limits { session_packets: 0, ..Limits::default() };
        let edge = PacketSide::start(&listeners, &[], &media, limits.sessions, events).unwrap();
        edge.set_limits(&limits);
        let [client, backend] = [0, 1].map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            socket
        });
        client.connect(edge.addresses()[0]).unwrap();
        let registration = Arc::new(registration(mode, backend.local_addr().unwrap()));
        edge.send(Command::Register(registration.clone()));
        let mut call = Call { edge, registration, client, backend, towards_client: None };
        call.connect();
        call
    }

    /// Checks and answers until media passes both ways.
    fn connect(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            self.client.send(&self.check()).unwrap();
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = self.backend.recv_from(&mut buffer) {
                if let Some(answer) = self.answer(&buffer[..len]) {
                    self.backend.send_to(&answer, from).unwrap();
                    self.towards_client = Some(from);
                    break;
                }
            }
            self.client.send(&[0x80; 100]).unwrap();
            if self.backend.recv(&mut buffer).is_ok_and(|len| len == 100) {
                self.drain();
                return;
            }
        }
        panic!("does not connect");
    }

    fn drain(&self) {
        let mut buffer = [0; 2048];
        for socket in [&self.client, &self.backend] {
            while socket.recv(&mut buffer).is_ok() {}
        }
    }

    fn check(&self) -> Vec<u8> {
        let Registration { edge, client, .. } = &*self.registration;
        let request = BindingRequest {
            receiver_ufrag: &edge.ufrag,
            sender_ufrag: &client.ufrag,
            priority: 1,
            role: IceRole::Controlling(1),
            use_candidate: true,
        };
        let mut bytes = vec![0; 256];
        let id = rand::random();
        let len = stun::binding_request(&mut bytes, id, &request, &Key::short_term(&edge.pwd)).unwrap();
        bytes.truncate(len);
        bytes
    }

    /// The backend's answer to a check.
    fn answer(&self, check: &[u8]) -> Option<Vec<u8>> {
        let check = Message::parse(check).ok().filter(|message| message.is_binding(Class::Request))?;
        let mut bytes = vec![0; 256];
        let key = Key::short_term(&self.registration.backend.pwd);
        let mapped = self.client.local_addr().unwrap();
        let len = stun::binding_success(&mut bytes, check.transaction_id(), mapped, &key).unwrap();
        bytes.truncate(len);
        Some(bytes)
    }

    /// `bursts` of packets up and as many down; all of them arrive.
    fn talk(&self, bursts: usize) {
        let towards_client = self.towards_client.unwrap();
        let (packet, mut buffer) = ([0x80; 1200], [0; 2048]);
        for _ in 0..bursts {
            for _ in 0..BURST {
                self.client.send(&packet).unwrap();
                self.backend.send_to(&packet, towards_client).unwrap();
            }
            for socket in [&self.client, &self.backend] {
                let mut media = 0;
                while media < BURST {
                    let len = socket.recv(&mut buffer).expect("nothing is lost on loopback");
                    if let Some(answer) = self.answer(&buffer[..len]) {
                        self.backend.send_to(&answer, towards_client).unwrap();
                    }
                    media += usize::from(len == packet.len());
                }
            }
        }
    }
}

fn registration(mode: Mode, backend_addr: SocketAddr) -> Registration {
    let credentials =
        |name: &str| Credentials { ufrag: name.into(), pwd: format!("{name}-password-of-22-chars").into() };
    let backend = credentials("backend");
    Registration {
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
            addr: backend_addr,
            priority: 2_013_266_431,
        }],
        origin: Arc::new(Origin { route: "test".into(), label: "test".into() }),
        owner: Arc::new(Owner::nobody()),
    }
}

#[test]
fn a_packet_costs_no_allocation_from_socket_to_socket() {
    NOT_THE_EDGE.set(true);
    for mode in [Mode::HalfProxy, Mode::Transparent] {
        let call = Call::connected(mode);
        // Buffers grow to the largest batch, timers to their slots.
        call.talk(500);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        call.talk(500);
        let count = ALLOCATIONS.load(Ordering::Relaxed) - before;
        let packets = 2 * BURST as u64 * 500;
        // What remains are the agents' checks and timers, by the second and not by the packet.
        assert!(count < packets / 200, "{mode:?}: {count} allocations for {packets} packets");
        call.edge.stop();
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    std::thread::spawn(|| drop(vec![1_u8; 100])).join().unwrap();
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before, "the counter counts");
}
