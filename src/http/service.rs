//! One HTTP service as configured: its routes, their dialects and upstreams. Holds state, decides nothing about single
//! requests; `proxy` does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::sync::watch;

use super::checks;
use super::conversation::Conversation;
use super::files::Files;
use super::pools::{Belongs, Need, Pools, ServerState};
use super::requests::RequestCounters;
use super::rest::{CountriesError, Registrar, Resource, Rest};
use super::server::Phase;
use super::upstream::Upstreams;
use super::upstream_tls::UpstreamTlsError;
use crate::config::{self, DialectKind, IpNet, Limits, RouteUpstream, ServerUrl, UpstreamGroup};
use crate::dialect::{self, ConnectionId, Dialect, EdgeCandidates, ExchangeId, Settings};
use crate::route::{RequestKind, RouteTable, session_in_path};
use crate::session::registration::{EndReason, Mode, SessionId, SessionSink};

/// How often dialects forget what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that the requests of one `http` service share.
#[derive(Debug)]
pub struct HttpService {
    pub(super) table: RouteTable,
    pub(super) upstreams: Upstreams,
    pub(super) pools: Pools,
    pub(super) files: Option<Files>,
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Largest body a dialect reads, bytes.
    pub(super) body_limit: usize,
    /// Largest WebSocket message a dialect reads, bytes.
    pub(super) message_limit: usize,
    pub(super) requests: Arc<RequestCounters>,
    rest: Option<Rest>,
    routes: Vec<ServedRoute>,
    next_connection: AtomicU64,
    next_exchange: AtomicU64,
}

/// A route with what serves it.
#[derive(Debug)]
pub(super) struct ServedRoute {
    pub(super) name: Arc<str>,
    pub(super) conversation: Option<Arc<Conversation>>,
    pub(super) upstream: RouteUpstream,
    /// Whether Janus sessions must find the server of a group that has them.
    pub(super) pins_janus: bool,
}

/// Why a service cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The route names a group that is not there.
    #[error("route {route}: no upstream group number {group}")]
    NoGroup {
        /// Name of the route.
        route: Arc<str>,
        /// Index into the groups.
        group: usize,
    },
    /// TLS to upstreams.
    #[error(transparent)]
    UpstreamTls(#[from] UpstreamTlsError),
}

/// Makes the dialect of a route; `None` for a kind it does not know, which is then proxied as it is.
pub type DialectBuilder = dyn Fn(&DialectKind, Settings) -> Option<Box<dyn Dialect>>;

impl HttpService {
    /// Builds the service with the dialects of this version; opens no connection yet.
    pub fn new(
        config: &config::Http,
        upstreams: &[UpstreamGroup],
        limits: &Limits,
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
    ) -> Result<Self, ServiceError> {
        Self::with_dialects(config, upstreams, limits, edge_candidates, sink, &dialect::build)
    }

    /// The same with other dialects, for tests.
    pub fn with_dialects(
        config: &config::Http,
        upstreams: &[UpstreamGroup],
        limits: &Limits,
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
        dialects: &DialectBuilder,
    ) -> Result<Self, ServiceError> {
        let build = |route| ServedRoute::new(route, upstreams, edge_candidates, sink, dialects);
        let routes = config.routes.iter().map(build).collect::<Result<_, _>>()?;
        let servers = config.routes.iter().flat_map(|route| match &route.upstream {
            RouteUpstream::Server(server) => std::slice::from_ref(server),
            RouteUpstream::Group(group) => upstreams.get(*group).map_or(&[][..], |group| &group.servers),
        });
        Ok(HttpService {
            table: RouteTable::new(config),
            upstreams: Upstreams::new(&config.upstream, servers)?,
            pools: Pools::new(upstreams),
            files: config.root.clone().map(Files::new),
            trusted_proxies: config.trusted_proxies.clone(),
            body_limit: limits.signalling_body,
            message_limit: limits.ws_message,
            requests: Arc::default(),
            rest: None,
            routes,
            next_connection: AtomicU64::new(1),
            next_exchange: AtomicU64::new(1),
        })
    }

    /// The same service, which counts its requests there.
    pub fn counting(self, requests: &Arc<RequestCounters>) -> Self {
        HttpService { requests: requests.clone(), ..self }
    }

    /// How every server is that routes of this service go to.
    pub fn servers_now(&self) -> Vec<ServerState> {
        let mut states: Vec<_> = self.used_groups().flat_map(|group| self.pools.states(group)).collect();
        for route in &self.routes {
            if let RouteUpstream::Server(server) = &route.upstream {
                states.push(self.upstreams.state(server));
            }
        }
        states
    }

    /// The same service, with the REST API where `config` has it.
    pub fn with_rest(
        mut self,
        config: &config::Http,
        registrar: &Arc<Registrar>,
    ) -> Result<Self, CountriesError> {
        self.rest = config.rest.then(|| Rest::new(config, registrar)).transpose()?;
        Ok(self)
    }

    /// Tells the dialects that the packet side ended a session.
    pub fn session_ended(&self, session: SessionId, reason: EndReason) {
        for conversation in self.conversations() {
            conversation.ended(session, reason);
        }
        if let Some(rest) = &self.rest {
            rest.ended(session);
        }
    }

    /// What goes on beside the requests until the service stops: dialects and stickiness forget what is too old, servers of
    /// groups are checked.
    pub async fn sweep(&self, mut phase: watch::Receiver<Phase>) {
        let beside = async { tokio::join!(self.forget(), checks::check_all(self, self.used_groups())) };
        tokio::select! {
            _ = phase.wait_for(|phase| *phase == Phase::Stopping) => {}
            _ = beside => {}
        }
    }

    async fn forget(&self) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            for conversation in self.conversations() {
                conversation.sweep();
            }
            self.pools.sweep();
        }
    }

    /// The groups that routes of this service go to.
    fn used_groups(&self) -> impl Iterator<Item = usize> {
        let groups = self.routes.iter().filter_map(|route| match route.upstream {
            RouteUpstream::Group(group) => Some(group),
            RouteUpstream::Server(_) => None,
        });
        groups.collect::<BTreeSet<_>>().into_iter()
    }

    /// The REST API, and what of it `path` names.
    pub(super) fn rest(&self, path: &str) -> Option<(&Rest, Resource)> {
        Some((self.rest.as_ref()?, Resource::at(path)?))
    }

    pub(super) fn route(&self, index: usize) -> Option<&ServedRoute> {
        self.routes.get(index)
    }

    pub(super) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn next_exchange(&self) -> ExchangeId {
        ExchangeId(self.next_exchange.fetch_add(1, Ordering::Relaxed))
    }

    /// All servers of a route.
    pub(super) fn servers<'a>(&'a self, route: &'a ServedRoute) -> &'a [ServerUrl] {
        match &route.upstream {
            RouteUpstream::Server(server) => std::slice::from_ref(server),
            RouteUpstream::Group(index) => self.pools.get(*index).map_or(&[], |pool| &pool.servers),
        }
    }

    fn conversations(&self) -> impl Iterator<Item = &Arc<Conversation>> {
        self.routes.iter().filter_map(|route| route.conversation.as_ref())
    }
}

impl ServedRoute {
    /// What a request on this route, the `index`-th, needs.
    pub(super) fn need(&self, index: usize, kind: RequestKind, path: &str, headers: &HeaderMap) -> Need<'_> {
        let mut belongs = match self.upstream {
            RouteUpstream::Group(_) => Belongs::of(headers),
            RouteUpstream::Server(_) => Belongs::default(),
        };
        belongs.janus_session = self.pins_janus.then(|| session_in_path(path)).flatten();
        Need { route: index, upstream: &self.upstream, kind, belongs, takes_turn: true, server: None }
    }

    fn new(
        route: &config::Route,
        groups: &[UpstreamGroup],
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
        dialects: &DialectBuilder,
    ) -> Result<Self, ServiceError> {
        if let RouteUpstream::Group(group) = route.upstream
            && group >= groups.len()
        {
            return Err(ServiceError::NoGroup { route: route.name.clone(), group });
        }
        let dialect =
            route.dialect.as_ref().and_then(|kind| dialects(kind, settings(route, edge_candidates)));
        let conversation = dialect.map(|dialect| Arc::new(Conversation::new(dialect, sink.clone())));
        Ok(ServedRoute {
            name: route.name.clone(),
            conversation,
            upstream: route.upstream.clone(),
            pins_janus: route.dialect == Some(DialectKind::Janus)
                && matches!(route.upstream, RouteUpstream::Group(_)),
        })
    }
}

fn settings(route: &config::Route, edge_candidates: &EdgeCandidates) -> Settings {
    let upstream = match &route.upstream {
        RouteUpstream::Server(server) => {
            server.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, server.port))
        }
        RouteUpstream::Group(_) => None,
    };
    Settings {
        route: route.name.clone(),
        edge_candidates: edge_candidates.clone(),
        mode: if route.ice_direct { Mode::Transparent } else { Mode::HalfProxy },
        prefer_tcp: route.ice_tcp,
        upstream,
    }
}
