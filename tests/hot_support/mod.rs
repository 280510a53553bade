//! For tests that count what a running worker allocates: the counter, and one session with the STUN of both its ends.

#![allow(unsafe_code, reason = "counting allocations needs an allocator")]
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "a test, and each uses a part of this")]

#[path = "../support/registration.rs"]
mod registration;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use xrtc::config::{Limits, Media};
use xrtc::listener::PacketSide;
use xrtc::session::registration::{Command, Mode, Registration, SessionSink};
use xrtc::stun::{self, Class, Key, Message};

use registration::registration;

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

/// What this thread allocates from now on is not counted.
pub fn not_the_edge() {
    NOT_THE_EDGE.set(true);
}

/// How many allocations there were meanwhile.
pub fn allocations(during: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    during();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

pub fn the_counter_counts() {
    assert!(allocations(|| std::thread::spawn(|| drop(vec![1_u8; 100])).join().unwrap()) > 0);
}

pub fn media() -> Media {
    Media { backend_ports: 20_000..=39_999, socket_buffer: 1 << 20, ..Media::new(1) }
}

pub fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

pub fn drain(socket: &UdpSocket) {
    while socket.recv(&mut [0; 2048]).is_ok() {}
}

/// A running packet side with one session.
pub struct Session {
    pub edge: PacketSide,
    registration: Arc<Registration>,
}

impl Session {
    pub fn registered(mode: Mode, backend: SocketAddr) -> Session {
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let limits = Limits { session_packets: 0, ..Limits::default() };
        let listeners = ["127.0.0.1:0".parse().unwrap()];
        let edge = PacketSide::start(&listeners, &[], &media(), limits.sessions, events).unwrap();
        edge.set_limits(&limits);
        let registration = Arc::new(registration(1, mode, &[backend]));
        edge.send(Command::Register(registration.clone()));
        Session { edge, registration }
    }

    /// A check of the client.
    pub fn check(&self) -> Vec<u8> {
        registration::check(&self.registration)
    }

    /// The backend's answer to a check.
    pub fn answer(&self, check: &[u8], mapped: SocketAddr) -> Option<Vec<u8>> {
        let check = Message::parse(check).ok().filter(|message| message.is_binding(Class::Request))?;
        let mut bytes = vec![0; 256];
        let key = Key::short_term(&self.registration.backend.pwd);
        let len = stun::binding_success(&mut bytes, check.transaction_id(), mapped, &key).unwrap();
        bytes.truncate(len);
        Some(bytes)
    }
}
