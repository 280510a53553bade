//! Accepts client connections and serves HTTP/1.1 on them until told to stop.
//!
//! The accept loop outlives every error; a connection that fails ends alone. What a request means is decided in `proxy`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, trace, warn};

use super::body::{Body, BodyError};
use super::forwarded::Arrival;
use super::proxy;
use super::service::HttpService;

/// How far a service is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// No new connection is accepted; those that are open go on, so that sessions can be kept up by their signalling.
    Draining,
    /// Idle connections close, requests may end, WebSockets are closed with 1001.
    Stopping,
}

/// How many client connections may be open at once, over all services that share it.
#[derive(Clone, Debug)]
pub struct ConnectionCap(Arc<Semaphore>);

impl ConnectionCap {
    /// At most `connections` at once.
    pub fn new(connections: usize) -> Self {
        ConnectionCap(Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))))
    }
}

/// How long a client may take for a request head. The same clock runs while a kept connection is idle, so it must be longer
/// than the 25 s and 30 s between two requests of a Janus client.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest request head; 431 beyond it.
const MAX_HEAD: usize = 64 << 10;
/// How long requests and WebSockets may take to end when the service stops. Draining came before; a long poll would take
/// half a minute.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection without a request may take to end then.
const IDLE_STOP_TIMEOUT: Duration = Duration::from_millis(100);
/// Between two probes of a silent client connection.
const CLIENT_KEEPALIVE: Duration = Duration::from_secs(60);
/// Waits after a failed accept: doubles from the first to the last.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Serves `service` on `listener` until `phase` says `Stopping` and every connection has ended, or had its time to.
pub async fn serve(
    listener: TcpListener,
    service: Arc<HttpService>,
    cap: ConnectionCap,
    phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    accept_until_draining(listener, &service, &cap, &phase, &mut connections).await;
    let mut stopping = phase;
    tokio::select! {
        () = wait_for(&mut stopping, Phase::Stopping) => {}
        () = all_ended(&mut connections) => return,
    }
    if tokio::time::timeout(STOP_TIMEOUT, all_ended(&mut connections)).await.is_err() {
        debug!(left = connections.len(), "connections did not end in time");
    }
    connections.shutdown().await;
}

/// Serves one connection, whatever carries it, to its end.
pub async fn serve_connection<I>(
    io: I,
    arrival: Arrival,
    service: Arc<HttpService>,
    mut phase: watch::Receiver<Phase>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Arc::new(ClientConnection { arrival, phase: phase.clone(), next: Mutex::new(None) });
    let for_requests = client.clone();
    let requests = Arc::new(());
    let underway = Arc::downgrade(&requests);
    let answer = service_fn(move |request| {
        let (service, client, underway) = (service.clone(), for_requests.clone(), requests.clone());
        async move {
            let response = proxy::respond(&service, &client, request).await;
            Ok::<_, Infallible>(response.map(|body| Underway { body, _request: underway }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), answer)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = wait_for(&mut phase, Phase::Stopping) => {
            connection.as_mut().graceful_shutdown();
            // One reference is the service's own. A client that has sent half a request head is not waited for.
            let is_idle = underway.strong_count() <= 1;
            let patience = if is_idle { IDLE_STOP_TIMEOUT } else { STOP_TIMEOUT };
            tokio::time::timeout(patience, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        trace!(peer = %client.arrival.peer, %error, "client connection ended");
    }
    let relay = client.next.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(relay) = relay {
        relay.await;
    }
}

/// A response body that keeps its request counted until it is sent.
struct Underway {
    body: Body,
    _request: Arc<()>,
}

impl hyper::body::Body for Underway {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What the requests of one client connection share.
pub(super) struct ClientConnection {
    pub(super) arrival: Arrival,
    pub(super) phase: watch::Receiver<Phase>,
    /// What the connection becomes after an upgrade. It runs in the connection's own task, so that whoever waits for
    /// connections waits for WebSockets too.
    next: Mutex<Option<Relay>>,
}

type Relay = Pin<Box<dyn Future<Output = ()> + Send>>;

impl ClientConnection {
    /// Lets `relay` follow when HTTP on this connection has ended with an upgrade.
    pub(super) fn become_relay(&self, relay: impl Future<Output = ()> + Send + 'static) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(relay));
    }
}

/// Returns when `wanted` or a later phase is reached, or nobody is left to say so.
pub(super) async fn wait_for(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

async fn accept_until_draining(
    listener: TcpListener,
    service: &Arc<HttpService>,
    cap: &ConnectionCap,
    phase: &watch::Receiver<Phase>,
    connections: &mut JoinSet<()>,
) {
    let mut draining = phase.clone();
    let mut backoff = ACCEPT_BACKOFF.0;
    let mut is_full = false;
    loop {
        if cap.0.available_permits() == 0 && !std::mem::replace(&mut is_full, true) {
            warn!("as many client connections as allowed; more wait until one ends");
        }
        let accepted = tokio::select! {
            () = wait_for(&mut draining, Phase::Draining) => return,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, cap) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                (backoff, is_full) = (ACCEPT_BACKOFF.0, false);
                let (service, phase) = (service.clone(), phase.clone());
                connections.spawn(async move {
                    let _permit = permit;
                    serve_tcp(stream, service, phase).await;
                });
            }
            Err(error) => {
                if backoff == ACCEPT_BACKOFF.0 {
                    warn!(%error, "cannot accept a connection; trying again");
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(ACCEPT_BACKOFF.1);
            }
        }
    }
}

/// The next connection, once the cap allows one more. Until then connections wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    cap: &ConnectionCap,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = cap.0.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn serve_tcp(stream: TcpStream, service: Arc<HttpService>, phase: watch::Receiver<Phase>) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let _ = stream.set_nodelay(true);
    let probes = TcpKeepalive::new().with_time(CLIENT_KEEPALIVE).with_interval(CLIENT_KEEPALIVE / 4);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&probes);
    serve_connection(stream, Arrival { peer, local, tls: None }, service, phase).await;
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
