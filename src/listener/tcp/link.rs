//! One TCP connection that carries packets, as its task and the packet workers share it. A relay of our own TURN server is
//! one more, without a task: its packets go to their worker at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::sync::Notify;

use super::queue::{Pushed, Queue};
use crate::forward::{Received, Via};

/// The connection.
#[derive(Debug)]
pub(in crate::listener) struct Link {
    end: End,
    /// Where packets go that do not wait for a task.
    outlet: Option<Box<dyn Outlet>>,
    opened: Instant,
    outgoing: Mutex<Queue>,
    /// Something waits to be sent, or the link is closed.
    changed: Notify,
    is_closed: AtomicBool,
    overflowed: AtomicBool,
    /// The worker that takes its packets.
    worker: AtomicU32,
    /// Milliseconds after `opened` at which a packet last was of use, plus one; 0: never.
    last_use: AtomicU64,
}

#[derive(Debug)]
enum End {
    Client(Received),
    Backend {
        remote: SocketAddr,
        /// The forwarder's index for it, once it has one.
        index: OnceLock<u16>,
    },
}

/// Takes what a worker sends by a link, on that worker's thread.
pub(in crate::listener) trait Outlet: std::fmt::Debug + Send + Sync {
    /// Passes a packet on; how many were lost by that. Never blocks.
    fn send(&self, packet: &[u8]) -> usize;
}

impl Link {
    /// A connection that a client opened.
    pub(in crate::listener) fn to_client(client: Received, worker: u32) -> Arc<Link> {
        Arc::new(Link::new(End::Client(client), worker))
    }

    /// A relay of ours that a client speaks through.
    pub(in crate::listener) fn to_relay(client: Received, worker: u32, outlet: Box<dyn Outlet>) -> Arc<Link> {
        Arc::new(Link { outlet: Some(outlet), ..Link::new(End::Client(client), worker) })
    }

    /// A connection that `worker` asked for.
    pub(in crate::listener) fn to_backend(remote: SocketAddr, worker: u32) -> Arc<Link> {
        Arc::new(Link::new(End::Backend { remote, index: OnceLock::new() }, worker))
    }

    fn new(end: End, worker: u32) -> Link {
        Link {
            end,
            outlet: None,
            opened: Instant::now(),
            outgoing: Mutex::default(),
            changed: Notify::new(),
            is_closed: AtomicBool::new(false),
            overflowed: AtomicBool::new(false),
            worker: AtomicU32::new(worker),
            last_use: AtomicU64::new(0),
        }
    }

    /// Where its packets come from. `None` while the forwarder has not named it yet.
    pub(in crate::listener) fn received(&self) -> Option<Received> {
        match &self.end {
            End::Client(received) => Some(*received),
            End::Backend { remote, index } => {
                Some(Received { via: Via::Backend(*index.get()?), from: *remote, local: None })
            }
        }
    }

    pub(in crate::listener) fn is_to_backend(&self) -> bool {
        matches!(self.end, End::Backend { .. })
    }

    pub(in crate::listener) fn name(&self, index: u16) {
        if let End::Backend { index: name, .. } = &self.end {
            // Named once, when it is opened.
            let _ = name.set(index);
        }
    }

    pub(in crate::listener) fn worker(&self) -> u32 {
        self.worker.load(Ordering::Relaxed)
    }

    /// From now on another worker takes its packets.
    pub(in crate::listener) fn move_to(&self, worker: u32) {
        self.worker.store(worker, Ordering::Relaxed);
    }

    /// A packet of it was of use, so the connection is worth keeping.
    pub(in crate::listener) fn used(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.opened).as_millis() as u64;
        self.last_use.store(millis + 1, Ordering::Relaxed);
    }

    /// When a packet of it last was of use.
    pub(super) fn last_use(&self) -> Option<Instant> {
        let millis = self.last_use.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.opened + Duration::from_millis(millis))
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Lets a packet wait to be sent; how many media packets were dropped for that. Never blocks for long.
    pub(in crate::listener) fn send(&self, packet: &[u8]) -> usize {
        if let Some(outlet) = &self.outlet {
            return outlet.send(packet);
        }
        let pushed = self.queue().push(packet);
        match pushed {
            Pushed::Waits { dropped } => {
                self.changed.notify_one();
                dropped
            }
            Pushed::Overflow => {
                self.overflowed.store(true, Ordering::Relaxed);
                self.close();
                0
            }
        }
    }

    pub(in crate::listener) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.changed.notify_one();
    }

    pub(in crate::listener) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    pub(super) fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Waits for something to send; `false` when the link is closed.
    pub(super) async fn take(&self, out: &mut BytesMut, enough: usize) -> bool {
        loop {
            if self.is_closed() {
                return false;
            }
            self.queue().take(out, enough);
            if !out.is_empty() {
                return true;
            }
            self.changed.notified().await;
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
