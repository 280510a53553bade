//! Fuzz body: a server with one allocation takes anything from its client, from a stranger and from a peer. Never panics, and
//! a stranger is never told more than half as much again as he said.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::from_peer::FromPeer;
use super::outside::{Full, NoRelay, Opened, Outside, Relay, RelayId, Wish};
use super::server::{Server, Setup, Verdict};
use super::{Client, Nonces, Policy, Realm, Transport, wire};
use crate::auth::{Known, Rejection};
use crate::budget::Rate;
use crate::config::Secret;
use crate::stun::{BINDING_RESPONSE_MAX, allowance};

struct World;

impl Outside for World {
    fn known(&mut self, username: &str, _: IpAddr) -> Known {
        match username {
            "ask" => Known::Ask,
            "user" => Known::Passwords(vec![Secret::new("a password that the fuzzer does not know")]),
            _ => Known::Rejected(Rejection::UnknownUser),
        }
    }
    fn admit(&mut self, _: &str, _: IpAddr) -> Result<(), Full> {
        panic!("an allocation without a password")
    }
    fn release(&mut self, _: &str, _: IpAddr) {}
    fn open(&mut self, _: Wish) -> Result<Opened, NoRelay> {
        Ok(Opened {
            relay: Relay { id: RelayId(0), address: SocketAddr::from(([192, 0, 2, 1], 50_000)) },
            token: None,
        })
    }
    fn close(&mut self, _: RelayId) {}
    fn is_relay(&self, _: SocketAddr) -> bool {
        false
    }
}

/// Gives `data` to a server in every way that bytes reach it.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let now = Instant::now();
    let mut server = Server::new(Setup {
        realm: Realm::new("example.org"),
        nonces: Nonces::new([1; 32], now),
        policy: Arc::new(Policy::default()),
        bandwidth: 0,
        max_lifetime: 3600,
        strangers: Rate { per_second: 10, burst: 10 },
        seed: 1,
        now,
    });
    for (transport, stream) in [(Transport::Udp, 0), (Transport::Tcp, 1)] {
        let remote = SocketAddr::from(([198, 51, 100, 1], 1234));
        let client = Client { transport, stream, remote, local: None };
        let mut reply = [0; BINDING_RESPONSE_MAX];
        match server.handle(now, client, data, &mut reply, &mut World) {
            Verdict::Reply { len } => assert!(len <= allowance(data.len(), remote, client.is_stream())),
            Verdict::Ask | Verdict::Done | Verdict::Drop(_) => {}
            Verdict::Relay { .. } | Verdict::Inside { .. } => panic!("relayed without an allocation"),
        }
    }
    let peer = SocketAddr::from(([203, 0, 113, 9], 9));
    let dropped = server.handle_peer(now, RelayId(0), peer, (1, data.len()), &World);
    assert!(matches!(dropped, FromPeer::Drop(_)));
    if let wire::Framed::Message { len, with_padding } = wire::framed(data) {
        assert!(len <= with_padding && with_padding <= data.len() && with_padding - len < 4);
    }
}
