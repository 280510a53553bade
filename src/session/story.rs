//! \[pure\] All that a worker can tell of one session, copied out so that somebody else can read it at leisure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::observe::{Milestones, StreamReport};
use super::registration::{CandidateTransport, Mode, Origin, SessionId, Traffic};

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Registered; no valid check of the client yet.
    Waiting,
    /// A valid check came; not both legs are up.
    Connecting,
    /// Media can flow.
    Connected,
}

impl Stage {
    /// Stable snake-case name.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Waiting => "waiting",
            Stage::Connecting => "connecting",
            Stage::Connected => "connected",
        }
    }
}

/// An address of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPath {
    /// Its own.
    pub remote: SocketAddr,
    /// Ours, that it speaks to.
    pub local: SocketAddr,
    /// Whether it may carry media.
    pub proven: bool,
    /// Whether media to the client goes there.
    pub selected: bool,
}

/// An address of the backend that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTry {
    /// Its own.
    pub remote: SocketAddr,
    /// By which transport.
    pub transport: CandidateTransport,
    /// Ours; `None` while there is no socket towards it.
    pub local: Option<SocketAddr>,
    /// Something authenticated came from there.
    pub answered: bool,
    /// Whether media to the backend goes there.
    pub selected: bool,
}

/// One session.
#[derive(Clone, Debug)]
pub struct Story {
    /// Its name.
    pub session: SessionId,
    /// Where it comes from.
    pub origin: Arc<Origin>,
    /// Half proxy or transparent.
    pub mode: Mode,
    /// How often it was restarted.
    pub generation: u32,
    /// The worker that has it.
    pub worker: Option<u32>,
    /// How far it has come.
    pub stage: Stage,
    /// Since it was registered.
    pub age: Duration,
    /// From when the offer was seen to when the session was registered, where there was an offer.
    pub offer_before: Option<Duration>,
    /// What happened when.
    pub milestones: Milestones,
    /// Latest DTLS alert in the clear, from the client and from the backend.
    pub alerts: [Option<u8>; 2],
    /// The client's addresses.
    pub clients: Vec<ClientPath>,
    /// The backend's addresses.
    pub backends: Vec<BackendTry>,
    /// What was forwarded.
    pub traffic: Traffic,
    /// Media as it arrives from the client.
    pub from_client: Vec<StreamReport>,
    /// Media as it arrives from the backend.
    pub from_backend: Vec<StreamReport>,
}
