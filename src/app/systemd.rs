//! What the service manager is told (sd_notify(3)): ready, reloading, draining and how much longer, and that the edge is
//! well. Without one, all of this does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::{debug, error};

use super::edge::Edge;
use crate::listener::PacketSide;

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

/// Tells as often as the watchdog wants it that every packet worker answers. A worker that hangs is not told of, so the
/// service manager restarts the edge.
pub(super) async fn tell_alive(packets: PacketSide) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let period = period / 3;
    loop {
        let asked = packets.clone();
        let alive = tokio::task::spawn_blocking(move || asked.is_alive(period)).await;
        match alive {
            Ok(true) => tell(&[NotifyState::Watchdog]),
            _ => error!(within_ms = period.as_millis() as u64, "a packet worker does not answer"),
        }
        tokio::time::sleep(period).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "cannot tell the service manager");
    }
}
