//! Serves HTTP/1.1 on one client connection, whatever carries it, until told to stop.
//!
//! Who accepts connections is not its business, and what a request means is decided in `proxy`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::trace;

use super::body::{Body, BodyError};
use super::current::Current;
use super::forwarded::Arrival;
use super::proxy;

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
/// Serves one connection, whatever carries it, to its end.
pub async fn serve_connection<I>(
    io: I,
    arrival: Arrival,
    service: impl Into<Current>,
    phase: watch::Receiver<Phase>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Arc::new(ClientConnection { arrival, phase: phase.clone(), next: Mutex::new(None) });
    // In a box that is gone with the last request: a WebSocket must not keep the memory of HTTP as long as it is open.
    Box::pin(serve_http(io, service.into(), &client, phase)).await;
    let relay = client.next.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(client);
    if let Some(relay) = relay {
        relay.await;
    }
}

/// Serves requests until the connection ends or becomes something else.
async fn serve_http<I>(
    io: I,
    current: Current,
    client: &Arc<ClientConnection>,
    mut phase: watch::Receiver<Phase>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let for_requests = client.clone();
    let requests = Arc::new(());
    let underway = Arc::downgrade(&requests);
    let answer = service_fn(move |request| {
        let (service, client, underway) = (current.service(), for_requests.clone(), requests.clone());
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
