//! What all requests of the admin service share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::directory::Directory;
use super::live::Live;
use super::{Packets, Relays, Upstreams};
use crate::config::Secret;
use crate::signalling::Rooms;
use crate::telemetry::metrics::Sources;

/// A worker answers within microseconds; one that takes so long hangs.
const WORKER_PATIENCE: Duration = Duration::from_secs(1);

/// Says what keeps the edge from taking new sessions; nothing: it is ready.
pub type Readiness = dyn Fn() -> Vec<String> + Send + Sync;

/// What the service is built from.
pub struct Setup {
    /// `admin.token`.
    pub token: Option<Secret>,
    /// The packet side.
    pub packets: Arc<dyn Packets>,
    /// The TURN services.
    pub relays: Arc<dyn Relays>,
    /// Every session.
    pub directory: Arc<Directory>,
    /// What is told at a scrape.
    pub sources: Arc<Sources>,
    /// How upstreams are.
    pub upstreams: Arc<Upstreams>,
    /// Every room.
    pub rooms: Rooms,
    /// What keeps the edge from being ready.
    pub readiness: Arc<Readiness>,
    /// What clients are told to connect to, for people.
    pub published: Arc<str>,
    /// The latest figures.
    pub live: Arc<Live>,
    /// True: streams of events end.
    pub stopping: watch::Receiver<bool>,
}

/// The service.
pub struct Admin(pub(super) Setup);

impl Admin {
    /// The service as built from its parts.
    pub fn new(setup: Setup) -> Arc<Self> {
        Arc::new(Admin(setup))
    }

    /// What keeps the edge from being ready.
    pub(super) async fn obstacles(&self) -> Vec<String> {
        let mut obstacles = (self.0.readiness)();
        for worker in 0..self.0.packets.workers() {
            let answer = timeout(WORKER_PATIENCE, self.0.packets.stories(worker, Vec::new())).await;
            if !matches!(answer, Ok(Some(_))) {
                obstacles.push(format!("packet worker {worker} does not answer"));
            }
        }
        obstacles
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admin")
    }
}
