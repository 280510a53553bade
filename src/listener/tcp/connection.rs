//! The walk of one TCP connection: PROXY header → first bytes → TLS or ssltcp → first bytes again → HTTP or ICE-TCP.
//! Every step that waits for the client has a deadline, and every end a counter.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, trace};

use super::carry::{Ended, carry, tell_gone};
use super::counters::StreamVerdict;
use super::link::Link;
use super::replay::{ByteStream, Replay};
use super::tls::TlsSummary;
use super::{Arrived, Front, Place};
use crate::classify::stream::{Expect, SSLTCP_CLIENT_HELLO, SSLTCP_SERVER_HELLO, Sniff};
use crate::forward::{Received, Via};
use crate::listener::turn;
use crate::telemetry::plain;
use crate::turn::Transport;

/// A connection that stays undecided for so long is closed (xrtc.md §7); each step has it for itself.
const STEP: Duration = Duration::from_secs(10);
/// Between two probes of a silent connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Bytes that the kernel takes beyond what the network takes: what it has cannot give way to newer media.
const KERNEL_QUEUE: u32 = 64 << 10;

/// Serves one connection to its end.
pub(super) async fn attend(stream: TcpStream, mut place: Place, front: Arc<Front>) {
    let Ok(mut arrived) = arrived(&stream) else { return };
    tune(&stream, front.door.is_some() || front.turn.is_some());
    let mut start = Replay::new(stream);
    if front.expects_proxy_header(arrived.peer.ip())
        && let Err(verdict) = believe_proxy(&mut start, &mut arrived, &front).await
    {
        return front.refuse(verdict, &arrived);
    }
    let peer = arrived.peer.ip();
    if !front.trusted.iter().any(|net| net.contains(peer)) && !place.belongs_to(peer) {
        return front.refuse(StreamVerdict::TooManyOfSource, &arrived);
    }
    let expect = Expect {
        tls: true,
        ssltcp: true,
        http: front.web.is_some(),
        ice: front.door.is_some(),
        turn: front.turn.is_some(),
    };
    let sniffed = match in_time(&front, StreamVerdict::SniffTimeout, start.sniff(expect)).await {
        Ok(sniffed) => sniffed,
        Err(verdict) => return front.refuse(verdict, &arrived),
    };
    // The later steps are larger than what a silent connection needs.
    let served = match sniffed {
        Sniff::Tls => Box::pin(in_tls(start, &mut arrived, expect, &front)).await,
        Sniff::SslTcp => Box::pin(in_ssltcp(start, &arrived, expect, &front)).await,
        plain => Box::pin(serve(start, plain, Carrier::Plain, &arrived, &front)).await,
    };
    if let Err(verdict) = served {
        front.refuse(verdict, &arrived);
    }
}

/// What the bytes came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Plain,
    Tls,
    SslTcp,
}

async fn in_tls<S: ByteStream + 'static>(
    start: Replay<S>,
    arrived: &mut Arrived,
    expect: Expect,
    front: &Arc<Front>,
) -> Result<(), StreamVerdict> {
    let tls = front.tls.as_ref().filter(|tls| tls.is_usable()).ok_or(StreamVerdict::NoCertificate)?;
    let handshake = async { Ok(TlsAcceptor::from(tls.config.clone()).accept(start).await) };
    let stream = match in_time(front, StreamVerdict::TlsTimeout, handshake).await? {
        Ok(stream) => stream,
        Err(error) => {
            trace!(peer = %arrived.peer, %error, "TLS handshake failed");
            return Err(StreamVerdict::TlsFailed);
        }
    };
    arrived.tls = Some(TlsSummary::new(stream.get_ref().1));
    let mut start = Replay::new(stream);
    let inside = Expect { tls: false, ssltcp: false, ..expect };
    let sniffed = in_time(front, StreamVerdict::SniffTimeout, start.sniff(inside)).await?;
    serve(start, sniffed, Carrier::Tls, arrived, front).await
}

async fn in_ssltcp<S: ByteStream + 'static>(
    mut start: Replay<S>,
    arrived: &Arrived,
    expect: Expect,
    front: &Arc<Front>,
) -> Result<(), StreamVerdict> {
    start.skip(SSLTCP_CLIENT_HELLO.len());
    let answer = async {
        start.write_all(&SSLTCP_SERVER_HELLO).await?;
        start.flush().await
    };
    in_time(front, StreamVerdict::SniffTimeout, answer).await?;
    let inside = Expect { tls: false, ssltcp: false, http: false, ..expect };
    let sniffed = in_time(front, StreamVerdict::SniffTimeout, start.sniff(inside)).await?;
    serve(start, sniffed, Carrier::SslTcp, arrived, front).await
}

async fn serve<S: ByteStream + 'static>(
    start: Replay<S>,
    sniffed: Sniff,
    carrier: Carrier,
    arrived: &Arrived,
    front: &Arc<Front>,
) -> Result<(), StreamVerdict> {
    match (sniffed, &front.web) {
        (Sniff::Http, Some(web)) => {
            let is_tls = carrier == Carrier::Tls;
            front.counters.count(if is_tls { StreamVerdict::Https } else { StreamVerdict::Http });
            web.serve(Box::new(start), arrived.clone()).await;
            Ok(())
        }
        (Sniff::IceTcp, _) => {
            front.counters.count(match carrier {
                Carrier::Plain => StreamVerdict::IceTcp,
                Carrier::Tls => StreamVerdict::IceTls,
                Carrier::SslTcp => StreamVerdict::SslTcp,
            });
            // In boxes of their own: what most connections carry is HTTP, which must not cost their memory.
            Box::pin(serve_ice(start, arrived, front)).await
        }
        (Sniff::TurnTcp, _) => {
            let is_tls = carrier == Carrier::Tls;
            front.counters.count(if is_tls { StreamVerdict::TurnTls } else { StreamVerdict::TurnTcp });
            Box::pin(serve_turn(start, arrived, front)).await
        }
        _ => Err(StreamVerdict::Unknown),
    }
}

async fn serve_turn<S: ByteStream>(
    start: Replay<S>,
    arrived: &Arrived,
    front: &Front,
) -> Result<(), StreamVerdict> {
    let Some(door) = &front.turn else { return Err(StreamVerdict::Unknown) };
    let (stream, buffered) = start.into_parts();
    let transport = if arrived.tls.is_some() { Transport::Tls } else { Transport::Tcp };
    let ended = door.serve(stream, buffered, (transport, arrived.peer), front.stopping.clone()).await;
    debug!(peer = %arrived.peer, ?ended, "TURN connection ended");
    match ended {
        turn::Ended::Closed => Ok(()),
        turn::Ended::Idle => Err(StreamVerdict::TurnIdle),
        turn::Ended::Broken => Err(StreamVerdict::TurnBroken),
    }
}

async fn serve_ice<S: ByteStream>(
    start: Replay<S>,
    arrived: &Arrived,
    front: &Front,
) -> Result<(), StreamVerdict> {
    let Some(door) = &front.door else { return Err(StreamVerdict::Unknown) };
    let received = Received {
        via: Via::Listener(door.listener),
        from: arrived.peer,
        local: Some(arrived.local.ip().to_canonical()),
    };
    let link = Link::to_client(received, door.next_worker());
    let (stream, buffered) = start.into_parts();
    let mut stopping = front.stopping.clone();
    let ended = tokio::select! {
        ended = carry(stream, buffered, &link, &door.inboxes) => ended,
        // The workers end their sessions themselves, and say so.
        _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
    };
    debug!(peer = %arrived.peer, ?ended, "ICE-TCP connection ended");
    tell_gone(&link, &door.inboxes).await;
    match ended {
        Ended::Closed | Ended::Idle => Ok(()),
        Ended::NoCheck => Err(StreamVerdict::IceTimeout),
        Ended::Broken => Err(StreamVerdict::IceBroken),
    }
}

async fn believe_proxy<S: ByteStream>(
    start: &mut Replay<S>,
    arrived: &mut Arrived,
    front: &Front,
) -> Result<(), StreamVerdict> {
    let header = in_time(front, StreamVerdict::SniffTimeout, start.proxy_header()).await?;
    let header = header.map_err(|_| StreamVerdict::NoProxyHeader)?;
    if let Some((client, edge)) = header.addresses {
        (arrived.peer, arrived.local) = (client, edge);
    }
    Ok(())
}

/// The result of a step, or the verdict when it fails or takes too long. When the edge stops, nobody waits for a client
/// that has not said what it wants.
async fn in_time<T>(
    front: &Front,
    late: StreamVerdict,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, StreamVerdict> {
    let mut stopping = front.stopping.clone();
    tokio::select! {
        done = timeout(STEP, step) => match done {
            Ok(done) => done.map_err(|_| StreamVerdict::Closed),
            Err(_) => Err(late),
        },
        _ = stopping.wait_for(|stopping| *stopping) => Err(StreamVerdict::Closed),
    }
}

fn arrived(stream: &TcpStream) -> io::Result<Arrived> {
    Ok(Arrived { peer: plain(stream.peer_addr()?), local: plain(stream.local_addr()?), tls: None })
}

/// Options are wishes; a connection works without.
fn tune(stream: &TcpStream, carries_packets: bool) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    let _ = socket.set_tcp_keepalive(&probes);
    if carries_packets {
        let _ = socket.set_tcp_notsent_lowat(KERNEL_QUEUE);
    }
}
