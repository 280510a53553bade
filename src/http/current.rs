//! One HTTP service over all its configurations. A request is served by the one that holds when it comes, whatever connection
//! it comes on; what is under way, WebSockets included, keeps the one that it began with.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::server::Phase;
use super::service::HttpService;
use crate::session::registration::{EndReason, SessionId};

/// A service that can be replaced while it is served.
#[derive(Clone, Debug)]
pub struct Current(Arc<Inner>);

/// A [`Current`] that somebody else keeps: its connections, or the configuration.
#[derive(Clone, Debug)]
pub struct WeakCurrent(Weak<Inner>);

#[derive(Debug)]
struct Inner {
    service: ArcSwap<HttpService>,
    replaced: watch::Sender<()>,
}

impl From<Arc<HttpService>> for Current {
    fn from(service: Arc<HttpService>) -> Self {
        service.take_over();
        Current(Arc::new(Inner { service: ArcSwap::new(service), replaced: watch::Sender::new(()) }))
    }
}

impl Current {
    /// The service as it is configured now.
    pub fn service(&self) -> Arc<HttpService> {
        self.0.service.load_full()
    }

    /// Puts a renewed service in its place; see [`HttpService::renewed`].
    pub fn replace(&self, service: Arc<HttpService>) {
        service.take_over();
        self.0.service.store(service);
        self.0.replaced.send_replace(());
    }

    /// The same, without keeping it.
    pub fn downgrade(&self) -> WeakCurrent {
        WeakCurrent(Arc::downgrade(&self.0))
    }
}

impl WeakCurrent {
    /// What goes on beside the requests, until the process stops or nobody is served any more.
    pub async fn tend(self, phase: watch::Receiver<Phase>) {
        while let Some((service, mut replaced)) = self.begin() {
            tokio::select! {
                () = service.sweep(phase.clone()) => return,
                _ = replaced.changed() => {}
            }
        }
    }

    /// The service as it is configured now, if anybody is served by it.
    pub fn service(&self) -> Option<Arc<HttpService>> {
        Some(self.0.upgrade()?.service.load_full())
    }

    /// Tells the dialects that the packet side ended a session; `false`: there is nobody to tell.
    pub fn session_ended(&self, session: SessionId, reason: EndReason) -> bool {
        let inner = self.0.upgrade();
        if let Some(inner) = &inner {
            inner.service.load().session_ended(session, reason);
        }
        inner.is_some()
    }

    /// The handle itself is not kept, so that its end is seen.
    fn begin(&self) -> Option<(Arc<HttpService>, watch::Receiver<()>)> {
        let inner = self.0.upgrade()?;
        // Subscribed before the service is read, so that no replacement is missed.
        let replaced = inner.replaced.subscribe();
        Some((inner.service.load_full(), replaced))
    }
}
