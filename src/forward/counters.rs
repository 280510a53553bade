//! What a worker counts: plain numbers that it alone writes.

use crate::session::observe::Heard;
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
    /// The same, of a source that has sent more such checks than its budget allows (`limits.stun_rate`).
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
        self.checks_sent += other.checks_sent;
        self.sessions_ended += other.sessions_ended;
        self.handed_over += other.handed_over;
        self.rtp_expected_up += other.rtp_expected_up;
        self.rtp_received_up += other.rtp_received_up;
        self.rtp_expected_down += other.rtp_expected_down;
        self.rtp_received_down += other.rtp_received_down;
        for (sum, count) in self.drops.iter_mut().zip(other.drops) {
            *sum += count;
        }
    }
}
