//! What the service manager is told (sd_notify(3)): ready, reloading, draining and how much longer, and that the edge is
//! well. Without one, all of this does nothing.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{debug, error};

use super::edge::Edge;
use super::relays::Relays;
use crate::listener::PacketSide;
use crate::listener::turn::TurnSide;

/// Everything listens, or listens again.
pub(super) fn ready(edge: &Edge) {
    let routes: usize =
        edge.config.services.iter().filter_map(|service| Some(service.http()?.routes.len())).sum();
    let status = format!("{}, {}", counted(edge.config.services.len(), "service"), counted(routes, "route"));
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The file is being read again. [`ready`] must follow, whatever comes of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "no monotonic clock for the service manager"),
    }
}

/// No new sessions; those that there are have `left`.
pub(super) fn draining(sessions: usize, left: Duration) {
    let status = format!("draining, {} left", counted(sessions, "session"));
    // Room for what comes after the sessions.
    let left = u32::try_from((left + Duration::from_secs(20)).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::Status(&status), NotifyState::ExtendTimeoutUsec(left)]);
}

/// Tells as often as the watchdog wants it that every worker answers, of packets and of TURN. A worker that hangs is not told
/// of, so the service manager restarts the edge.
pub(super) async fn tell_alive(packets: PacketSide, relays: Relays) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let period = period / 3;
    loop {
        let (asked, relays) = (packets.clone(), relays.running());
        let silent = tokio::task::spawn_blocking(move || who_is_silent(&asked, &relays, period)).await;
        match silent {
            Ok(None) => tell(&[NotifyState::Watchdog]),
            Ok(Some(who)) => {
                error!(within_ms = period.as_millis() as u64, %who, "a worker does not answer");
            }
            Err(error) => error!(%error, "cannot ask the workers whether they are well"),
        }
        tokio::time::sleep(period).await;
    }
}

/// The first who has a worker that does not answer in time.
fn who_is_silent(packets: &PacketSide, relays: &[TurnSide], patience: Duration) -> Option<Arc<str>> {
    if !packets.is_alive(patience) {
        return Some("the packet side".into());
    }
    relays.iter().find(|side| !side.is_alive(patience)).map(|side| side.service().clone())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "cannot tell the service manager");
    }
}
