//! One way to one candidate: a connected UDP socket, or a connection with packets framed in it (RFC 4571), plain or in TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::facts::{PathState, Transport};
use super::reach::{self, Stream};
use super::trust::Trust;

/// For a TLS server to answer the first message. A server of plain ICE-TCP waits for the rest of a frame instead.
const TLS: Duration = Duration::from_secs(2);
/// For the kernel to take a packet.
const SEND: Duration = Duration::from_secs(2);

/// An open path.
pub(super) struct Path {
    wire: Wire,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// What came during the checks and is none: the server may begin DTLS as soon as it has a pair.
    pub(super) early: Vec<Vec<u8>>,
}

/// Most packets that come before the call begins and are kept: a ClientHello in two parts, sent three times.
pub(super) const MOST_EARLY: usize = 6;

enum Wire {
    Udp(UdpSocket),
    Framed { stream: Stream, received: BytesMut },
}

/// Why a path does not open.
pub(super) struct Closed {
    pub(super) state: PathState,
    pub(super) detail: String,
}

impl Closed {
    fn of(error: &io::Error) -> Closed {
        let state = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => PathState::Refused,
            io::ErrorKind::TimedOut => PathState::Silent,
            io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::InvalidInput => PathState::NoRoute,
            _ => PathState::NoRoute,
        };
        Closed { state, detail: reach::said(error) }
    }
}

impl Path {
    /// Opens a path; `bound` is used for UDP where it can reach `remote`.
    pub(super) async fn open(
        transport: Transport,
        remote: SocketAddr,
        bound: Option<UdpSocket>,
    ) -> Result<Path, Closed> {
        let (wire, local) = match transport {
            Transport::Udp => open_udp(remote, bound).await.map_err(|error| Closed::of(&error))?,
            Transport::Tcp | Transport::Tls => {
                let tcp = reach::dial(remote).await.map_err(|error| Closed::of(&error))?;
                let local = tcp.local_addr().map_err(|error| Closed::of(&error))?;
                let stream: Stream = match transport {
                    Transport::Tls => open_tls(remote.ip(), tcp).await?,
                    _ => Box::new(tcp),
                };
                (Wire::Framed { stream, received: BytesMut::new() }, local)
            }
        };
        Ok(Path { wire, local, remote, early: Vec::new() })
    }

    /// Sends one packet.
    pub(super) async fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Udp(socket) => socket.send(packet).await.map(|_| ()),
            Wire::Framed { stream, .. } => {
                let len =
                    u16::try_from(packet.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                let frame = [&len.to_be_bytes(), packet].concat();
                let written = async {
                    stream.write_all(&frame).await?;
                    stream.flush().await
                };
                timeout(SEND, written).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            }
        }
    }

    /// The next packet, into `buffer`. Nothing is lost when the future is dropped.
    pub(super) async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        match &mut self.wire {
            Wire::Udp(socket) => {
                buffer.resize(LONGEST, 0);
                let len = socket.recv(buffer).await?;
                buffer.truncate(len);
            }
            Wire::Framed { stream, received } => {
                while !take_frame(received, buffer) {
                    if stream.read_buf(received).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(())
    }
}

/// Longest datagram.
const LONGEST: usize = 65_536;

pub(super) fn take_frame(received: &mut BytesMut, buffer: &mut Vec<u8>) -> bool {
    let Some(header) = received.first_chunk::<2>() else { return false };
    let len = usize::from(u16::from_be_bytes(*header));
    if received.len() < 2 + len {
        return false;
    }
    received.advance(2);
    buffer.extend_from_slice(&received.split_to(len));
    true
}

async fn open_udp(remote: SocketAddr, bound: Option<UdpSocket>) -> io::Result<(Wire, SocketAddr)> {
    if let Some(socket) = bound
        && socket.connect(remote).await.is_ok()
    {
        let local = socket.local_addr()?;
        return Ok((Wire::Udp(socket), local));
    }
    let any: IpAddr =
        if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(remote).await?;
    let local = socket.local_addr()?;
    Ok((Wire::Udp(socket), local))
}

async fn open_tls(ip: IpAddr, tcp: tokio::net::TcpStream) -> Result<Stream, Closed> {
    let no_tls = |detail: &str| Closed { state: PathState::NoTls, detail: detail.to_owned() };
    let trust = Trust::anybody().map_err(|fault| no_tls(&fault.message))?;
    match timeout(TLS, trust.connector.connect(ServerName::from(ip), tcp)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        _ => Err(no_tls("the port takes no TLS")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_are_split() {
        let stream = [&[0, 3][..], b"abc", &[0, 0], &[0, 1], b"d"].concat();
        let (mut received, mut packets) = (BytesMut::new(), Vec::new());
        for byte in stream {
            received.extend_from_slice(&[byte]);
            let mut packet = Vec::new();
            while take_frame(&mut received, &mut packet) {
                packets.push(std::mem::take(&mut packet));
            }
        }
        assert_eq!(packets, [b"abc".to_vec(), Vec::new(), b"d".to_vec()]);
    }
}
