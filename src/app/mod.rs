//! Builds every part from the configuration, connects them, and ends them in order. The one place that knows all parts.

mod admin;
mod journal;
mod shutdown;
mod tcp;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::config::report::Report;
use crate::config::resolve::Candidate;
use crate::config::{Config, ServiceKind};
use crate::http::{CountriesError, HttpService, Phase, ServiceError};
use crate::listener::{ListenError, PacketSide};
use crate::session::registration::SessionSink;
use crate::telemetry;
use admin::Desk;
use journal::Journal;

/// Why the edge did not start. Every variant names the service or setting at fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `XRTC_LOG` cannot be read.
    #[error(transparent)]
    Log(#[from] telemetry::BadFilter),
    /// The UDP side.
    #[error(transparent)]
    Packets(#[from] ListenError),
    /// A TCP port.
    #[error("services.{service}.net.addr: cannot listen on {addr}: {source}")]
    Tcp {
        /// Its name.
        service: Arc<str>,
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A route cannot be served.
    #[error("services.{service}.http.routes: {source}")]
    Service {
        /// Its name.
        service: Arc<str>,
        /// Why.
        source: ServiceError,
    },
    /// TLS as such, not a certificate.
    #[error("cannot set up TLS: {0}")]
    Tls(rustls::Error),
    /// A database of the REST registration cannot be used.
    #[error("services.{service}.{source}")]
    Countries {
        /// Name of the service.
        service: Arc<str>,
        /// Why.
        source: CountriesError,
    },
    /// The operating system gives no threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Runs the edge until it is told to stop; see [`shutdown`] for how it ends.
pub fn run(config: &Config, candidates: &[Candidate]) -> Result<(), StartError> {
    telemetry::start_logging()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("xrtc").enable_all().build()?;
    let done = runtime.block_on(serve(config, candidates));
    // Whatever still waits for an upstream must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn serve(config: &Config, candidates: &[Candidate]) -> Result<(), StartError> {
    let signals = shutdown::Signals::listen()?;
    let (events, journal_queue) = mpsc::unbounded_channel();
    let ports = tcp::bind(config).await?;
    let packets = PacketSide::start(
        &udp_listeners(config),
        &tcp::ice_addresses(&ports),
        &config.media,
        config.limits.sessions,
        events,
    )?;
    let (phase, watch_phase) = watch::channel(Phase::Serving);
    let web: Arc<OnceLock<Vec<Arc<HttpService>>>> = Arc::default();
    let sites = web.clone();
    let desk = Desk::new(&packets, move || {
        sites.get().into_iter().flatten().flat_map(|site| site.servers_now()).collect()
    });
    let sink: Arc<dyn SessionSink> =
        Arc::new(journal::AnnouncingSink::new(packets.clone(), desk.directory.clone()));
    let mut tasks = JoinSet::new();
    let to =
        tcp::Ports { config, candidates, sink: &sink, packets: &packets, phase: &watch_phase, desk: &desk };
    let started = to.start(ports, &mut tasks)?;
    let _ = web.set(started.web.clone());
    let samples = tokio::spawn(desk.clone().sample());
    let journal = Journal::new(journal_queue, packets.clone(), started.web, desk.directory.clone());
    let journal = tokio::spawn(journal.keep());
    announce(config, candidates);

    let drain_timeout = config.drain_timeout;
    shutdown::Shutdown { signals, tls: started.tls, phase, packets: packets.clone(), drain_timeout }
        .run()
        .await;
    samples.abort();
    while tasks.join_next().await.is_some() {}
    // Joining threads blocks, for the milliseconds that they take to end their sessions.
    let stopped = packets.clone();
    let _ = tokio::task::spawn_blocking(move || stopped.stop()).await;
    // The journal ends with the last worker; a second is for one that hangs.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), journal).await;
    journal::sum_up(&packets.counters(), &started.counters);
    Ok(())
}

/// Addresses of the services that carry ICE over UDP, in file order.
fn udp_listeners(config: &Config) -> Vec<SocketAddr> {
    config
        .services
        .iter()
        .filter(|service| matches!(service.kind, ServiceKind::Udp { ice: Some(_) }))
        .map(|service| service.listen)
        .collect()
}

/// A few lines: what listens, what is advertised, where it forwards.
fn announce(config: &Config, candidates: &[Candidate]) {
    info!(version = env!("CARGO_PKG_VERSION"), file = %config.file.display(), workers = config.media.workers, "xrtc starts");
    for line in Report::new(config, candidates).to_string().lines().filter(|line| !line.trim().is_empty()) {
        info!("{line}");
    }
}
