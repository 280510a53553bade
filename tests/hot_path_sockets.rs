//! The whole way of a packet, from socket to socket, costs no allocation: a running worker's are counted, in both modes and
//! both directions. Nothing else may run in this program, so it has one test.

#![allow(clippy::unwrap_used, reason = "a test")]

mod hot_support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hot_support::{Session, allocations, drain, not_the_edge, socket, the_counter_counts};
use xrtc::session::registration::Mode;

const BURST: usize = 20;

/// A session through a running edge, and the sockets at its ends.
struct Call {
    session: Session,
    client: UdpSocket,
    backend: UdpSocket,
    /// Where the backend sees the client.
    towards_client: Option<SocketAddr>,
}

impl Call {
    fn connected(mode: Mode) -> Call {
        let (client, backend) = (socket(), socket());
        let session = Session::registered(mode, backend.local_addr().unwrap());
        client.connect(session.edge.addresses()[0]).unwrap();
        let mut call = Call { session, client, backend, towards_client: None };
        call.connect();
        call
    }

    /// Checks and answers until media passes both ways.
    fn connect(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            self.client.send(&self.session.check()).unwrap();
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
                drain(&self.client);
                drain(&self.backend);
                return;
            }
        }
        panic!("does not connect");
    }

    fn answer(&self, check: &[u8]) -> Option<Vec<u8>> {
        self.session.answer(check, self.client.local_addr().unwrap())
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

#[test]
fn a_packet_costs_no_allocation_from_socket_to_socket() {
    not_the_edge();
    for mode in [Mode::HalfProxy, Mode::Transparent] {
        let call = Call::connected(mode);
        // Buffers grow to the largest batch, timers to their slots.
        call.talk(500);
        let count = allocations(|| call.talk(500));
        let packets = 2 * BURST as u64 * 500;
        // What remains are the agents' checks and timers, by the second and not by the packet.
        assert!(count < packets / 200, "{mode:?}: {count} allocations for {packets} packets");
        call.session.edge.stop();
    }
    the_counter_counts();
}
