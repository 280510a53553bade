//! The TCP ports: binds them, builds what each serves, and connects it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::StartError;
use super::admin::Desk;
use crate::config::resolve::{self, Candidate};
use crate::config::{Config, Service, ServiceKind};
use crate::http::{Arrival, HttpService, Phase, Registrar, RequestCounters, TlsFacts, serve_connection};
use crate::listener::PacketSide;
use crate::listener::tcp::{Arrived, ByteStream, Front, StreamCounters, Tls, Web};
use crate::session::registration::SessionSink;

/// How often certificates are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// A port that is bound and not served yet.
pub(super) struct Port<'c> {
    service: &'c Service,
    listener: TcpListener,
    addr: SocketAddr,
}

impl Port<'_> {
    fn carries_ice(&self) -> bool {
        matches!(self.service.kind, ServiceKind::Tcp { ice: Some(_), .. })
    }
}

/// Binds every TCP port that serves something, in file order.
pub(super) async fn bind(config: &Config) -> Result<Vec<Port<'_>>, StartError> {
    let mut ports = Vec::new();
    for service in &config.services {
        let serves = matches!(
            service.kind,
            ServiceKind::Http(_)
                | ServiceKind::Tcp { http: Some(_), .. }
                | ServiceKind::Tcp { ice: Some(_), .. }
                | ServiceKind::Admin(_)
        );
        if !serves {
            continue;
        }
        let failed = |source| StartError::Tcp { service: service.name.clone(), addr: service.listen, source };
        let listener = TcpListener::bind(service.listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        ports.push(Port { service, listener, addr });
    }
    Ok(ports)
}

/// Addresses of the ports that carry ICE, in the order of [`Ports::start`]'s doors.
pub(super) fn ice_addresses(ports: &[Port<'_>]) -> Vec<SocketAddr> {
    ports.iter().filter(|port| port.carries_ice()).map(|port| port.addr).collect()
}

/// What the ports are connected to.
pub(super) struct Ports<'c> {
    pub(super) config: &'c Config,
    pub(super) candidates: &'c [Candidate],
    pub(super) sink: &'c Arc<dyn SessionSink>,
    pub(super) packets: &'c PacketSide,
    pub(super) phase: &'c watch::Receiver<Phase>,
    pub(super) desk: &'c Desk,
}

/// What runs.
#[derive(Default)]
pub(super) struct Started {
    pub(super) web: Vec<Arc<HttpService>>,
    pub(super) tls: Vec<Arc<Tls>>,
    pub(super) counters: Arc<StreamCounters>,
}

impl Ports<'_> {
    /// Serves every port until the edge stops.
    pub(super) fn start(&self, ports: Vec<Port<'_>>, tasks: &mut JoinSet<()>) -> Result<Started, StartError> {
        let permits =
            Arc::new(Semaphore::new(self.config.limits.http_connections.min(Semaphore::MAX_PERMITS)));
        let stopping = stopping(self.phase.clone(), tasks);
        let limits = &self.config.limits;
        let registrar = Arc::new(Registrar::new(limits, &resolve::lines(self.candidates), self.sink));
        let mut started = Started::default();
        let requests = Arc::new(RequestCounters::default());
        self.desk.sources.add(requests.clone());
        self.desk.sources.add(started.counters.clone());
        let mut doors = 0;
        for port in ports {
            let web = port
                .service
                .http()
                .map(|http| self.web(port.service, http, &registrar, &requests, tasks))
                .transpose()?;
            let tls = port.service.tls.clone().map(|files| Tls::new(port.service.name.clone(), files));
            let tls = tls.transpose().map_err(StartError::Tls)?.map(Arc::new);
            let door = port.carries_ice().then(|| {
                doors += 1;
                self.packets.stream_door(doors - 1)
            });
            started.web.extend(web.clone());
            started.tls.extend(tls.clone());
            let phase = self.phase.clone();
            let admin = match &port.service.kind {
                ServiceKind::Admin(admin) => {
                    Some(self.desk.open(admin, self.candidates, self.phase.clone(), stopping.clone()))
                }
                _ => None,
            };
            // Whoever drains the edge wants to look on.
            let (last, permits) = match &admin {
                Some(_) => (Phase::Stopping, self.desk.permits.clone()),
                None => (Phase::Draining, permits.clone()),
            };
            let front = Front {
                web: admin.or(web.map(|service| Arc::new(Website { service, phase }) as Arc<dyn Web>)),
                door,
                tls,
                proxies: port.service.proxies.clone(),
                permits,
                counters: started.counters.clone(),
                stopping: stopping.clone(),
            };
            let mut draining = self.phase.clone();
            tasks.spawn(front.run(port.listener, async move {
                let _ = draining.wait_for(|phase| *phase >= last).await;
            }));
        }
        follow_certificates(&started.tls, self.phase.clone(), tasks);
        Ok(started)
    }

    fn web(
        &self,
        service: &Service,
        http: &crate::config::Http,
        registrar: &Arc<Registrar>,
        requests: &Arc<RequestCounters>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<HttpService>, StartError> {
        let Config { upstreams, limits, .. } = self.config;
        let candidates = resolve::lines(self.candidates);
        let built = HttpService::new(http, upstreams, limits, &candidates, self.sink)
            .map_err(|source| StartError::Service { service: service.name.clone(), source })?
            .with_rest(http, registrar)
            .map_err(|source| StartError::Countries { service: service.name.clone(), source })?
            .counting(requests);
        let built = Arc::new(built);
        let (swept, phase) = (built.clone(), self.phase.clone());
        tasks.spawn(async move { swept.sweep(phase).await });
        Ok(built)
    }
}

/// HTTP as the TCP ports know it.
struct Website {
    service: Arc<HttpService>,
    phase: watch::Receiver<Phase>,
}

impl Web for Website {
    fn serve(
        &self,
        stream: Box<dyn ByteStream>,
        arrived: Arrived,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let tls = arrived.tls.map(|tls| TlsFacts { version: tls.version, cipher: tls.cipher });
        let arrival = Arrival { peer: arrived.peer, local: arrived.local, tls };
        Box::pin(serve_connection(stream, arrival, self.service.clone(), self.phase.clone()))
    }
}

/// Turns true with the last phase.
fn stopping(mut phase: watch::Receiver<Phase>, tasks: &mut JoinSet<()>) -> watch::Receiver<bool> {
    let (tell, stopping) = watch::channel(false);
    tasks.spawn(async move {
        let _ = phase.wait_for(|phase| *phase == Phase::Stopping).await;
        tell.send_replace(true);
    });
    stopping
}

fn follow_certificates(tls: &[Arc<Tls>], mut phase: watch::Receiver<Phase>, tasks: &mut JoinSet<()>) {
    if tls.is_empty() {
        return;
    }
    let tls = tls.to_vec();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Stopping) => return,
                () = tokio::time::sleep(RENEW_EVERY) => {}
            }
            renew(&tls).await;
        }
    });
}

/// Reads certificates that changed on disk.
pub(super) async fn renew(tls: &[Arc<Tls>]) {
    let tls = tls.to_vec();
    // Reading files blocks; a panic in there has been reported.
    let _ = tokio::task::spawn_blocking(move || tls.iter().for_each(|tls| tls.renew())).await;
}
