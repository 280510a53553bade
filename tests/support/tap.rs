//! A UDP socket that writes down every datagram that it receives and sends, in front of an ICE agent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::net::UdpSocket;
use webrtc_util::{Conn, Error};

/// The socket and its notes.
pub struct Tap {
    socket: UdpSocket,
    received: Mutex<Vec<Datagram>>,
    sent: Mutex<Vec<Datagram>>,
}

/// One datagram and who is at the other end.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub peer: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Datagram {
    /// First byte of STUN; told apart without the code under test.
    pub fn is_stun(&self) -> bool {
        self.bytes.first().is_some_and(|first| *first < 4)
    }

    pub fn contains(&self, needle: &[u8]) -> bool {
        self.bytes.windows(needle.len()).any(|window| window == needle)
    }
}

impl Tap {
    pub async fn bind(addr: &str) -> Arc<Tap> {
        let socket = UdpSocket::bind(addr).await.unwrap();
        Arc::new(Tap { socket, received: Mutex::default(), sent: Mutex::default() })
    }

    pub fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub fn received(&self) -> Vec<Datagram> {
        self.received.lock().unwrap().clone()
    }

    pub fn sent(&self) -> Vec<Datagram> {
        self.sent.lock().unwrap().clone()
    }

    /// How many datagrams came that are not STUN.
    pub fn received_media(&self) -> usize {
        self.received.lock().unwrap().iter().filter(|datagram| !datagram.is_stun()).count()
    }

    /// Whether a datagram with `needle` in it was sent.
    pub fn has_sent(&self, needle: &[u8]) -> bool {
        self.sent.lock().unwrap().iter().rev().any(|datagram| datagram.contains(needle))
    }

    /// Sends from the agent's own address without the agent's knowledge, and without a note.
    pub async fn inject(&self, bytes: &[u8], to: SocketAddr) {
        self.socket.send_to(bytes, to).await.unwrap();
    }
}

/// The tap as the ICE agent takes it.
pub struct TapConn(pub Arc<Tap>);

#[async_trait]
impl Conn for TapConn {
    async fn connect(&self, addr: SocketAddr) -> Result<(), Error> {
        Ok(self.0.socket.connect(addr).await?)
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        Ok(self.recv_from(buf).await?.0)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let (len, peer) = self.0.socket.recv_from(buf).await?;
        self.0.received.lock().unwrap().push(Datagram { peer, bytes: buf[..len].to_vec() });
        Ok((len, peer))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        Ok(self.0.socket.send(buf).await?)
    }

    async fn send_to(&self, buf: &[u8], peer: SocketAddr) -> Result<usize, Error> {
        self.0.sent.lock().unwrap().push(Datagram { peer, bytes: buf.to_vec() });
        Ok(self.0.socket.send_to(buf, peer).await?)
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(self.0.socket.local_addr()?)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
