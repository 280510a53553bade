//! How the edge ends: the first SIGTERM or SIGINT drains, the second one ends it at once.
//!
//! Draining: no new connection is accepted, sessions go on until they end or `drain_timeout` is over. Then signalling
//! connections are closed, then sessions, then the workers.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::edge::Edge;
use super::systemd;
use crate::http::Phase;

/// How often a drain looks whether the last session is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a drain says how many are left.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The signals that concern the edge.
pub(super) struct Signals {
    pub(super) stop: Stop,
    /// SIGHUP.
    pub(super) reload: Signal,
}

/// SIGTERM and SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let stop =
            Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok(Signals { stop, reload: signal(SignalKind::hangup())? })
    }
}

impl Stop {
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Returns when it is time to stop the parts.
pub(super) async fn drain(edge: &Edge, signals: &mut Signals) {
    let (packets, timeout) = (&edge.world.packets, edge.config.drain_timeout);
    edge.world.phase.send_replace(Phase::Draining);
    let live = || Live { sessions: packets.live_sessions(), relays: super::parts::allocations(&edge.parts) };
    let Live { sessions, relays } = live();
    info!(sessions, relays, timeout_s = timeout.as_secs(), "draining; a second signal stops at once");
    systemd::draining(sessions, timeout);
    let mut waiting = std::pin::pin!(drained(&live, timeout));
    loop {
        tokio::select! {
            () = &mut waiting => break,
            () = signals.stop.asked() => {
                warn!("second signal: stopping at once");
                break;
            }
            _ = signals.reload.recv() => {
                warn!("SIGHUP while draining: certificates are read again, routes.yml is not");
                edge.renew_certificates().await;
            }
        }
    }
    edge.world.phase.send_replace(Phase::Stopping);
}

/// Who is waited for.
struct Live {
    sessions: usize,
    /// Of TURN.
    relays: usize,
}

async fn drained(live: &dyn Fn() -> Live, timeout: Duration) {
    let start = Instant::now();
    let mut said = start;
    while start.elapsed() < timeout {
        let Live { sessions, relays } = live();
        if (sessions, relays) == (0, 0) {
            return info!(took_s = start.elapsed().as_secs(), "drained: nobody is left");
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            let left = timeout.saturating_sub(start.elapsed());
            info!(sessions, relays, left_s = left.as_secs(), "draining");
            systemd::draining(sessions, left);
        }
        sleep(LOOK_EVERY).await;
    }
    let Live { sessions, relays } = live();
    warn!(sessions, relays, "drain timeout: who is left ends now");
}
