//! One session as the generator sees it: a client's socket, a backend's socket, and what either needs to answer a check.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use crate::bench::bare::{BACKENDS, CLIENTS};
use crate::bench::{BenchError, Doing, datagrams};
use crate::stun::Key;

/// Where the search for ports begins: above those that servers use.
const FIRST_PORT: u16 = 10_240;
/// Below the ports of relays in a comparison. The kernel hands out some of these; they are left out.
const LAST_PORT: u16 = 39_999;

/// A client and the backend that it shall reach.
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) backend: End,
    /// What precedes every packet of the client: its TURN channel.
    pub(super) channel: Option<u16>,
}

/// One side of a session.
pub(super) struct End {
    pub(super) socket: UdpSocket,
    pub(super) addr: SocketAddrV4,
    /// Its own ICE password; without one it answers no checks.
    pub(super) key: Option<Key>,
}

impl Pair {
    /// Opens `count` pairs. Client and backend of a pair have the same port, at two loopback addresses.
    pub(super) fn open(count: usize) -> Result<Vec<Pair>, BenchError> {
        let mut pairs = Vec::with_capacity(count);
        for port in FIRST_PORT..=LAST_PORT {
            if pairs.len() == count {
                break;
            }
            match Pair::at(port) {
                Ok(pair) => pairs.push(pair),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).doing(|| format!("cannot open socket {}", 2 * pairs.len())),
            }
        }
        if pairs.len() < count {
            let found = pairs.len();
            return Err(BenchError::Usage(format!("{count} sessions, but only {found} ports are free")));
        }
        Ok(pairs)
    }

    fn at(port: u16) -> io::Result<Pair> {
        let end = |ip| {
            let addr = SocketAddrV4::new(ip, port);
            Ok::<_, io::Error>(End { socket: datagrams::bind(addr)?, addr, key: None })
        };
        Ok(Pair { client: end(CLIENTS)?, backend: end(BACKENDS)?, channel: None })
    }
}

impl End {
    /// Fixes where it sends to, and from where it hears.
    pub(super) fn connect(&self, to: SocketAddr) -> Result<(), BenchError> {
        self.socket.connect(to).doing(|| format!("cannot connect to {to}"))
    }

    /// The next datagram, waiting for it. For setting up; nothing is measured here.
    pub(super) fn wait<'a>(&self, buffer: &'a mut [u8], time: Duration) -> Option<(&'a [u8], SocketAddr)> {
        let start = Instant::now();
        loop {
            if let Ok((len, from)) = self.socket.recv_from(buffer) {
                return Some((&buffer[..len], from));
            }
            if start.elapsed() > time {
                return None;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}
