//! An endpoint of a PeerConnection: ICE agent, DTLS and raw media over one recorded socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use dtls::config::{ClientAuthType, Config};
use dtls::conn::DTLSConn;
use dtls::crypto::Certificate;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::AgentConfig;
use webrtc_ice::candidate::Candidate;
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::udp_mux::{UDPMuxDefault, UDPMuxParams};
use webrtc_ice::udp_network::UDPNetwork;
use webrtc_util::{Conn, Error};

use super::sdp::{self, Description};
use super::tap::{Tap, TapConn};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// An endpoint that is not connected yet.
pub struct Peer {
    pub tap: Arc<Tap>,
    agent: Arc<Agent>,
    certificate: Certificate,
    pub ufrag: String,
    pub pwd: String,
}

/// Which side of ICE and DTLS an endpoint takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Controlling, DTLS client unless the answer says otherwise.
    Offerer,
    /// Controlled, DTLS server.
    Answerer,
}

impl Peer {
    pub async fn new() -> Peer {
        let tap = Tap::bind("127.0.0.1:0").await;
        Peer::over(tap.clone(), TapConn(tap)).await
    }

    /// A peer that sends and receives by `conn`; the tap sees nothing if that is another way.
    pub async fn over(tap: Arc<Tap>, conn: impl Conn + Send + Sync + 'static) -> Peer {
        // `dtls` asks for the process's provider, and both are linked into tests.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mux = UDPMuxDefault::new(UDPMuxParams::new(conn));
        let config = AgentConfig {
            network_types: vec![NetworkType::Udp4],
            udp_network: UDPNetwork::Muxed(mux),
            include_loopback: true,
            multicast_dns_mode: MulticastDnsMode::Disabled,
            ip_filter: Arc::new(Some(Box::new(|ip| ip == LOOPBACK))),
            ..AgentConfig::default()
        };
        let agent = Arc::new(Agent::new(config).await.unwrap());
        agent.on_candidate(Box::new(|_| Box::pin(async {})));
        agent.gather_candidates().unwrap();
        let (ufrag, pwd) = agent.get_local_user_credentials().await;
        let certificate = Certificate::generate_self_signed(vec!["peer".to_owned()]).unwrap();
        Peer { tap, agent, certificate, ufrag, pwd }
    }

    /// What this endpoint says of itself, its own candidate included.
    pub fn description(&self, side: Side) -> String {
        sdp::describe(&Description {
            ufrag: &self.ufrag,
            pwd: &self.pwd,
            fingerprint: &fingerprint(&self.certificate.certificate[0]),
            setup: if side == Side::Offerer { "actpass" } else { "passive" },
            addr: self.tap.addr(),
        })
    }

    /// Connects ICE, then DTLS, to whom `description` describes.
    pub async fn connect(self, side: Side, description: &str) -> Connected {
        let ufrag = sdp::value(description, "ice-ufrag").unwrap().to_owned();
        let pwd = sdp::value(description, "ice-pwd").unwrap().to_owned();
        for line in sdp::values(description, "candidate").filter(|line| line.contains(" udp ")) {
            let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(unmarshal_candidate(line).unwrap());
            self.agent.add_remote_candidate(&candidate).unwrap();
        }
        let (cancel, cancelled) = mpsc::channel(1);
        let ice: Arc<dyn Conn + Send + Sync> = match side {
            Side::Offerer => self.agent.dial(cancelled, ufrag, pwd).await.unwrap(),
            Side::Answerer => self.agent.accept(cancelled, ufrag, pwd).await.unwrap(),
        };
        let (for_dtls, media) = split(ice.clone());
        let config = Config {
            certificates: vec![self.certificate],
            // The certificate is compared with the description instead, by whoever asserts.
            insecure_skip_verify: true,
            client_auth: ClientAuthType::RequireAnyClientCert,
            ..Config::default()
        };
        // Who is answered with `active` waits to be called.
        let client = side == Side::Offerer && sdp::value(description, "setup") != Some("active");
        let dtls = DTLSConn::new(for_dtls, config, client, None).await.unwrap();
        let certificates = dtls.connection_state().await.peer_certificates;
        Connected {
            tap: self.tap,
            agent: self.agent,
            ice,
            dtls: Arc::new(dtls),
            media: Mutex::new(media),
            peer_fingerprint: fingerprint(&certificates[0]),
            _cancel: cancel,
        }
    }
}

/// An endpoint whose DTLS handshake is done.
pub struct Connected {
    pub tap: Arc<Tap>,
    pub agent: Arc<Agent>,
    ice: Arc<dyn Conn + Send + Sync>,
    pub dtls: Arc<DTLSConn>,
    media: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
    /// SHA-256 of the certificate that the other end showed, as in `a=fingerprint`.
    pub peer_fingerprint: String,
    _cancel: mpsc::Sender<()>,
}

impl Connected {
    /// Sends a packet that looks like RTP and is no DTLS.
    pub async fn send_media(&self, text: &str) {
        self.ice.send(&media_packet(text)).await.unwrap();
    }

    /// The text of the next packet that looks like RTP.
    pub async fn next_media(&self) -> Option<String> {
        let packet = self.media.lock().await.recv().await?;
        Some(String::from_utf8_lossy(&packet[12..]).into_owned())
    }

    /// The address that the ICE agent sends to.
    pub fn remote(&self) -> SocketAddr {
        let pair = self.agent.get_selected_candidate_pair().unwrap();
        SocketAddr::new(pair.remote.address().parse().unwrap(), pair.remote.port())
    }
}

/// An RTP header with `text` behind it.
pub fn media_packet(text: &str) -> Vec<u8> {
    let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
    packet.extend_from_slice(text.as_bytes());
    packet
}

fn fingerprint(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    let bytes: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("sha-256 {}", bytes.join(":"))
}

/// Tells DTLS from the rest, which is media.
fn split(ice: Arc<dyn Conn + Send + Sync>) -> (Arc<ForDtls>, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (to_dtls, dtls) = mpsc::unbounded_channel();
    let (to_media, media) = mpsc::unbounded_channel();
    let source = ice.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(len) = source.recv(&mut buffer).await {
            let packet = buffer[..len].to_vec();
            let target = if (20..64).contains(&packet[0]) { &to_dtls } else { &to_media };
            if target.send(packet).is_err() {
                return;
            }
        }
    });
    (Arc::new(ForDtls { ice, packets: Mutex::new(dtls) }), media)
}

struct ForDtls {
    ice: Arc<dyn Conn + Send + Sync>,
    packets: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
}

#[async_trait]
impl Conn for ForDtls {
    async fn connect(&self, addr: SocketAddr) -> Result<(), Error> {
        self.ice.connect(addr).await
    }

    async fn recv(&self, buf: &mut [u8]) -> Result<usize, Error> {
        let packet = self.packets.lock().await.recv().await.ok_or(Error::ErrBufferClosed)?;
        buf[..packet.len()].copy_from_slice(&packet);
        Ok(packet.len())
    }

    async fn recv_from(&self, buf: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
        Ok((self.recv(buf).await?, self.ice.remote_addr().ok_or(Error::ErrBufferClosed)?))
    }

    async fn send(&self, buf: &[u8]) -> Result<usize, Error> {
        self.ice.send(buf).await
    }

    async fn send_to(&self, buf: &[u8], _: SocketAddr) -> Result<usize, Error> {
        self.ice.send(buf).await
    }

    fn local_addr(&self) -> Result<SocketAddr, Error> {
        self.ice.local_addr()
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.ice.remote_addr()
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}
