//! Every HTTP service that may still know of sessions: those of the file, and those that left it while connections go on.

use std::sync::{Mutex, PoisonError};

use crate::http::{Current, ServerState, WeakCurrent};
use crate::session::registration::{EndReason, SessionId};

/// The services; none is kept alive by standing here.
#[derive(Debug, Default)]
pub(super) struct Sites(Mutex<Vec<WeakCurrent>>);

impl Sites {
    pub(super) fn add(&self, site: &Current) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(site.downgrade());
    }

    /// How the servers are that they go to.
    pub(super) fn servers(&self) -> Vec<ServerState> {
        let sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sites.iter().filter_map(WeakCurrent::service).flat_map(|service| service.servers_now()).collect()
    }

    /// Tells them that the packet side ended a session; forgets those that are gone.
    pub(super) fn session_ended(&self, session: SessionId, reason: EndReason) {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sites.retain(|site| site.session_ended(session, reason));
    }
}
