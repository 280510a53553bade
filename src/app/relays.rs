//! The TURN services that run, as the watchdog and the admin service ask for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::admin::{self, Answer, RelayService};
use crate::listener::turn::TurnSide;

/// A worker answers within a millisecond; one that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// TURN services that run: they come and go with the file, and one that left it stays for as long as it has allocations.
#[derive(Clone, Default)]
pub(super) struct Relays(Arc<Mutex<Vec<TurnSide>>>);

impl Relays {
    /// One more.
    pub(super) fn add(&self, side: TurnSide) {
        self.lock().push(side);
    }

    /// Those that run.
    pub(super) fn running(&self) -> Vec<TurnSide> {
        let mut all = self.lock();
        all.retain(|side| !side.has_stopped());
        all.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TurnSide>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl admin::Relays for Relays {
    fn list(&self, most: usize, user: Option<String>) -> Answer<Vec<RelayService>> {
        let sides = self.running();
        Box::pin(async move {
            let mut services = Vec::new();
            for side in sides {
                let listed =
                    timeout(PATIENCE, side.snapshot(most, user.as_deref())).await.unwrap_or_default();
                services.push(RelayService {
                    service: Arc::clone(side.service()),
                    listen: side.address(),
                    draining: side.is_draining(),
                    allocations: side.allocations(),
                    counters: side.counters(),
                    listed,
                });
            }
            services
        })
    }

    fn end(&self, id: u64) -> Answer<bool> {
        let sides = self.running();
        Box::pin(async move {
            for side in sides {
                if timeout(PATIENCE, side.end(id)).await.unwrap_or(false) {
                    return true;
                }
            }
            false
        })
    }
}
