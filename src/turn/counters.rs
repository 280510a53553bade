//! What a TURN server counts: plain numbers of one worker, added up at a scrape.

use super::peers::Denial;

macro_rules! labelled {
    ($(#[doc = $what:literal])+ $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+ }) => {
        $(#[doc = $what])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])+ $variant,)+ }

        impl $name {
            /// All of them, in the order of their index.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Stable snake-case name, for logs and metric labels.
            pub fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }
        }
    };
}

labelled! {
    /// What came of looking at a request's credential.
    AuthResult {
        /// It is good.
        Ok = "ok",
        /// There is none: the client is told how to get one.
        Challenged = "challenged",
        /// Parts of it are missing or contradict each other.
        Malformed = "malformed",
        /// The nonce is old, or another client's.
        StaleNonce = "stale_nonce",
        /// No source knows the name.
        UnknownUser = "unknown_user",
        /// The integrity does not fit.
        WrongPassword = "wrong_password",
        /// The time in the name is over.
        Expired = "expired",
        /// The webhook failed, or is asked too much.
        SourceFailed = "source_failed",
        /// Good, but the allocation is another user's.
        WrongUser = "wrong_user",
    }
}

labelled! {
    /// Why something was thrown away in silence.
    TurnDrop {
        /// No STUN, no ChannelData, or one that is cut.
        Malformed = "malformed",
        /// A STUN message that no client sends a server.
        Unexpected = "unexpected",
        /// The source has had all the answers that a stranger gets.
        OverBudget = "over_budget",
        /// The answer would be more than half as large again as the question.
        Amplification = "amplification",
        /// Data of a client without an allocation.
        NoAllocation = "no_allocation",
        /// Data on a channel that is not bound.
        NoChannel = "no_channel",
        /// Data to or from a peer without a permission.
        NoPermission = "no_permission",
        /// Data to a peer that is denied.
        PeerDenied = "peer_denied",
        /// More than `bandwidth`.
        Bandwidth = "bandwidth",
        /// The send buffer was full.
        SendBufferFull = "send_buffer_full",
        /// The kernel refused it.
        SendRefused = "send_refused",
        /// A client reads its TCP connection too slowly.
        TcpClientSlow = "tcp_client_slow",
    }
}

/// Packets and their payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload, without TURN's headers.
    pub bytes: u64,
}

impl Flow {
    #[inline]
    pub(super) fn count(&mut self, packets: usize, bytes: usize) {
        self.packets += packets as u64;
        self.bytes += bytes as u64;
    }

    fn add(&mut self, other: &Flow) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the client to peers.
    pub up: Flow,
    /// From peers to the client.
    pub down: Flow,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Relayed.
    pub traffic: Traffic,
    /// Of that, within the process: to and from the edge's own ICE port.
    pub inside: Traffic,
    /// Allocations made.
    pub allocated: u64,
    /// Allocations refused, by error code: quota and capacity.
    pub refused_quota: u64,
    /// The same for capacity.
    pub refused_capacity: u64,
    /// Binding requests answered.
    pub bindings: u64,
    auth: [u64; AuthResult::ALL.len()],
    drops: [u64; TurnDrop::ALL.len()],
    denials: [u64; Denial::ALL.len()],
}

impl Counters {
    /// Requests whose credential came to this.
    pub fn auth(&self, result: AuthResult) -> u64 {
        self.auth[result as usize]
    }

    /// Packets that were thrown away for this.
    pub fn drops(&self, reason: TurnDrop) -> u64 {
        self.drops[reason as usize]
    }

    /// Peers that were denied for this.
    pub fn denials(&self, reason: Denial) -> u64 {
        self.denials[reason as usize]
    }

    pub(super) fn count_auth(&mut self, result: AuthResult) {
        self.auth[result as usize] += 1;
    }

    /// Counts what was thrown away outside of the core.
    pub fn count_drops(&mut self, reason: TurnDrop, packets: usize) {
        self.drops[reason as usize] += packets as u64;
    }

    pub(super) fn count_denial(&mut self, reason: Denial) {
        self.denials[reason as usize] += 1;
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Counters) {
        for (ours, theirs) in [(&mut self.traffic, &other.traffic), (&mut self.inside, &other.inside)] {
            ours.up.add(&theirs.up);
            ours.down.add(&theirs.down);
        }
        self.allocated += other.allocated;
        self.refused_quota += other.refused_quota;
        self.refused_capacity += other.refused_capacity;
        self.bindings += other.bindings;
        let pairs = self.auth.iter_mut().zip(&other.auth);
        let pairs = pairs.chain(self.drops.iter_mut().zip(&other.drops));
        for (ours, theirs) in pairs.chain(self.denials.iter_mut().zip(&other.denials)) {
            *ours += theirs;
        }
    }
}
