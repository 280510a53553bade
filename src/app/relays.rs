//! The TURN services that run, as the admin service asks for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::admin::{Answer, RelayService, Relays};
use crate::listener::turn::TurnSide;

/// A worker answers within a millisecond; one that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every TURN service, those included that left the file and still have allocations.
#[derive(Default)]
pub(super) struct Running(Mutex<Vec<TurnSide>>);

impl Running {
    pub(super) fn add(&self, side: TurnSide) {
        self.sides().push(side);
    }

    /// It has stopped.
    pub(super) fn remove(&self, side: &TurnSide) {
        self.sides().retain(|other| !other.is(side));
    }

    fn sides(&self) -> std::sync::MutexGuard<'_, Vec<TurnSide>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relays for Running {
    fn list(&self, most: usize, user: Option<String>) -> Answer<Vec<RelayService>> {
        let sides = self.sides().clone();
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
        let sides = self.sides().clone();
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
