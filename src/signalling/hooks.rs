//! \[shell\] Tells a server of the operator's who joins and leaves: in order per room, beside the calls, again when it fails,
//! and never more than a bounded number at once. No call ever waits for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::counters::Counters;
use super::protocol::Notice;
use crate::auth::{Poster, WebhookError};
use crate::config::{RoomWebhook, Secret};

/// Waits before the attempts that follow a failed one (webrtc-server.md §7).
const AGAIN_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];
/// For one attempt, from the dial to the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Notices that wait, of all rooms; at some 500 bytes each 5 MB.
const MOST: usize = 10_000;
/// Attempts under way.
const AT_ONCE: usize = 32;
/// What the notice is about; some bodies do not say.
const EVENT: HeaderName = HeaderName::from_static("x-event");
const SIGNATURE: HeaderName = HeaderName::from_static("x-signature");

/// The way to the webhook. Clones share everything.
#[derive(Clone)]
pub(super) struct Hooks(Arc<Shared>);

struct Shared {
    poster: Poster,
    secret: Option<Secret>,
    counters: Arc<Counters>,
    waiting: Mutex<Waiting>,
    permits: Semaphore,
    /// Told whenever a room has nothing more to tell.
    quiet: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Rooms with something to tell; each has a task of its own.
    rooms: HashMap<String, VecDeque<Notice>>,
    count: usize,
}

impl Hooks {
    pub(super) fn new(webhook: &RoomWebhook, counters: Arc<Counters>) -> Result<Hooks, WebhookError> {
        Ok(Hooks(Arc::new(Shared {
            poster: Poster::new(&webhook.url)?,
            secret: webhook.secret.clone(),
            counters,
            waiting: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
            quiet: Notify::new(),
        })))
    }

    /// Takes a notice for delivery; never waits.
    pub(super) fn tell(&self, notice: Notice) {
        let mut waiting = self.0.lock();
        if waiting.count >= MOST {
            self.0.counters.noticed(false);
            return warn!(host = self.0.poster.host(), "webhook is too slow: a notice is dropped");
        }
        waiting.count += 1;
        if let Some(queue) = waiting.rooms.get_mut(&notice.room) {
            return queue.push_back(notice);
        }
        let room = notice.room.clone();
        waiting.rooms.insert(room.clone(), VecDeque::from([notice]));
        let shared = self.0.clone();
        tokio::spawn(async move { shared.deliver_all(room).await });
    }

    /// Waits until everything is delivered or given up.
    pub(super) async fn settle(&self) {
        loop {
            let quiet = self.0.quiet.notified();
            if self.0.lock().rooms.is_empty() {
                return;
            }
            quiet.await;
        }
    }
}

impl Shared {
    async fn deliver_all(&self, room: String) {
        while let Some(notice) = self.front(&room) {
            let delivered = self.deliver(&room, &notice).await;
            self.counters.noticed(delivered);
            self.pop(&room);
        }
    }

    async fn deliver(&self, room: &str, notice: &Notice) -> bool {
        for pause in AGAIN_AFTER.map(Some).into_iter().chain([None]) {
            let failed = match self.attempt(notice).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            let Some(pause) = pause else {
                warn!(host = self.poster.host(), room, error = %failed, "webhook failed for good: a notice is dropped");
                break;
            };
            debug!(host = self.poster.host(), room, error = %failed, ?pause, "webhook failed");
            sleep(pause).await;
        }
        false
    }

    async fn attempt(&self, notice: &Notice) -> io::Result<()> {
        let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
        let post = self.poster.post(notice.body.clone(), self.headers(notice));
        let (status, _) = timeout(TIMEOUT, post).await.map_err(io::Error::from)??;
        match status.is_success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("answered {status}"))),
        }
    }

    fn headers(&self, notice: &Notice) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(EVENT, HeaderValue::from_static(notice.topic));
        let signature = self.secret.as_ref().and_then(|secret| signature(secret, &notice.body));
        headers.extend(signature.map(|signature| (SIGNATURE, signature)));
        headers
    }

    fn front(&self, room: &str) -> Option<Notice> {
        let mut waiting = self.lock();
        let front = waiting.rooms.get(room).and_then(VecDeque::front).cloned();
        if front.is_none() {
            waiting.rooms.remove(room);
            drop(waiting);
            self.quiet.notify_waiters();
        }
        front
    }

    fn pop(&self, room: &str) {
        let mut waiting = self.lock();
        waiting.count -= 1;
        if let Some(queue) = waiting.rooms.get_mut(room) {
            queue.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `sha256=<hex HMAC-SHA256 of the body>`.
fn signature(secret: &Secret, body: &[u8]) -> Option<HeaderValue> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.expose().as_bytes()).ok()?;
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("sha256={hex}")).ok()
}
