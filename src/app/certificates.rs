//! The certificates of all services: read again when their files change, and when each expires told at a scrape.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::http::Phase;
use crate::listener::tcp::Tls;
use crate::telemetry::metrics::{Family, Kind, MetricSource, Sample};

/// How often certificates are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// Those of the services that run now.
#[derive(Clone, Default)]
pub(super) struct Certificates(Arc<ArcSwap<Vec<Arc<Tls>>>>);

impl Certificates {
    /// Other services run now.
    pub(super) fn are(&self, those: Vec<Arc<Tls>>) {
        self.0.store(Arc::new(those));
    }

    /// Reads those that changed on disk.
    pub(super) async fn renew(&self) {
        let all = self.0.load_full();
        if !all.is_empty() {
            // Reading files blocks; a panic in there has been reported.
            let _ = tokio::task::spawn_blocking(move || all.iter().for_each(|tls| tls.renew())).await;
        }
    }

    /// Does so every few seconds, until the edge stops.
    pub(super) async fn follow(self, mut phase: watch::Receiver<Phase>) {
        loop {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => return,
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            self.renew().await;
        }
    }
}

impl MetricSource for Certificates {
    fn families(&self) -> Vec<Family> {
        let all = self.0.load();
        let expiries = all.iter().filter_map(|tls| tls.expiry());
        vec![Family::of(
            "xrtc_tls_certificate_expiry_seconds",
            "When the certificate of a service expires, seconds since 1970.",
            Kind::Gauge,
            expiries.map(|(service, at)| Sample::new([("service", service)], at.as_secs_f64())),
        )]
    }
}
