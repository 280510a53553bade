//! The one place where signalling and packets meet.
//!
//! The signalling side learns both descriptions of a PeerConnection and hands the facts to the packet side as
//! [`Command`]s; the packet side answers with [`SessionEvent`]s. Nothing here knows how either side works.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::observe::Mark;
use super::story::Story;

/// Names one ICE transport of a PeerConnection for its whole life, ICE restarts included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// A ufrag and its password (RFC 8839 §5.4). The password never appears in `Debug` output.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// `a=ice-ufrag`, 4–256 ice-chars.
    pub ufrag: Arc<str>,
    /// `a=ice-pwd`, 22–256 ice-chars.
    pub pwd: Arc<str>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}:…)", self.ufrag)
    }
}

/// How STUN is treated (xrtc.md §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each leg has its own ICE; STUN ends at the edge.
    HalfProxy,
    /// STUN is passed on as well (`icedirect: true`).
    Transparent,
}

/// The edge's ICE role on the backend leg (RFC 8445 §6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The edge nominates: the client offered, or the backend is ICE-lite.
    Controlling,
    /// The backend nominates.
    Controlled,
}

/// Transport of a backend candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateTransport {
    /// `udp`.
    Udp,
    /// `tcp … tcptype passive`: the edge may connect to it.
    TcpPassive,
}

/// A candidate of the backend, as far as the backend leg uses it (RFC 8839 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendCandidate {
    /// UDP, or TCP that the edge dials.
    pub transport: CandidateTransport,
    /// Where the backend listens.
    pub addr: SocketAddr,
    /// RFC 8445 §5.1.2.
    pub priority: u32,
}

/// Everything the packet side needs to serve one generation of a session.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The session; the same across ICE restarts.
    pub session: SessionId,
    /// 0 for the first pair of credentials, one more for every ICE restart.
    pub generation: u32,
    /// Half proxy or transparent.
    pub mode: Mode,
    /// uE, pE: what the client was told. Client checks carry USERNAME `uE:uC` and key pE.
    pub edge: Credentials,
    /// uC, pC: the client's own; the edge uses them towards the backend.
    pub client: Credentials,
    /// uB, pB: the backend's.
    pub backend: Credentials,
    /// The edge's role towards the backend.
    pub role: Role,
    /// Try the backend's TCP candidates first (`icetcp`).
    pub prefer_tcp: bool,
    /// What is known of the backend's candidates; more may come with [`Command::AddCandidates`].
    pub candidates: Vec<BackendCandidate>,
    /// For logs and metrics: where the session comes from.
    pub origin: Arc<Origin>,
    /// Which worker serves the session; shared by all generations.
    pub owner: Arc<Owner>,
}

/// Where a session comes from, for people who read logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the route in `routes.yml`, such as `janus`.
    pub route: Arc<str>,
    /// What the dialect calls it, such as `janus session 5 handle 7`.
    pub label: Box<str>,
}

/// The worker that serves a session: the first one that sees a valid check takes it, once. And the little that is known
/// of a session before that.
#[derive(Debug)]
pub struct Owner {
    worker: AtomicU32,
    offered: Option<Instant>,
    forged: Forged,
}

/// Checks that named the session and did not know its password, whichever worker they came to. Written only then, so
/// nobody shares it on the way of a good packet.
#[derive(Debug, Default)]
struct Forged {
    /// Milliseconds after the registration.
    first: AtomicU32,
    last: AtomicU32,
    count: AtomicU32,
}

impl Owner {
    const NOBODY: u32 = u32::MAX;

    /// A session that no worker has taken yet.
    pub fn nobody() -> Self {
        Owner { worker: AtomicU32::new(Self::NOBODY), offered: None, forged: Forged::default() }
    }

    /// The same for a session whose offer was seen at this time.
    pub fn nobody_since(offered: Option<Instant>) -> Self {
        Owner { offered, ..Owner::nobody() }
    }

    /// When the offer was seen.
    pub fn offered(&self) -> Option<Instant> {
        self.offered
    }

    /// A check named the session and did not know its password, so many milliseconds after the registration.
    pub fn note_forged(&self, at: u32) {
        if self.forged.count.fetch_add(1, Ordering::Relaxed) == 0 {
            self.forged.first.store(at, Ordering::Relaxed);
        }
        self.forged.last.store(at, Ordering::Relaxed);
    }

    /// When such checks came, and how many.
    pub fn forged(&self) -> Mark {
        let read = |value: &AtomicU32| value.load(Ordering::Relaxed);
        Mark::of(read(&self.forged.first), read(&self.forged.last), read(&self.forged.count))
    }

    /// The worker that has the session.
    pub fn get(&self) -> Option<u32> {
        let worker = self.worker.load(Ordering::Acquire);
        (worker != Self::NOBODY).then_some(worker)
    }

    /// Takes the session for `worker` unless somebody has it; returns who has it now.
    pub fn claim(&self, worker: u32) -> u32 {
        match self.worker.compare_exchange(Self::NOBODY, worker, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => worker,
            Err(owner) => owner,
        }
    }
}

/// From the signalling side to the packet side.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new session, or a new generation of one.
    Register(Arc<Registration>),
    /// Trickled candidates of the backend, for the newest generation.
    AddCandidates(SessionId, Arc<[BackendCandidate]>),
    /// Ends a session at once.
    End(SessionId, EndReason),
}

/// Why a session ended. Also a metric label, see [`EndReason::label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// `hangup`, from either side.
    Hangup,
    /// `detach`, from either side.
    Detached,
    /// `destroy`, or the backend's session timed out.
    Destroyed,
    /// The signalling WebSocket closed.
    SignallingClosed,
    /// No packet from any address of the client for 30 s.
    ClientSilent,
    /// The client closed its last connection (ICE-TCP).
    ClientClosed,
    /// The backend stopped answering checks (RFC 7675 consent).
    BackendSilent,
    /// Registered, but no valid check arrived in time.
    NeverConnected,
    /// A PeerConnection of the same handle took its place.
    Replaced,
    /// `limits.sessions` is reached; the session was never served.
    TooManySessions,
    /// Its pair of ufrags belongs to another session that has a client.
    PairInUse,
    /// An operator ended it through the admin service.
    Operator,
    /// The edge stops.
    Shutdown,
}

impl EndReason {
    /// All reasons, in the order of their index.
    pub const ALL: &'static [EndReason] = &[
        EndReason::Hangup,
        EndReason::Detached,
        EndReason::Destroyed,
        EndReason::SignallingClosed,
        EndReason::ClientSilent,
        EndReason::ClientClosed,
        EndReason::BackendSilent,
        EndReason::NeverConnected,
        EndReason::Replaced,
        EndReason::TooManySessions,
        EndReason::PairInUse,
        EndReason::Operator,
        EndReason::Shutdown,
    ];

    /// Stable snake-case name, for logs and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            EndReason::Hangup => "hangup",
            EndReason::Detached => "detached",
            EndReason::Destroyed => "destroyed",
            EndReason::SignallingClosed => "signalling_closed",
            EndReason::ClientSilent => "client_silent",
            EndReason::ClientClosed => "client_closed",
            EndReason::BackendSilent => "backend_silent",
            EndReason::NeverConnected => "never_connected",
            EndReason::Replaced => "replaced",
            EndReason::TooManySessions => "too_many_sessions",
            EndReason::PairInUse => "pair_in_use",
            EndReason::Operator => "operator",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// Packets and bytes that a session forwarded, per direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Client to backend, packets.
    pub up_packets: u64,
    /// Client to backend, bytes of UDP payload.
    pub up_bytes: u64,
    /// Backend to client, packets.
    pub down_packets: u64,
    /// Backend to client, bytes of UDP payload.
    pub down_bytes: u64,
}

impl Traffic {
    /// Counts a packet client → backend.
    #[inline]
    pub fn up(&mut self, len: usize) {
        self.up_packets += 1;
        self.up_bytes += len as u64;
    }

    /// Counts a packet backend → client.
    #[inline]
    pub fn down(&mut self, len: usize) {
        self.down_packets += 1;
        self.down_bytes += len as u64;
    }
}

/// From the packet side to logs, metrics and the signalling side.
#[derive(Clone, Debug)]
pub struct SessionEvent {
    /// Which session.
    pub session: SessionId,
    /// Its origin.
    pub origin: Arc<Origin>,
    /// What happened.
    pub kind: SessionEventKind,
}

/// What happened to a session.
#[derive(Clone, Debug)]
pub enum SessionEventKind {
    /// The first valid check of the client arrived.
    ClientSeen {
        /// From here.
        client: SocketAddr,
    },
    /// Both legs are validated; media can flow.
    Connected {
        /// The client's address and the listener's.
        client: (SocketAddr, SocketAddr),
        /// The edge's backend-facing address and the backend's.
        backend: (SocketAddr, SocketAddr),
        /// Since the registration.
        took: Duration,
        /// 0, or the number of the ICE restart.
        generation: u32,
    },
    /// Media to the client moved to another address of it.
    Migrated {
        /// Old address.
        from: SocketAddr,
        /// New, verified address.
        to: SocketAddr,
    },
    /// The session is gone.
    Ended {
        /// Why.
        reason: EndReason,
        /// Totals.
        traffic: Traffic,
        /// Since the registration.
        lasted: Duration,
        /// All that is known of it. `None` when the edge stops: nobody is left to ask.
        story: Option<Box<Story>>,
    },
}

/// Hands commands to the packet side. Cheap, never blocks; implemented by the listener shell.
pub trait SessionSink: Send + Sync {
    /// Sends `command` to every worker. When this returns, a client check that is sent afterwards finds the effect.
    fn send(&self, command: Command);

    /// How many sessions are registered, as far as that is known here; a fraction of a second old.
    fn known_sessions(&self) -> usize {
        0
    }
}
