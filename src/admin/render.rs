//! \[pure\] Sessions as JSON: a row of a list, and everything that is known of one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::session::diagnosis::{self, Diagnosis};
use crate::session::observe::{Milestone, StreamReport};
use crate::session::registration::{CandidateTransport, EndReason, Mode};
use crate::session::story::{BackendTry, ClientPath, Story};
use crate::telemetry::plain;

/// A session, and what its worker does not know of it.
pub(super) struct Told<'s> {
    pub(super) story: &'s Story,
    pub(super) registered: SystemTime,
    pub(super) ended: Option<EndReason>,
    /// What the client was told to connect to.
    pub(super) published: &'s str,
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// A row of a list.
pub(super) fn row(told: &Told<'_>) -> Value {
    let story = told.story;
    let selected_client = story.clients.iter().find(|path| path.selected).or(story.clients.first());
    let selected_backend = story.backends.iter().find(|backend| backend.selected);
    json!({
        "id": story.session.to_string(),
        "route": &*story.origin.route,
        "label": &*story.origin.label,
        "stage": stage(told),
        "registered": millis(told.registered),
        "age_ms": story.age.as_millis() as u64,
        "client": selected_client.map(|path| plain(path.remote).to_string()),
        "backend": selected_backend.or(story.backends.first()).map(|backend| backend.remote.to_string()),
        "diagnosis": verdict(told),
        "traffic": traffic(story),
        "from_client": summary(&story.from_client),
        "from_backend": summary(&story.from_backend),
    })
}

/// Everything.
pub(super) fn whole(told: &Told<'_>) -> Value {
    let story = told.story;
    let mut whole = row(told);
    let more = json!({
        "mode": match story.mode { Mode::HalfProxy => "half_proxy", Mode::Transparent => "transparent" },
        "ice_restarts": story.generation,
        "worker": story.worker,
        "end_reason": told.ended.map(EndReason::label),
        "clients": story.clients.iter().map(client).collect::<Vec<_>>(),
        "backends": story.backends.iter().map(backend).collect::<Vec<_>>(),
        "streams_from_client": story.from_client.iter().map(stream).collect::<Vec<_>>(),
        "streams_from_backend": story.from_backend.iter().map(stream).collect::<Vec<_>>(),
        "timeline": timeline(told),
    });
    if let (Some(whole), Value::Object(more)) = (whole.as_object_mut(), more) {
        whole.extend(more);
    }
    whole
}

fn stage(told: &Told<'_>) -> &'static str {
    if told.ended.is_some() { "ended" } else { told.story.stage.label() }
}

fn verdict(told: &Told<'_>) -> Value {
    let Diagnosis { side, text } = diagnosis::diagnose(told.story, told.ended, told.published);
    json!({"side": side.label(), "text": text})
}

fn traffic(story: &Story) -> Value {
    let traffic = &story.traffic;
    json!({
        "up_packets": traffic.up_packets, "up_bytes": traffic.up_bytes,
        "down_packets": traffic.down_packets, "down_bytes": traffic.down_bytes,
    })
}

fn summary(streams: &[StreamReport]) -> Value {
    let jitter = streams.iter().filter(|stream| stream.recent_bps > 0).filter_map(|stream| stream.jitter_ms);
    json!({
        "bps": streams.iter().map(|stream| stream.recent_bps).sum::<u64>(),
        "loss": rounded(diagnosis::loss(streams)),
        "jitter_ms": jitter.fold(None, |most: Option<f64>, it| Some(most.map_or(it, |most| most.max(it)))).map(rounded),
        "received": streams.iter().map(|stream| stream.received).sum::<u64>(),
        "lost": streams.iter().map(|stream| stream.lost).sum::<u64>(),
    })
}

fn client(path: &ClientPath) -> Value {
    json!({
        "remote": plain(path.remote).to_string(), "local": plain(path.local).to_string(),
        "proven": path.proven, "selected": path.selected,
    })
}

fn backend(tried: &BackendTry) -> Value {
    let transport = match tried.transport {
        CandidateTransport::Udp => "udp",
        CandidateTransport::TcpPassive => "tcp",
    };
    json!({
        "remote": tried.remote.to_string(), "local": tried.local.map(|local| local.to_string()),
        "transport": transport, "answered": tried.answered, "selected": tried.selected,
    })
}

fn stream(stream: &StreamReport) -> Value {
    json!({
        "ssrc": stream.ssrc, "payload_type": stream.payload_type, "clock_rate": stream.clock_rate,
        "received": stream.received, "lost": stream.lost, "bytes": stream.bytes,
        "jitter_ms": stream.jitter_ms.map(rounded), "bps": stream.recent_bps,
        "loss": rounded(stream.recent_loss), "idle_ms": stream.idle_ms,
    })
}

/// What happened, in order; times in ms after the registration.
fn timeline(told: &Told<'_>) -> Vec<Value> {
    let story = told.story;
    let mut steps: Vec<(i64, Value)> = Vec::new();
    let mut add = |at: i64, last: i64, step: &str, count: u32| {
        steps.push((at, json!({"at_ms": at, "step": step, "count": count, "last_ms": last})));
    };
    if let Some(before) = story.offer_before {
        let at = -(before.as_millis() as i64);
        add(at, at, "offer_seen", 1);
    }
    add(0, 0, if story.offer_before.is_some() { "answer_rewritten" } else { "registered" }, 1);
    for milestone in Milestone::ALL {
        let mark = story.milestones.get(*milestone);
        if let (Some(first), Some(last)) = (mark.first(), mark.last()) {
            add(i64::from(first), i64::from(last), milestone.label(), mark.count());
        }
    }
    if let Some(reason) = told.ended {
        let age = story.age.as_millis() as i64;
        add(age, age, &format!("ended_{}", reason.label()), 1);
    }
    steps.sort_by_key(|(at, _)| *at);
    steps.into_iter().map(|(_, step)| step).collect()
}

/// Four places are as much as anybody reads.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
