//! Builds every part from the configuration, connects them, and ends them in order. The one place that knows all parts.

mod admin;
mod certificates;
mod descriptors;
mod edge;
mod journal;
mod parts;
mod ports;
mod relays;
mod reload;
mod shutdown;
mod sites;
mod systemd;
mod turn;
mod watch;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::info;

use crate::config::report::Report;
use crate::config::resolve::Candidate;
use crate::config::{Config, Finding, Loaded, Service};
use crate::http::{CountriesError, ServiceError};
use crate::listener::ListenError;
use crate::telemetry;
use edge::{Edge, World};
use journal::Journal;
use reload::Reloads;
use shutdown::Signals;

/// How long the end waits for those who want to know that rooms are empty now.
const NOTICES_PATIENCE: Duration = Duration::from_secs(2);

/// Why the edge did not start. Every variant names the service or setting at fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `XRTC_LOG` cannot be read.
    #[error(transparent)]
    Log(#[from] telemetry::BadFilter),
    /// The UDP side.
    #[error(transparent)]
    Packets(#[from] ListenError),
    /// A port.
    #[error("services.{service}.net.{key}: {}", cannot_listen(transport, addr, source))]
    Listen {
        /// Name of the service.
        service: Arc<str>,
        /// The key that names the address.
        key: &'static str,
        /// `TCP` or `UDP`.
        transport: &'static str,
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
    /// A certificate that would replace one that works.
    #[error(
        "services.{service}.net.tls_crt_file: the new certificate cannot be used, the reason stands above"
    )]
    Certificate {
        /// Name of the service.
        service: Arc<str>,
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
    /// A TURN service.
    #[error("services.{service}.{reason}")]
    Turn {
        /// Name of the service.
        service: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system gives no threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    /// `service` does not listen on `addr`, which the file gives under `net.{key}`.
    fn listen(
        service: &Service,
        key: &'static str,
        transport: &'static str,
        addr: SocketAddr,
        source: std::io::Error,
    ) -> StartError {
        StartError::Listen { service: service.name.clone(), key, transport, addr, source }
    }

    /// Why the UDP side of `service` does not listen.
    fn of_udp(service: &Service, error: ListenError) -> StartError {
        match error {
            ListenError::Bind { addr, source } => StartError::listen(service, "addr", "UDP", addr, source),
            other => StartError::Packets(other),
        }
    }

    /// As a person reads it: with its place in the file that was loaded, and what to do, as far as they are known.
    pub fn render(&self, loaded: &Loaded, colour: bool) -> String {
        let StartError::Listen { service, key, transport, addr, source } = self else {
            return self.to_string();
        };
        let error =
            Finding::error(format!("services.{service}.net.{key}"), cannot_listen(transport, addr, source));
        loaded.render_error(Finding { help: help_to_listen(transport, addr, source), ..error }, colour)
    }
}

fn cannot_listen(transport: &str, addr: &SocketAddr, source: &std::io::Error) -> String {
    format!("cannot listen on {transport} {addr}: {source}")
}

fn help_to_listen(transport: &str, addr: &SocketAddr, source: &std::io::Error) -> Option<String> {
    match source.kind() {
        ErrorKind::AddrInUse => {
            let flag = if transport == "UDP" { 'u' } else { 't' };
            Some(format!("`ss -ln{flag}p 'sport = :{}'`, as root, names the program that has it", addr.port()))
        }
        ErrorKind::PermissionDenied => {
            Some("ports below 1024 want root or CAP_NET_BIND_SERVICE, which the packaged unit gives".into())
        }
        ErrorKind::AddrNotAvailable => Some(
            "no interface of this machine has that address; 0.0.0.0 and [::] are all of them, and what clients are \
             told stands in candidate_ips"
                .into(),
        ),
        _ => None,
    }
}

/// Runs the edge until it is told to stop; see [`shutdown`] for how it ends, and [`reload`] for how it follows its file.
pub fn run(config: &Config, candidates: &[Candidate]) -> Result<(), StartError> {
    run_and_tell(config, candidates, || {})
}

/// Like [`run`], and calls `started` once everything listens.
pub fn run_and_tell(
    config: &Config,
    candidates: &[Candidate],
    started: impl FnOnce(),
) -> Result<(), StartError> {
    telemetry::start_logging()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("xrtc").enable_all().build()?;
    let done = runtime.block_on(serve(config, candidates, started));
    // Whatever still waits for an upstream must not hold up the end.
    runtime.shutdown_background();
    done
}

async fn serve(config: &Config, candidates: &[Candidate], tell: impl FnOnce()) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    let (events, journal_queue) = mpsc::unbounded_channel();
    let mut edge = Edge::start(config, candidates, events).await?;
    let World { packets, sites, desk, .. } = &edge.world;
    let samples = tokio::spawn(desk.clone().sample());
    let journal = Journal::new(journal_queue, packets.clone(), sites.clone(), desk.directory.clone());
    let journal = tokio::spawn(journal.keep());
    // It ends with the runtime.
    let rooms = edge.world.desk.rooms.clone();
    tokio::spawn(async move { rooms.run().await });
    announce(config, candidates);
    tell();

    follow(&mut edge, &mut signals).await;
    shutdown::drain(&edge, &mut signals).await;
    samples.abort();
    while edge.tasks.join_next().await.is_some() {}
    let World { packets, counters, desk, .. } = edge.world;
    desk.rooms.settle(NOTICES_PATIENCE).await;
    // Joining threads blocks, for the milliseconds that they take to end their sessions.
    let stopped = packets.clone();
    let _ = tokio::task::spawn_blocking(move || stopped.stop()).await;
    // The journal ends with the last worker; a second is for one that hangs.
    let _ = tokio::time::timeout(Duration::from_secs(1), journal).await;
    journal::sum_up(&packets.counters(), &counters);
    Ok(())
}

/// Everything between start and end: the edge follows its file, and the service manager hears that it is well.
async fn follow(edge: &mut Edge, signals: &mut Signals) {
    // It goes on through the drain, and ends with the runtime.
    tokio::spawn(systemd::tell_alive(edge.world.packets.clone(), edge.world.desk.relays.clone()));
    systemd::ready(edge);
    let mut reloads = Reloads::new(&edge.config);
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    let Signals { stop, reload } = signals;
    loop {
        tokio::select! {
            () = stop.asked() => return,
            cause = reloads.next(reload) => tokio::select! {
                () = stop.asked() => return,
                () = reloads.reload(edge, cause) => {}
            },
            _ = tidy.tick() => edge.tidy().await,
        }
    }
}

/// How often what is no longer used is looked for.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// A few lines: what listens, what is advertised, where it forwards.
fn announce(config: &Config, candidates: &[Candidate]) {
    info!(version = env!("CARGO_PKG_VERSION"), file = %config.file.display(), workers = config.media.workers, "xrtc starts");
    for line in Report::new(config, candidates).to_string().lines().filter(|line| !line.trim().is_empty()) {
        info!("{line}");
    }
}
