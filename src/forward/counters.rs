//! What a worker counts: plain numbers that it alone writes.

use super::Verdict;
use crate::session::observe::{Heard, Leg};
use crate::stun::IntegrityError;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+) => {
        /// Why a packet ended at the edge. The variant is the diagnosis, its label the metric's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// All reasons, in the order of their index.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// Stable snake-case name: the value of `reason` in `xrtc_drops_total`.
            pub fn label(self) -> &'static str {
                match self { $(DropReason::$variant => $label,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Neither STUN nor DTLS nor media (RFC 7983).
    NotIce = "not_ice",
    /// Looks like STUN, but is none (RFC 8489 §6.3).
    MalformedStun = "malformed_stun",
    /// STUN that a client or backend has no reason to send here.
    UnexpectedStun = "unexpected_stun",
    /// FINGERPRINT does not fit.
    BadFingerprint = "bad_fingerprint",
    /// A check without USERNAME.
    MissingUsername = "missing_username",
    /// USERNAME belongs to no session.
    UnknownUsername = "unknown_username",
    /// The same, or a plain Binding request, of a source that has sent more than its budget allows (`limits.stun_rate`).
    SourceOverBudget = "source_over_budget",
    /// Source and session have both used up their budgets for failed checks: not looked at.
    CheckOverBudget = "check_over_budget",
    /// A check without MESSAGE-INTEGRITY.
    MissingIntegrity = "missing_integrity",
    /// MESSAGE-INTEGRITY does not fit.
    BadIntegrity = "bad_integrity",
    /// A valid check that was seen before, from another address.
    Replayed = "replayed",
    /// Media from an address that never sent a valid check.
    UnknownAddress = "unknown_address",
    /// Media from an address that has not answered the edge's own check.
    UnprovenAddress = "unproven_address",
    /// Media for a backend leg that has no path yet.
    BackendNotReady = "backend_not_ready",
    /// Media for a client that has no path any more.
    ClientNotReady = "client_not_ready",
    /// From an address that is no session's backend.
    UnknownBackend = "unknown_backend",
    /// Media from a backend address that has not authenticated itself.
    UnprovenBackend = "unproven_backend",
    /// STUN of a backend that fits no agent: wrong credentials or an outdated transaction.
    BackendStunRejected = "backend_stun_rejected",
    /// A client sends more than `limits` lets it.
    ClientTooFast = "client_too_fast",
    /// The worker is behind with its work, and this client had its share of the turn.
    ClientOverShare = "client_over_share",
    /// The worker that has the session is behind with its work.
    HandOverFull = "hand_over_full",
    /// The socket's send buffer is full.
    SendBufferFull = "send_buffer_full",
    /// A client takes its media slower over TCP than it comes.
    TcpClientSlow = "tcp_client_slow",
    /// A backend does.
    TcpBackendSlow = "tcp_backend_slow",
    /// The kernel refused the packet: unreachable, too large.
    SendRefused = "send_refused",
}

impl From<IntegrityError> for DropReason {
    fn from(error: IntegrityError) -> Self {
        match error {
            IntegrityError::Missing => DropReason::MissingIntegrity,
            IntegrityError::Bad => DropReason::BadIntegrity,
        }
    }
}

/// What went by one kind of socket in one direction. The shell counts it: per batch, not per packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Packets, whatever became of them.
    pub packets: u64,
    /// Their bytes of UDP payload or of frames.
    pub bytes: u64,
    /// Messages of the kernel; UDP coalesces several packets into one (GRO, GSO).
    pub messages: u64,
    /// System calls; each carries many messages.
    pub calls: u64,
}

impl Wire {
    fn add(&mut self, more: Wire) {
        self.packets += more.packets;
        self.bytes += more.bytes;
        self.messages += more.messages;
        self.calls += more.calls;
    }
}

/// Where a packet is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WirePlace {
    /// Which side of the edge.
    pub leg: Leg,
    /// Whether it leaves the edge.
    pub out: bool,
    /// Whether it goes by TCP.
    pub tcp: bool,
}

impl WirePlace {
    /// All of them, in the order of their index.
    pub fn all() -> impl Iterator<Item = WirePlace> {
        (0..8).map(|index| WirePlace {
            leg: if index & 4 == 0 { Leg::Client } else { Leg::Backend },
            out: index & 2 != 0,
            tcp: index & 1 != 0,
        })
    }

    fn index(self) -> usize {
        usize::from(self.leg == Leg::Backend) * 4 + usize::from(self.out) * 2 + usize::from(self.tcp)
    }
}

/// STUN that arrived, by who sent it and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunKind {
    /// A check of a client.
    ClientRequest,
    /// A client's answer to a check.
    ClientResponse,
    /// A check of a backend.
    BackendRequest,
    /// A backend's answer to a check.
    BackendResponse,
}

impl StunKind {
    /// All kinds, in the order of their index.
    pub const ALL: [StunKind; 4] = [
        StunKind::ClientRequest,
        StunKind::ClientResponse,
        StunKind::BackendRequest,
        StunKind::BackendResponse,
    ];

    /// Stable snake-case name: the value of `kind` in `xrtc_stun_total`.
    pub fn label(self) -> &'static str {
        match self {
            StunKind::ClientRequest => "client_request",
            StunKind::ClientResponse => "client_response",
            StunKind::BackendRequest => "backend_request",
            StunKind::BackendResponse => "backend_response",
        }
    }

    /// Of a message that came this way. Indications count as requests: nobody answers with them.
    fn of(from_client: bool, message: &[u8]) -> StunKind {
        // RFC 8489 §5: the higher bit of the class is set in responses.
        let is_response = message.first().is_some_and(|byte| byte & 1 != 0);
        match (from_client, is_response) {
            (true, false) => StunKind::ClientRequest,
            (true, true) => StunKind::ClientResponse,
            (false, false) => StunKind::BackendRequest,
            (false, true) => StunKind::BackendResponse,
        }
    }
}

/// What one worker counted. All numbers only grow.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Packets client → backend.
    pub up_packets: u64,
    /// Their bytes.
    pub up_bytes: u64,
    /// Packets backend → client.
    pub down_packets: u64,
    /// Their bytes.
    pub down_bytes: u64,
    /// Checks of clients that were answered with success.
    pub checks_answered: u64,
    /// Checks of clients that were answered with an error.
    pub checks_refused: u64,
    /// Binding requests of strangers that were answered.
    pub strangers_told: u64,
    /// Checks and answers that the edge's agents sent.
    pub checks_sent: u64,
    /// Sessions that ended here.
    pub sessions_ended: u64,
    /// Packets that went to another worker.
    pub handed_over: u64,
    /// RTP packets that the clients of followed streams have sent, by their numbering.
    pub rtp_expected_up: u64,
    /// RTP packets of them that arrived.
    pub rtp_received_up: u64,
    /// The same of backends.
    pub rtp_expected_down: u64,
    /// And what arrived of them.
    pub rtp_received_down: u64,
    wires: [Wire; 8],
    /// By kind: of use, dropped, handed over.
    stun: [[u64; 3]; StunKind::ALL.len()],
    drops: [u64; DropReason::ALL.len()],
}

impl Counters {
    #[inline]
    pub(super) fn up(&mut self, len: usize) {
        self.up_packets += 1;
        self.up_bytes += len as u64;
    }

    #[inline]
    pub(super) fn down(&mut self, len: usize) {
        self.down_packets += 1;
        self.down_bytes += len as u64;
    }

    #[inline]
    pub(super) fn heard_up(&mut self, heard: Heard) {
        self.rtp_expected_up += u64::from(heard.expected);
        self.rtp_received_up += u64::from(heard.received);
    }

    #[inline]
    pub(super) fn heard_down(&mut self, heard: Heard) {
        self.rtp_expected_down += u64::from(heard.expected);
        self.rtp_received_down += u64::from(heard.received);
    }

    pub(super) fn dropped(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    pub(super) fn stun_arrived(&mut self, from_client: bool, message: &[u8], verdict: &Verdict) {
        let result = match verdict {
            Verdict::Drop(_) => 1,
            Verdict::HandOver { .. } => 2,
            _ => 0,
        };
        self.stun[StunKind::of(from_client, message) as usize][result] += 1;
    }

    pub(super) fn wire(&mut self, place: WirePlace, more: Wire) {
        self.wires[place.index()].add(more);
    }

    /// What went by one kind of socket.
    pub fn wire_at(&self, place: WirePlace) -> Wire {
        self.wires[place.index()]
    }

    /// STUN that was of use, and STUN that was dropped.
    pub fn stun(&self, kind: StunKind) -> (u64, u64) {
        let [useful, dropped, _] = self.stun[kind as usize];
        (useful, dropped)
    }

    /// How many packets were dropped for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Adds another worker's numbers.
    pub fn add(&mut self, other: &Counters) {
        self.up_packets += other.up_packets;
        self.up_bytes += other.up_bytes;
        self.down_packets += other.down_packets;
        self.down_bytes += other.down_bytes;
        self.checks_answered += other.checks_answered;
        self.checks_refused += other.checks_refused;
        self.strangers_told += other.strangers_told;
        self.checks_sent += other.checks_sent;
        self.sessions_ended += other.sessions_ended;
        self.handed_over += other.handed_over;
        self.rtp_expected_up += other.rtp_expected_up;
        self.rtp_received_up += other.rtp_received_up;
        self.rtp_expected_down += other.rtp_expected_down;
        self.rtp_received_down += other.rtp_received_down;
        for (sum, wire) in self.wires.iter_mut().zip(other.wires) {
            sum.add(wire);
        }
        for (sum, count) in self.stun.as_flattened_mut().iter_mut().zip(other.stun.as_flattened()) {
            *sum += count;
        }
        for (sum, count) in self.drops.iter_mut().zip(other.drops) {
            *sum += count;
        }
    }
}
