//! How many requests each route answered, and how.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::StatusCode;

use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};

/// Requests by route and status, over all HTTP services. Routes are names of `routes.yml`, `rest` and `none`, so that
/// their number is bounded.
#[derive(Debug, Default)]
pub struct RequestCounters(Mutex<HashMap<(Arc<str>, u16), u64>>);

impl RequestCounters {
    /// Counts an answer; no route: files, and requests that belong nowhere.
    pub(super) fn count(&self, route: Option<&Arc<str>>, status: StatusCode) {
        let route = route.cloned().unwrap_or_else(|| Arc::from("none"));
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((route, status.as_u16())).or_default() += 1;
    }
}

impl MetricSource for RequestCounters {
    fn families(&self) -> Vec<Family> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples: Vec<_> = counts
            .iter()
            .map(|((route, code), count)| {
                Sample::new([("route", route), ("code", &code.to_string())], *count as f64)
            })
            .collect();
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
        vec![Family::of(
            "xrtc_http_requests_total",
            "HTTP requests answered, by route and status; WebSockets count when they are opened.",
            Kind::Counter,
            samples,
        )]
    }
}
