//! \[shell\] The admin service: health, metrics, sessions and why they work or not, upstreams, packets of one session, and a
//! dashboard.
//!
//! It reads what other parts tell and changes nothing but what it is asked to: ending a session, looking at its packets. It
//! never touches a packet's way: workers are asked through their inboxes, a bounded number of things at a time.

mod auth;
mod directory;
mod live;
mod page;
mod pcap;
mod process;
mod render;
mod rooms;
mod router;
mod server;
mod service;
mod sessions;
mod turn;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

pub use directory::Directory;
pub use live::{Live, sample_forever};
pub use process::ProcessMetrics;
pub use server::serve_connection;
pub use service::{Admin, Readiness, Setup};

use crate::forward::Counters;
use crate::session::observe::Tap;
use crate::session::registration::SessionId;
use crate::session::story::Story;
use crate::turn::{Counters as TurnCounters, Listed};

/// An answer that takes a moment.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The packet side, as far as this module needs it.
pub trait Packets: Send + Sync {
    /// How many workers there are.
    fn workers(&self) -> u32;
    /// What all workers counted, a fraction of a second old.
    fn counters(&self) -> Counters;
    /// Sessions with a client.
    fn live_sessions(&self) -> usize;
    /// What a worker knows of these sessions; at most a few hundred. `None`: it does not answer.
    fn stories(&self, worker: u32, sessions: Vec<SessionId>) -> Answer<Option<Vec<Story>>>;
    /// Shows the packets of a session to `tap`; whether that worker has it.
    fn tap(&self, worker: u32, session: SessionId, tap: Tap) -> Answer<bool>;
    /// Ends a session.
    fn end(&self, session: SessionId);
}

/// The TURN services, as far as this module needs them.
pub trait Relays: Send + Sync {
    /// Each service, with its newest allocations: at most `most`, of this user alone where one is named.
    fn list(&self, most: usize, user: Option<String>) -> Answer<Vec<RelayService>>;
    /// Ends the allocation with this id; whether there was one.
    fn end(&self, id: u64) -> Answer<bool>;
}

/// A TURN service as it is now.
#[derive(Clone, Debug)]
pub struct RelayService {
    /// Its name.
    pub service: Arc<str>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// It takes no new allocations any more.
    pub draining: bool,
    /// Live allocations, all of them.
    pub allocations: usize,
    /// What it has counted.
    pub counters: TurnCounters,
    /// The newest allocations that were asked for.
    pub listed: Vec<Listed>,
}

/// How one server of an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct UpstreamServer {
    /// Name of the group, or of the server where a route names it directly.
    pub upstream: String,
    /// Scheme, host and port.
    pub server: String,
    /// Whether it takes requests.
    pub up: bool,
    /// Why it does not.
    pub reason: Option<String>,
}

/// Tells how upstreams are.
pub type Upstreams = dyn Fn() -> Vec<UpstreamServer> + Send + Sync;
