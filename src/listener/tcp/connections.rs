//! How many client connections may be open: in total, so that descriptors and memory last, and per source, so that one does
//! not take all of them.
//!
//! At the total, connections wait in the kernel's queue until one ends. Beyond its share, a source's next connection is closed
//! at once: waiting would hold up everybody else's.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::budget::Held;
use crate::config::{IpNet, Limits};
use crate::telemetry::metrics::{Family, Kind, MetricSource};

/// The open client connections of all TCP ports.
#[derive(Debug)]
pub struct Connections {
    state: Mutex<State>,
    /// Somebody left, or more are allowed.
    room: Notify,
    refused: AtomicU64,
}

#[derive(Debug)]
struct State {
    total: usize,
    per_source: usize,
    exempt: Vec<IpNet>,
    open: usize,
    held: Held,
}

/// One open connection's place.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    source: Option<IpAddr>,
}

impl Connections {
    /// Nobody is connected yet.
    pub fn new(limits: &Limits) -> Arc<Self> {
        let state = State { total: 0, per_source: 0, exempt: Vec::new(), open: 0, held: Held::default() };
        let connections =
            Connections { state: Mutex::new(state), room: Notify::new(), refused: AtomicU64::new(0) };
        connections.set_limits(limits);
        Arc::new(connections)
    }

    /// Changes how many may be open. Those that are, stay.
    pub fn set_limits(&self, limits: &Limits) {
        let mut state = self.state();
        state.total = limits.http_connections;
        state.per_source = limits.connections_per_source;
        state.exempt.clone_from(&limits.exempt);
        drop(state);
        self.room.notify_waiters();
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.state().open
    }

    pub(super) fn is_full(&self) -> bool {
        let state = self.state();
        state.open >= state.total
    }

    /// A place for one more connection; waits until there is one.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // From here on no leaving is missed.
            room.as_mut().enable();
            if self.enter() {
                return Place { connections: self.clone(), source: None };
            }
            room.await;
        }
    }

    fn enter(&self) -> bool {
        let mut state = self.state();
        let fits = state.open < state.total;
        state.open += usize::from(fits);
        fits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Now it is known whose connection it is; `false`: its source has enough of them.
    pub(super) fn belongs_to(&mut self, ip: IpAddr) -> bool {
        let mut state = self.connections.state();
        if state.exempt.iter().any(|net| net.contains(ip)) {
            return true;
        }
        let limit = state.per_source;
        let fits = state.held.take(ip, limit);
        drop(state);
        if fits {
            self.source = Some(ip);
        } else {
            self.connections.refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.open -= 1;
        if let Some(source) = self.source {
            state.held.give_back(source);
        }
        drop(state);
        self.connections.room.notify_one();
    }
}

impl MetricSource for Connections {
    fn families(&self) -> Vec<Family> {
        let (open, sources) = {
            let state = self.state();
            (state.open, state.held.sources())
        };
        vec![
            Family::single(
                "xrtc_connections",
                "Client connections that are open on TCP ports.",
                Kind::Gauge,
                open as f64,
            ),
            Family::single(
                "xrtc_connection_sources",
                "Source addresses with open client connections, those of limits.exempt left out.",
                Kind::Gauge,
                sources as f64,
            ),
            Family::single(
                "xrtc_connections_refused_total",
                "Client connections that were closed at once because their source has limits.connections_per_source of them.",
                Kind::Counter,
                self.refused.load(Ordering::Relaxed) as f64,
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(total: usize, per_source: usize) -> Limits {
        Limits { http_connections: total, connections_per_source: per_source, ..Limits::default() }
    }

    const HOME: &str = "192.0.2.7";

    #[tokio::test]
    async fn at_the_total_the_next_one_waits_until_somebody_leaves() {
        let connections = Connections::new(&limits(1, 1));
        let place = connections.place().await;
        assert!(connections.is_full());
        let next = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place().await }
        });
        tokio::task::yield_now().await;
        assert!(!next.is_finished());
        drop(place);
        let next = tokio::time::timeout(Duration::from_secs(5), next).await.unwrap().unwrap();
        assert_eq!(connections.open(), 1);
        drop(next);
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test]
    async fn a_source_gets_its_share_and_the_exempt_any_number() {
        let connections = Connections::new(&limits(10, 1));
        let mut places = Vec::new();
        for (ip, fits) in
            [(HOME, true), (HOME, false), ("192.0.2.8", true), ("127.0.0.1", true), ("127.0.0.1", true)]
        {
            let mut place = connections.place().await;
            assert_eq!(place.belongs_to(ip.parse().unwrap()), fits, "{ip}");
            places.push(place);
        }
        drop(places);
        assert!(connections.place().await.belongs_to(HOME.parse().unwrap()));
        assert_eq!(connections.families()[2].samples[0].value, 1.0);
    }

    #[tokio::test]
    async fn more_room_lets_those_in_who_wait() {
        let connections = Connections::new(&limits(1, 1));
        let _place = connections.place().await;
        let next = tokio::spawn({
            let connections = connections.clone();
            async move { connections.place().await }
        });
        tokio::task::yield_now().await;
        connections.set_limits(&limits(2, 1));
        tokio::time::timeout(Duration::from_secs(5), next).await.unwrap().unwrap();
    }
}
