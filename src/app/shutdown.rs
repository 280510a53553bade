//! How the edge ends: the first SIGTERM or SIGINT drains, the second one ends it at once.
//!
//! Draining: no new connection is accepted, sessions go on until they end or `drain_timeout` is over. Then signalling
//! connections are closed, then sessions, then the workers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::http::Phase;
use crate::listener::PacketSide;
use crate::listener::tcp::Tls;

/// How often a drain looks whether the last session is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a drain says how many are left.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The signals that concern the edge.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn stop(&mut self, tls: &[Arc<Tls>]) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    warn!("SIGHUP: certificates are read again; reloading routes.yml is not served yet, it stays");
                    super::tcp::renew(tls).await;
                }
            }
        }
    }
}

pub(super) struct Shutdown {
    pub(super) signals: Signals,
    /// Whose certificates SIGHUP renews.
    pub(super) tls: Vec<Arc<Tls>>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) packets: PacketSide,
    pub(super) drain_timeout: Duration,
}

impl Shutdown {
    /// Returns when it is time to stop the parts.
    pub(super) async fn run(mut self) {
        self.signals.stop(&self.tls).await;
        self.phase.send_replace(Phase::Draining);
        let sessions = self.packets.live_sessions();
        info!(sessions, timeout_s = self.drain_timeout.as_secs(), "draining; a second signal stops at once");
        tokio::select! {
            () = drained(&self.packets, self.drain_timeout) => {}
            () = self.signals.stop(&self.tls) => warn!("second signal: stopping at once"),
        }
        self.phase.send_replace(Phase::Stopping);
    }
}

async fn drained(packets: &PacketSide, timeout: Duration) {
    let start = Instant::now();
    let mut said = start;
    while start.elapsed() < timeout {
        let sessions = packets.live_sessions();
        if sessions == 0 {
            return;
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            info!(sessions, left_s = (timeout.saturating_sub(start.elapsed())).as_secs(), "draining");
        }
        sleep(LOOK_EVERY).await;
    }
    warn!(sessions = packets.live_sessions(), "drain timeout: the remaining sessions end now");
}
