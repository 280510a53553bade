//! One HTTP service as configured: its routes, their dialects and upstreams. Holds state, decides nothing about single
//! requests; `proxy` does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::budgets::Budgets;
use super::checks;
use super::conversation::Conversation;
use super::files::Files;
use super::media_server::Januses;
use super::pools::{Pools, ServerState};
use super::requests::RequestCounters;
use super::rest::{CountriesError, Registrar, Resource, Rest};
use super::served_route::ServedRoute;
use super::server::Phase;
use super::upstream::Upstreams;
use super::upstream_tls::UpstreamTlsError;
use crate::config::{self, DialectKind, IpNet, Limits, RouteUpstream, ServerUrl, UpstreamGroup};
use crate::dialect::{self, ConnectionId, Dialect, EdgeCandidates, ExchangeId, Settings};
use crate::route::RouteTable;
use crate::session::registration::{EndReason, SessionId, SessionSink};
use crate::signalling::{MediaServer, PlannedRooms, Rooms, RoomsError};

/// How often dialects forget what is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that the requests of one `http` service share.
#[derive(Debug)]
pub struct HttpService {
    pub(super) table: RouteTable,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) pools: Pools,
    pub(super) files: Option<Files>,
    pub(super) trusted_proxies: Vec<IpNet>,
    /// Largest body a dialect reads, bytes.
    pub(super) body_limit: usize,
    /// Largest WebSocket message a dialect reads, bytes.
    pub(super) message_limit: usize,
    pub(super) requests: Arc<RequestCounters>,
    /// How much a source may ask for; `None`: as much as it likes.
    pub(super) budgets: Option<Arc<Budgets>>,
    rest: Option<Rest>,
    /// What rooms that go on are told when this configuration takes over.
    planned_rooms: Vec<PlannedRooms>,
    routes: Vec<ServedRoute>,
    /// Dialects of earlier configurations that connections may still use.
    retired: Vec<Weak<Conversation>>,
    config: config::Http,
    servers: Vec<ServerUrl>,
    numbers: Arc<Numbers>,
}

/// What is counted over all configurations of a service.
#[derive(Debug, Default)]
struct Numbers {
    connection: AtomicU64,
    exchange: AtomicU64,
    route: AtomicUsize,
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
    /// Its rooms cannot be served.
    #[error("route {route}: {source}")]
    Rooms {
        /// Name of the route.
        route: Arc<str>,
        /// Why.
        source: RoomsError,
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
        Self::build(None, config, upstreams, limits, edge_candidates, sink, dialects)
    }

    /// The service as a changed file has it. What goes on stays: dialects of routes that keep their name, dialect and mode,
    /// who sticks to which server, what is known of servers, open upstream connections where nothing about them changed.
    /// Nothing of this is touched before [`HttpService::take_over`].
    pub fn renewed(
        &self,
        config: &config::Http,
        upstreams: &[UpstreamGroup],
        limits: &Limits,
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
    ) -> Result<Self, ServiceError> {
        Self::build(Some(self), config, upstreams, limits, edge_candidates, sink, &dialect::build)
    }

    /// Tells what goes on that it follows this configuration now.
    pub(super) fn take_over(&self) {
        for route in &self.routes {
            if let Some(conversation) = &route.conversation {
                conversation.renew(route.settings.clone());
            }
        }
        self.planned_rooms.iter().for_each(PlannedRooms::carry_out);
        for route in &self.routes {
            if let Some(hub) = &route.rooms {
                hub.set_media_server(route.januses.clone().map(|it| Box::new(it) as Box<dyn MediaServer>));
            }
            route.januses.iter().for_each(|januses| januses.service().take_over());
        }
    }

    fn build(
        before: Option<&HttpService>,
        config: &config::Http,
        upstreams: &[UpstreamGroup],
        limits: &Limits,
        edge_candidates: &EdgeCandidates,
        sink: &Arc<dyn SessionSink>,
        dialects: &DialectBuilder,
    ) -> Result<Self, ServiceError> {
        let numbers = before.map(|before| before.numbers.clone()).unwrap_or_default();
        let build = |route: &config::Route| {
            let known = before.and_then(|before| before.routes.iter().find(|known| known.name == route.name));
            let number = known.map(|known| known.number);
            let number = number.unwrap_or_else(|| numbers.route.fetch_add(1, Ordering::Relaxed));
            ServedRoute::new(route, upstreams, edge_candidates, sink, dialects, known, number)
        };
        let mut routes = config.routes.iter().map(build).collect::<Result<Vec<_>, _>>()?;
        for (served, route) in routes.iter_mut().zip(&config.routes) {
            let known = before.and_then(|before| before.routes.iter().find(|known| known.name == route.name));
            let known = known.and_then(|known| known.januses.as_ref());
            served.januses = Januses::new(known, config, route, upstreams, limits, edge_candidates, sink)?;
        }
        let servers = config.routes.iter().flat_map(|route| match &route.upstream {
            RouteUpstream::Server(server) => std::slice::from_ref(server),
            RouteUpstream::Group(group) => upstreams.get(*group).map_or(&[][..], |group| &group.servers),
            RouteUpstream::Rooms(_) => &[],
        });
        let servers: Vec<ServerUrl> = servers.cloned().collect();
        Ok(HttpService {
            table: RouteTable::new(config),
            upstreams: match before.filter(|before| before.reaches_alike(config, &servers)) {
                Some(before) => before.upstreams.clone(),
                None => Arc::new(Upstreams::new(&config.upstream, servers.iter())?),
            },
            pools: match before {
                Some(before) => before.pools.renewed(upstreams),
                None => Pools::new(upstreams),
            },
            files: config.root.clone().map(|root| Files::new(root, config.root_index)),
            trusted_proxies: config.trusted_proxies.clone(),
            body_limit: limits.signalling_body,
            message_limit: limits.ws_message,
            requests: before.map(|before| before.requests.clone()).unwrap_or_default(),
            budgets: before.and_then(|before| before.budgets.clone()),
            rest: None,
            planned_rooms: Vec::new(),
            retired: before.map(|before| before.retiring(&routes)).unwrap_or_default(),
            routes,
            config: config.clone(),
            servers,
            numbers,
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

    /// Whether upstream connections of this service serve `config` too. A CA file may have other contents now.
    fn reaches_alike(&self, config: &config::Http, servers: &[ServerUrl]) -> bool {
        config.upstream.ca_file.is_none()
            && self.config.upstream == config.upstream
            && self.servers == servers
    }

    /// The dialects that `routes` do not go on with.
    fn retiring(&self, routes: &[ServedRoute]) -> Vec<Weak<Conversation>> {
        let goes_on = |conversation: &Arc<Conversation>| {
            let mut going_on = routes.iter().filter_map(|route| route.conversation.as_ref());
            going_on.any(|other| Arc::ptr_eq(other, conversation))
        };
        let own = self.routes.iter().filter_map(|route| route.conversation.as_ref());
        let leaving = own.filter(|conversation| !goes_on(conversation)).map(Arc::downgrade);
        self.retired.iter().filter(|retired| retired.strong_count() > 0).cloned().chain(leaving).collect()
    }

    /// The same service, with budgets for what a source may ask for.
    pub fn with_budgets(mut self, budgets: &Arc<Budgets>) -> Self {
        self.budgets = Some(budgets.clone());
        self
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

    /// The same service, with its rooms, which live in `rooms` under the names of `service` and route.
    pub fn with_rooms(
        mut self,
        service: &Arc<str>,
        config: &config::Http,
        rooms: &Rooms,
    ) -> Result<Self, ServiceError> {
        for (served, route) in self.routes.iter_mut().zip(&config.routes) {
            if let RouteUpstream::Rooms(signalling) = &route.upstream {
                let failed = |source| ServiceError::Rooms { route: route.name.clone(), source };
                let planned = rooms.plan(service, &route.name, signalling).map_err(failed)?;
                served.rooms = Some(planned.hub());
                self.planned_rooms.push(planned);
            }
        }
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
            RouteUpstream::Server(_) | RouteUpstream::Rooms(_) => None,
        });
        groups.collect::<BTreeSet<_>>().into_iter()
    }

    /// Where TURN credentials are given out.
    pub(super) fn turn_credentials(&self) -> Option<&config::TurnMinting> {
        self.config.turn_credentials.as_ref()
    }

    /// The REST API, and what of it `path` names.
    pub(super) fn rest(&self, path: &str) -> Option<(&Rest, Resource)> {
        Some((self.rest.as_ref()?, Resource::at(path)?))
    }

    pub(super) fn route(&self, index: usize) -> Option<&ServedRoute> {
        self.routes.get(index)
    }

    pub(super) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.numbers.connection.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn next_exchange(&self) -> ExchangeId {
        ExchangeId(self.numbers.exchange.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// All servers of a route.
    pub(super) fn servers<'a>(&'a self, route: &'a ServedRoute) -> &'a [ServerUrl] {
        match &route.upstream {
            RouteUpstream::Server(server) => std::slice::from_ref(server),
            RouteUpstream::Group(index) => self.pools.get(*index).map_or(&[], |pool| &pool.servers),
            RouteUpstream::Rooms(_) => &[],
        }
    }

    /// The route with this number in the sticky table.
    pub(super) fn route_numbered(&self, number: usize) -> Option<usize> {
        self.routes.iter().position(|route| route.number == number)
    }

    /// Those of earlier configurations included.
    fn conversations(&self) -> Vec<Arc<Conversation>> {
        let own = self.routes.iter().filter_map(|route| route.conversation.clone());
        let januses = self.routes.iter().filter_map(|route| route.januses.as_ref());
        let inner = januses.flat_map(|januses| januses.service().conversations());
        own.chain(inner).chain(self.retired.iter().filter_map(Weak::upgrade)).collect()
    }
}
