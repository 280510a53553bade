//! \[shell\] TCP ports: one port for HTTP, HTTPS, WebSockets, ICE-TCP, ICE-TCP in TLS and ssltcp.
//!
//! Accepts, finds out what each connection carries (`connection`), and hands HTTP to whoever serves it ([`Web`]; this
//! module does not know HTTP) and packets to the workers (`carry`). One connection never waits for another: nothing here
//! blocks, and what waits has a deadline.

mod carry;
mod connection;
mod connections;
mod counters;
mod dial;
mod frames;
mod fuzzing;
mod link;
mod proxy_protocol;
mod queue;
mod replay;
mod tls;
mod validity;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, trace, warn};

use super::turn::TurnDoor;
use super::{Inbox, ListenerIndex};
use crate::config::IpNet;
pub(super) use carry::{FromStream, tell_gone};
pub use connections::{Connections, Place};
pub use counters::{StreamCounters, StreamVerdict};
pub(super) use dial::dial;
#[doc(hidden)]
pub use fuzzing::fuzz;
pub(super) use link::{Link, Outlet};
pub(super) use queue::{Framing, Pushed, Queue};
pub use replay::ByteStream;
pub use tls::{Tls, TlsSummary, usable_certificate};

/// How a connection reached the edge.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The client.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// Set in TLS.
    pub tls: Option<TlsSummary>,
}

/// Serves HTTP on connections that carry it.
pub trait Web: Send + Sync {
    /// Serves one connection to its end.
    fn serve(
        &self,
        stream: Box<dyn ByteStream>,
        arrived: Arrived,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Where ICE-TCP connections of one port meet the packet workers.
#[derive(Clone)]
pub struct StreamDoor {
    pub(super) inboxes: Arc<[Inbox]>,
    /// The forwarder's index for the port.
    pub(super) listener: u16,
    pub(super) next_worker: Arc<AtomicU32>,
}

impl StreamDoor {
    /// The index of its listener.
    pub fn index(&self) -> ListenerIndex {
        ListenerIndex(self.listener)
    }

    pub(super) fn next_worker(&self) -> u32 {
        self.next_worker.fetch_add(1, Ordering::Relaxed) % self.inboxes.len().max(1) as u32
    }
}

/// What one TCP port serves.
pub struct Front {
    /// HTTP, if it is served here.
    pub web: Option<Arc<dyn Web>>,
    /// ICE-TCP, if it is served here.
    pub door: Option<StreamDoor>,
    /// TURN, if it is served here.
    pub turn: Option<TurnDoor>,
    /// TLS, if it is served here.
    pub tls: Option<Arc<Tls>>,
    /// Whose connections start with a PROXY header; an empty list means everybody's.
    pub proxies: Option<Vec<IpNet>>,
    /// Proxies that bring connections of many clients in their own name: these have no limit per source.
    pub trusted: Vec<IpNet>,
    /// How many connections may be open, over all ports that share it.
    pub connections: Arc<Connections>,
    /// What was counted, over all ports that share it.
    pub counters: Arc<StreamCounters>,
    /// True: packet connections end at once. HTTP ends its own.
    pub stopping: watch::Receiver<bool>,
}

/// Waits after a failed accept, which mostly means that there are no descriptors: doubles from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long connections may take to end when the edge stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

impl Front {
    /// Accepts on `listener` until `draining` is ready; returns when the edge stops and every connection has ended.
    pub async fn run(self, listener: TcpListener, draining: impl Future<Output = ()>) {
        Front::run_current(Arc::new(ArcSwap::from_pointee(self)), listener, draining).await;
    }

    /// The same for a front that changes: a connection is served by the one that it finds when it is accepted.
    pub async fn run_current(
        current: Arc<ArcSwap<Front>>,
        listener: TcpListener,
        draining: impl Future<Output = ()>,
    ) {
        let mut connections = JoinSet::new();
        tokio::select! {
            () = accept_all(&current, listener, &mut connections) => {}
            () = draining => {}
        }
        let mut stopping = current.load().stopping.clone();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = all_ended(&mut connections) => return,
        }
        if tokio::time::timeout(STOP_TIMEOUT, all_ended(&mut connections)).await.is_err() {
            debug!(left = connections.len(), "connections did not end in time");
        }
        connections.shutdown().await;
    }

    fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        let from = |nets: &Vec<IpNet>| nets.is_empty() || nets.iter().any(|net| net.contains(peer));
        self.proxies.as_ref().is_some_and(from)
    }

    fn refuse(&self, verdict: StreamVerdict, arrived: &Arrived) {
        self.counters.count(verdict);
        trace!(peer = %arrived.peer, verdict = %verdict.label(), "connection refused");
    }
}

async fn accept_all(current: &ArcSwap<Front>, listener: TcpListener, connections: &mut JoinSet<()>) {
    let mut backoff = BACKOFF.0;
    let mut is_full = false;
    loop {
        let open = current.load().connections.clone();
        if open.is_full() && !std::mem::replace(&mut is_full, true) {
            warn!("as many client connections as allowed; more wait until one ends");
        }
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &open) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                (backoff, is_full) = (BACKOFF.0, false);
                connections.spawn(connection::attend(stream, place, current.load_full()));
            }
            Err(error) => {
                if backoff == BACKOFF.0 {
                    warn!(%error, "cannot accept a connection; trying again");
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
    }
}

/// The next connection, once one more is allowed. Until then connections wait in the kernel's queue.
async fn accept(listener: &TcpListener, connections: &Arc<Connections>) -> io::Result<(TcpStream, Place)> {
    let place = connections.place().await;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}
