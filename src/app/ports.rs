//! The TCP ports: what each serves, built from its service of the file and exchanged when that changes. A port that stays
//! keeps its socket, and every connection what it has.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::StartError;
use super::edge::{Edge, World};
use crate::config::{Config, Http, Service, ServiceKind};
use crate::dialect::EdgeCandidates;
use crate::http::{Arrival, Current, HttpService, Phase, TlsFacts, serve_connection};
use crate::listener::ListenerIndex;
use crate::listener::tcp::{Arrived, ByteStream, Front, StreamDoor, Tls, Web};

/// A port that is served.
pub(super) struct Port {
    /// Name of its service.
    pub(super) service: Arc<str>,
    /// As the file has it; with port 0 the kernel chose another one.
    listen: SocketAddr,
    addr: SocketAddr,
    site: Option<Current>,
    pub(super) tls: Option<Arc<Tls>>,
    door: Option<StreamDoor>,
    front: Arc<ArcSwap<Front>>,
    /// True: accept nobody any more.
    leave: watch::Sender<bool>,
}

impl Port {
    /// Connections go on, new ones are not accepted.
    pub(super) fn let_go(self) {
        self.leave.send_replace(true);
    }

    /// Its place at the packet side, once it has carried ICE.
    pub(super) fn listener(&self) -> Option<ListenerIndex> {
        self.door.as_ref().map(StreamDoor::index)
    }

    pub(super) fn is_of(&self, service: &Service) -> bool {
        self.listen == service.listen && (self.listen.port() != 0 || self.service == service.name)
    }
}

/// What a port will be: everything that can fail has been done.
pub(super) struct Planned {
    service: Service,
    /// Index of the port that goes on; `None`: this listener is a new one.
    known: Option<usize>,
    listener: Option<TcpListener>,
    addr: SocketAddr,
    serves: Serves,
    tls: Option<Arc<Tls>>,
}

/// What stands behind a port.
enum Serves {
    /// Nothing but packets.
    Packets,
    /// HTTP, and the service of an earlier configuration that it takes over from.
    Http(Arc<HttpService>, Option<Current>),
    /// The admin service.
    Admin(Arc<dyn Web>),
}

/// Plans all ports of `config`: binds what is new, builds what is served.
pub(super) async fn plan(
    edge: &Edge,
    config: &Config,
    candidates: &EdgeCandidates,
) -> Result<Vec<Planned>, StartError> {
    let mut planned = Vec::new();
    for service in config.services.iter().filter(|service| is_tcp(service)) {
        let known = edge.ports.iter().position(|port| port.is_of(service));
        let (listener, addr) = match known {
            Some(known) => (None, edge.ports[known].addr),
            None => bind(service).await?,
        };
        let serves = match service.http() {
            Some(http) => edge.site(config, service, http, candidates)?,
            None => match &service.kind {
                ServiceKind::Admin(admin) => Serves::Admin(edge.world.admin(admin, candidates)),
                _ => Serves::Packets,
            },
        };
        let tls = edge.tls(service)?;
        planned.push(Planned { service: service.clone(), known, listener, addr, serves, tls });
    }
    Ok(planned)
}

/// Whether a service has a TCP port of this kind, and does anything there.
fn is_tcp(service: &Service) -> bool {
    matches!(
        service.kind,
        ServiceKind::Http(_)
            | ServiceKind::Tcp { http: Some(_), .. }
            | ServiceKind::Tcp { ice: Some(_), .. }
            | ServiceKind::Admin(_)
    ) || service.carries_turn
}

async fn bind(service: &Service) -> Result<(Option<TcpListener>, SocketAddr), StartError> {
    let failed = |source| StartError::listen(service, "addr", "TCP", service.listen, source);
    let listener = TcpListener::bind(service.listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((Some(listener), addr))
}

impl Edge {
    /// The HTTP service of a port: renewed from the one by its name, else from the one at its address.
    fn site(
        &self,
        config: &Config,
        service: &Service,
        http: &Http,
        candidates: &EdgeCandidates,
    ) -> Result<Serves, StartError> {
        let World { sink, registrar, budgets, .. } = &self.world;
        let (groups, limits) = (&config.upstreams, &config.limits);
        let before = self.before(config, service).and_then(|port| port.site.clone());
        let built = match &before {
            Some(before) => before.service().renewed(http, groups, limits, candidates, sink),
            None => HttpService::new(http, groups, limits, candidates, sink),
        };
        let built = built
            .and_then(|built| built.with_rooms(&service.name, http, &self.world.desk.rooms))
            .map_err(|source| StartError::Service { service: service.name.clone(), source })?
            .with_rest(http, registrar)
            .map_err(|source| StartError::Countries { service: service.name.clone(), source })?
            .with_budgets(budgets)
            .counting(&self.world.desk.requests);
        Ok(Serves::Http(Arc::new(built), before))
    }

    /// TLS of a service: what follows its files already, if they are the same. A certificate that works is not given up for
    /// one that does not.
    fn tls(&self, service: &Service) -> Result<Option<Arc<Tls>>, StartError> {
        let Some(files) = &service.tls else { return Ok(None) };
        let before = self.ports.iter().filter(|port| port.service == service.name || port.is_of(service));
        let before: Vec<&Arc<Tls>> = before.filter_map(|port| port.tls.as_ref()).collect();
        if let Some(same) = before.iter().find(|tls| tls.files() == files) {
            return Ok(Some(Arc::clone(same)));
        }
        let tls = Tls::new(service.name.clone(), files.clone()).map_err(StartError::Tls)?;
        if !tls.is_usable() && before.iter().any(|tls| tls.is_usable()) {
            return Err(StartError::Certificate { service: service.name.clone() });
        }
        Ok(Some(Arc::new(tls)))
    }

    fn before(&self, config: &Config, service: &Service) -> Option<&Port> {
        let is_taken = |port: &Port| config.services.iter().any(|other| other.name == port.service);
        let by_name = self.ports.iter().find(|port| port.service == service.name);
        by_name.or_else(|| self.ports.iter().find(|port| port.is_of(service) && !is_taken(port)))
    }

    /// Serves what was planned, and lets go of the ports that were not. Cannot fail.
    pub(super) fn serve(&mut self, planned: Vec<Planned>) {
        let mut before: Vec<Option<Port>> = std::mem::take(&mut self.ports).into_iter().map(Some).collect();
        for planned in planned {
            let known = planned.known.and_then(|index| before[index].take());
            let port = self.serve_one(planned, known);
            self.ports.push(port);
        }
        before.into_iter().flatten().for_each(Port::let_go);
    }

    fn serve_one(&mut self, planned: Planned, known: Option<Port>) -> Port {
        let Planned { service, listener, addr, serves, tls, .. } = planned;
        let carries_ice = matches!(service.kind, ServiceKind::Tcp { ice: Some(_), .. });
        let is_admin = matches!(service.kind, ServiceKind::Admin(_));
        // A port that has lost its ICE keeps the door, for the connections that go on, and for later.
        let kept = known.as_ref().and_then(|port| port.door.clone());
        let door =
            if carries_ice { kept.or_else(|| Some(self.world.packets.add_stream_door(addr))) } else { kept };
        let mut admin = None;
        let site = match serves {
            Serves::Packets => None,
            Serves::Admin(served) => {
                admin = Some(served);
                None
            }
            Serves::Http(built, Some(before)) => {
                before.replace(built);
                Some(before)
            }
            Serves::Http(built, None) => Some(self.open_site(built)),
        };
        let front = Front {
            web: site
                .clone()
                .map(|site| Arc::new(Website { site, phase: self.world.phase.subscribe() }) as Arc<dyn Web>)
                .or(admin),
            door: door.clone().filter(|_| carries_ice),
            turn: super::turn::door(super::parts::first_turn(&self.parts)).filter(|_| service.carries_turn),
            tls: tls.clone(),
            proxies: service.proxies.clone(),
            trusted: service.http().map_or(Vec::new(), |http| http.trusted_proxies.clone()),
            connections: match is_admin {
                true => self.world.desk.connections.clone(),
                false => self.world.connections.clone(),
            },
            counters: self.world.counters.clone(),
            stopping: self.world.stopping.clone(),
        };
        let port = |front, leave| Port {
            service: service.name,
            listen: service.listen,
            addr,
            site,
            tls,
            door,
            front,
            leave,
        };
        match (known, listener) {
            (Some(known), _) => {
                known.front.store(Arc::new(front));
                port(known.front, known.leave)
            }
            (None, listener) => {
                let (front, leave) = (Arc::new(ArcSwap::from_pointee(front)), watch::Sender::new(false));
                if let Some(listener) = listener {
                    // Whoever drains the edge wants to look on.
                    let last = if is_admin { Phase::Stopping } else { Phase::Draining };
                    self.accept(listener, front.clone(), leave.subscribe(), last);
                }
                port(front, leave)
            }
        }
    }

    fn accept(
        &mut self,
        listener: TcpListener,
        front: Arc<ArcSwap<Front>>,
        mut leave: watch::Receiver<bool>,
        last: Phase,
    ) {
        let mut phase = self.world.phase.subscribe();
        let until = async move {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase >= last) => {}
                _ = leave.wait_for(|leave| *leave) => {}
            }
        };
        self.tasks.spawn(Front::run_current(front, listener, until));
    }

    fn open_site(&mut self, built: Arc<HttpService>) -> Current {
        let site = Current::from(built);
        self.world.sites.add(&site);
        self.tasks.spawn(site.downgrade().tend(self.world.phase.subscribe()));
        site
    }
}

/// HTTP as the TCP ports know it.
struct Website {
    site: Current,
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
        Box::pin(serve_connection(stream, arrival, self.site.clone(), self.phase.clone()))
    }
}
