//! What connections turned out to be, counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal,)+) => {
        /// What a connection turned out to be, or how it failed before that.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StreamVerdict { $($(#[doc = $doc])+ $variant,)+ }

        impl StreamVerdict {
            /// All of them, in the order of their index.
            pub const ALL: &'static [StreamVerdict] = &[$(StreamVerdict::$variant,)+];

            /// Stable snake-case name, for logs and metric labels.
            pub fn label(self) -> &'static str {
                match self { $(StreamVerdict::$variant => $label,)+ }
            }
        }
    };
}

verdicts! {
    /// HTTP or WebSocket.
    Http = "http",
    /// The same in TLS.
    Https = "https",
    /// ICE-TCP.
    IceTcp = "ice_tcp",
    /// ICE-TCP in TLS.
    IceTls = "ice_tls",
    /// ICE-TCP after Google's pseudo TLS handshake.
    SslTcp = "ssltcp",
    /// TURN over TCP.
    TurnTcp = "turn_tcp",
    /// TURN in TLS.
    TurnTls = "turn_tls",
    /// TURN without an allocation in time.
    TurnIdle = "turn_idle",
    /// TURN that broke the framing, or whose client took less than it was sent.
    TurnBroken = "turn_broken",
    /// Nothing that this port serves.
    Unknown = "unknown",
    /// TLS where no usable certificate is configured.
    NoCertificate = "no_certificate",
    /// The TLS handshake failed.
    TlsFailed = "tls_failed",
    /// No PROXY header where one must be.
    NoProxyHeader = "no_proxy_header",
    /// Its source has as many connections as it may (`limits.connections_per_source`).
    TooManyOfSource = "too_many_of_source",
    /// Closed by the client before it was known.
    Closed = "closed_early",
    /// Silent, or too slow, before it was known.
    SniffTimeout = "sniff_timeout",
    /// Too slow in the TLS handshake.
    TlsTimeout = "tls_timeout",
    /// ICE-TCP without a valid check in time.
    IceTimeout = "ice_timeout",
    /// ICE-TCP that broke the framing, or whose session sent more than it took.
    IceBroken = "ice_broken",
}

/// How often each verdict was given; all TCP ports together.
#[derive(Debug, Default)]
pub struct StreamCounters([AtomicU64; StreamVerdict::ALL.len()]);

impl StreamCounters {
    pub(super) fn count(&self, verdict: StreamVerdict) {
        self.0[verdict as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn get(&self, verdict: StreamVerdict) -> u64 {
        self.0[verdict as usize].load(Ordering::Relaxed)
    }
}
