//! What happens to sessions, told to people (logs) and to those who must know (other workers, dialects).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{debug, info};

use super::sites::Sites;
use crate::admin::Directory;
use crate::forward::{Counters, DropReason};
use crate::listener::PacketSide;
use crate::listener::tcp::{StreamCounters, StreamVerdict};
use crate::session::registration::{Command, SessionEvent, SessionEventKind, SessionSink};
use crate::telemetry::plain;

/// Passes commands to the packet side and tells of new sessions.
pub(super) struct AnnouncingSink {
    packets: PacketSide,
    directory: Arc<Directory>,
}

impl AnnouncingSink {
    pub(super) fn new(packets: PacketSide, directory: Arc<Directory>) -> Self {
        AnnouncingSink { packets, directory }
    }
}

impl SessionSink for AnnouncingSink {
    fn send(&self, command: Command) {
        if let Command::Register(registration) = &command {
            self.directory.registered(registration);
            let origin = &registration.origin;
            info!(
                session = %registration.session,
                route = %origin.route,
                origin = %origin.label,
                generation = registration.generation,
                backend_candidates = registration.candidates.len(),
                "registered"
            );
        }
        self.packets.send(command);
    }

    fn known_sessions(&self) -> usize {
        self.packets.known_sessions()
    }
}

/// Reads the events of all workers.
pub(super) struct Journal {
    events: UnboundedReceiver<SessionEvent>,
    packets: PacketSide,
    sites: Arc<Sites>,
    directory: Arc<Directory>,
}

impl Journal {
    pub(super) fn new(
        events: UnboundedReceiver<SessionEvent>,
        packets: PacketSide,
        sites: Arc<Sites>,
        directory: Arc<Directory>,
    ) -> Self {
        Journal { events, packets, sites, directory }
    }

    pub(super) async fn keep(mut self) {
        while let Some(event) = self.events.recv().await {
            log(&event);
            self.directory.event(&event);
            if let SessionEventKind::Ended { reason, .. } = event.kind {
                // The worker that had the session has forgotten it; the others still know its registration.
                self.packets.send(Command::End(event.session, reason));
                self.sites.session_ended(event.session, reason);
            }
        }
    }
}

fn log(event: &SessionEvent) {
    let (session, route) = (event.session, &event.origin.route);
    match &event.kind {
        SessionEventKind::ClientSeen { client } => {
            debug!(%session, %route, client = %plain(*client), "first check")
        }
        SessionEventKind::Connected { client, backend, took, generation } => info!(
            %session,
            %route,
            client = %format_args!("{} > {}", plain(client.0), plain(client.1)),
            backend = %format_args!("{} > {}", backend.0, backend.1),
            took_ms = took.as_millis() as u64,
            generation,
            "connected"
        ),
        SessionEventKind::Migrated { from, to } => {
            info!(%session, %route, from = %plain(*from), to = %plain(*to), "migrated")
        }
        SessionEventKind::Ended { reason, traffic, lasted, .. } => info!(
            %session,
            %route,
            reason = %reason.label(),
            lasted_s = %seconds(*lasted),
            up_packets = traffic.up_packets,
            up_bytes = traffic.up_bytes,
            down_packets = traffic.down_packets,
            down_bytes = traffic.down_bytes,
            "ended"
        ),
    }
}

fn seconds(span: Duration) -> impl std::fmt::Display {
    format!("{:.1}", span.as_secs_f64())
}

/// The last words: what went through and what did not, by reason.
pub(super) fn sum_up(counters: &Counters, connections: &StreamCounters) {
    info!(
        up_packets = counters.up_packets,
        down_packets = counters.down_packets,
        checks_answered = counters.checks_answered,
        sessions_ended = counters.sessions_ended,
        "xrtc stops"
    );
    for reason in DropReason::ALL {
        let packets = counters.drops(*reason);
        if packets > 0 {
            info!(reason = %reason.label(), packets, "dropped");
        }
    }
    for verdict in StreamVerdict::ALL {
        let count = connections.get(*verdict);
        if count > 0 {
            info!(verdict = %verdict.label(), count, "connections");
        }
    }
}
