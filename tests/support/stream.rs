//! TCP as clients of the shared port use it: in pieces, in TLS, in ssltcp, and with packets framed in it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::within;
use async_trait::async_trait;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_rustls::{TlsConnector, client::TlsStream};
use webrtc_util::{Conn, Error};
use xrtc::classify::stream::{SSLTCP_CLIENT_HELLO, SSLTCP_SERVER_HELLO};

/// Writes a certificate for `name` and its key to `cert.pem` and `key.pem`; returns the certificate.
pub fn write_certificate(dir: &Path, name: &str) -> CertificateDer<'static> {
    write_certificate_until(dir, name, 4000)
}

/// The same, of a certificate that is good until that year.
pub fn write_certificate_until(dir: &Path, name: &str, year: i32) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// Opens TLS on `stream` with whatever certificate the other end has.
pub async fn tls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<S>> {
    TlsConnector::from(trusting(versions)).connect(ServerName::try_from("edge").unwrap(), stream).await
}

/// The same, where nothing is asynchronous.
pub fn blocking_tls(stream: std::net::TcpStream) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let name = ServerName::try_from("edge").unwrap();
    StreamOwned::new(ClientConnection::new(trusting(rustls::ALL_VERSIONS), name).unwrap(), stream)
}

fn trusting(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    Arc::new(config)
}

/// Goes through the pseudo handshake, `piece` bytes at a time.
pub async fn ssltcp(mut stream: TcpStream, piece: usize) -> TcpStream {
    write_in_pieces(&mut stream, &SSLTCP_CLIENT_HELLO, piece).await;
    let mut answer = [0; SSLTCP_SERVER_HELLO.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, SSLTCP_SERVER_HELLO);
    stream
}

/// Writes so that the other end sees the pieces apart, mostly.
pub async fn write_in_pieces(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], piece: usize) {
    for part in bytes.chunks(piece.max(1)) {
        if stream.write_all(part).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        if bytes.len() > piece {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Sends a request in pieces, and reads the answer.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &[u8], piece: usize) -> String {
    write_in_pieces(&mut stream, request, piece).await;
    let mut answer = Vec::new();
    // Without a close_notify, what was read still counts.
    let _ = within(10, "the answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends `packet` in one frame.
pub async fn send_frame(stream: &mut (impl AsyncWrite + Unpin), packet: &[u8]) {
    let frame = [&(packet.len() as u16).to_be_bytes(), packet].concat();
    stream.write_all(&frame).await.unwrap();
}

/// The packet of the next frame.
pub async fn receive_frame(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let len = stream.read_u16().await.unwrap();
    let mut packet = vec![0; usize::from(len)];
    stream.read_exact(&mut packet).await.unwrap();
    packet
}

/// Packets in frames, for an ICE agent that believes in datagrams.
pub struct Framed {
    local: SocketAddr,
    peer: SocketAddr,
    out: mpsc::UnboundedSender<Vec<u8>>,
    packets: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
    reading: watch::Sender<Reading>,
}

/// What of a connection is read, and handed to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Everything,
    Nothing,
    /// Everything is read, but media goes no further: an agent keeps a megabyte at most, and would lose what comes behind a
    /// heap of it.
    AllButMedia,
}

impl Framed {
    /// Frames on `stream`, the first of them written `piece` bytes at a time.
    pub fn over<S>(stream: S, local: SocketAddr, peer: SocketAddr, piece: usize) -> Arc<Framed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (reader, mut writer) = tokio::io::split(stream);
        let (out, mut to_send) = mpsc::unbounded_channel::<Vec<u8>>();
        let (received, packets) = mpsc::unbounded_channel();
        let (reading, what) = watch::channel(Reading::Everything);
        tokio::spawn(async move {
            let mut sent = 0;
            while let Some(packet) = to_send.recv().await {
                let frame = [&(packet.len() as u16).to_be_bytes(), &packet[..]].concat();
                write_in_pieces(&mut writer, &frame, if sent < 3 { piece } else { usize::MAX }).await;
                sent += 1;
            }
            let _ = writer.shutdown().await;
        });
        tokio::spawn(read(reader, received, what));
        Arc::new(Framed { local, peer, out, packets: Mutex::new(packets), reading })
    }

    /// What is read from the connection from now on.
    pub fn read(&self, reading: Reading) {
        self.reading.send_replace(reading);
    }

    /// Sends `packet` past the agent.
    pub fn inject(&self, packet: &[u8]) {
        self.out.send(packet.to_vec()).unwrap();
    }
}

async fn read<S: AsyncRead>(
    mut reader: ReadHalf<S>,
    received: mpsc::UnboundedSender<Vec<u8>>,
    mut reading: watch::Receiver<Reading>,
) {
    loop {
        if reading.wait_for(|reading| *reading != Reading::Nothing).await.is_err() {
            return;
        }
        let Ok(len) = reader.read_u16().await else { return };
        let mut packet = vec![0; usize::from(len)];
        if reader.read_exact(&mut packet).await.is_err() {
            return;
        }
        let is_media = packet.first().is_some_and(|first| *first >= 0x80);
        if is_media && *reading.borrow() == Reading::AllButMedia {
            continue;
        }
        if received.send(packet).is_err() {
            return;
        }
    }
}

/// [`Framed`] as the ICE agent takes it.
pub struct FramedConn(pub Arc<Framed>);

#[async_trait]
impl Conn for FramedConn {
    async fn connect(&self, _: SocketAddr) -> Result<(), Error> {
        Ok(())
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        Ok(self.recv_from(buf).await?.0)
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        let packet = self.0.packets.lock().await.recv().await.ok_or(Error::ErrBufferClosed)?;
        buf[..packet.len()].copy_from_slice(&packet);
        Ok((packet.len(), self.0.peer))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        self.0.out.send(buf.to_vec()).map_err(|_| Error::ErrBufferClosed)?;
        Ok(buf.len())
    }

    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> Result<usize, Error> {
        self.send(buf).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        Ok(self.0.local)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.0.peer)
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
