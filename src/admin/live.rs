//! Figures of the whole edge, once per second, for the dashboard: the last minutes, and what comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::directory::Directory;
use super::render::millis;
use super::{Packets, Upstreams, process};
use crate::forward::{Counters, DropReason};

/// Seconds that a plot shows.
const HISTORY: usize = 300;
const EVERY: Duration = Duration::from_secs(1);

/// The latest figures.
#[derive(Debug)]
pub struct Live {
    history: Mutex<VecDeque<Value>>,
    latest: watch::Sender<Arc<str>>,
}

impl Default for Live {
    fn default() -> Self {
        Live { history: Mutex::default(), latest: watch::channel(Arc::from("")).0 }
    }
}

impl Live {
    /// The last minutes, oldest first.
    pub(super) fn history(&self) -> Value {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        Value::Array(history.iter().cloned().collect())
    }

    /// Changes once per second.
    pub(super) fn follow(&self) -> watch::Receiver<Arc<str>> {
        self.latest.subscribe()
    }

    fn add(&self, sample: Value, upstreams: Value) {
        let mut whole = sample.clone();
        whole["upstreams"] = upstreams;
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() >= HISTORY {
            history.pop_front();
        }
        history.push_back(sample);
        drop(history);
        self.latest.send_replace(whole.to_string().into());
    }
}

/// Takes a sample every second until the task is dropped.
pub async fn sample_forever(
    live: Arc<Live>,
    packets: Arc<dyn Packets>,
    directory: Arc<Directory>,
    upstreams: Arc<Upstreams>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = (ticks.tick().await.into_std(), packets.counters());
    loop {
        let now = ticks.tick().await.into_std();
        let counters = packets.counters();
        let (running, _) = directory.counts();
        let mut sample = rates(&before.1, &counters, now.saturating_duration_since(before.0));
        sample["at"] = millis(SystemTime::now()).into();
        sample["sessions"] = packets.live_sessions().into();
        sample["registered"] = running.into();
        sample["memory"] = process::resident_bytes().into();
        before = (now, counters);
        live.add(sample, json!(upstreams()));
    }
}

/// Per second, between two readings.
fn rates(before: &Counters, now: &Counters, passed: Duration) -> Value {
    let seconds = passed.as_secs_f64().max(0.001);
    let rate = |before: u64, now: u64| (now.saturating_sub(before) as f64 / seconds).round();
    let loss = |expected: (u64, u64), received: (u64, u64)| {
        let expected = expected.1.saturating_sub(expected.0);
        let lost = expected.saturating_sub(received.1.saturating_sub(received.0));
        if expected == 0 { 0.0 } else { (lost as f64 / expected as f64 * 10_000.0).round() / 10_000.0 }
    };
    let drops = DropReason::ALL.iter().filter_map(|reason| {
        let rate = rate(before.drops(*reason), now.drops(*reason));
        (rate > 0.0).then(|| (reason.label().to_owned(), Value::from(rate)))
    });
    json!({
        "up_bps": rate(before.up_bytes, now.up_bytes) * 8.0,
        "down_bps": rate(before.down_bytes, now.down_bytes) * 8.0,
        "up_pps": rate(before.up_packets, now.up_packets),
        "down_pps": rate(before.down_packets, now.down_packets),
        "loss_client": loss((before.rtp_expected_up, now.rtp_expected_up), (before.rtp_received_up, now.rtp_received_up)),
        "loss_backend": loss((before.rtp_expected_down, now.rtp_expected_down), (before.rtp_received_down, now.rtp_received_down)),
        "drops": drops.collect::<serde_json::Map<_, _>>(),
    })
}
