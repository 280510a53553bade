//! \[shell\] The REST API (xrtc.md §5): an application server registers a client's and a backend's ICE credentials and
//! gets the candidates that the client shall use.
//!
//! A registration walks `request` (what was asked) → `decide` (what is answered) → `registry` (which session it is);
//! here bodies are read, addresses looked up and commands handed to the packet side.

mod countries;
mod decide;
mod refusal;
mod registry;
mod request;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Response};

use super::answer::{self, Fault};
use super::body::{Body, Received};
use super::forwarded::client_ip;
use super::proxy::{decode, read_request};
use crate::config::{self, IpNet, Limits, Optimal};
use crate::dialect::EdgeCandidates;
use crate::session::registration::{SessionId, SessionSink};
use countries::{Countries, Databases};
use decide::{Country, Published, Wanted};
use registry::Registry;
use request::Request;

pub use countries::CountriesError;
pub(super) use refusal::Refusal;
pub use request::fuzz;

/// Largest body, before and after decompression (xrtc.md §5.2).
const MAX_BODY: usize = 64 << 10;

/// What the REST APIs of all services of a process share: the sessions they registered, and their databases.
pub struct Registrar {
    registry: Mutex<Registry>,
    databases: Mutex<Databases>,
    edge: ArcSwap<Published>,
    sink: Arc<dyn SessionSink>,
}

/// The REST API of one service.
#[derive(Debug)]
pub(super) struct Rest {
    registrar: Arc<Registrar>,
    optimal: Optimal,
    countries: Option<Arc<Countries>>,
    trusted_proxies: Vec<IpNet>,
}

/// What is asked of the REST API, by path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Version,
    Registration,
}

impl Registrar {
    /// Publishes `edge_candidates` and tells `sink` of sessions.
    pub fn new(limits: &Limits, edge_candidates: &EdgeCandidates, sink: &Arc<dyn SessionSink>) -> Self {
        Registrar {
            registry: Mutex::new(Registry::new(registry_limits(limits))),
            databases: Mutex::default(),
            edge: ArcSwap::from_pointee(Published::new(edge_candidates)),
            sink: sink.clone(),
        }
    }

    /// Follows a changed file. Sessions that are registered stay, also where there are more than the new limits allow.
    pub fn renew(&self, limits: &Limits, edge_candidates: &EdgeCandidates) {
        self.registry().set_limits(registry_limits(limits));
        self.edge.store(Arc::new(Published::new(edge_candidates)));
    }

    /// Databases are read again by the services that are built from now on.
    pub fn forget_databases(&self) {
        *self.databases.lock().unwrap_or_else(PoisonError::into_inner) = Databases::default();
    }

    /// The lock is held while the commands are handed over, so that all workers see them in the order of the states they
    /// come from. A [`SessionSink`] must therefore never call back.
    fn register(&self, from: IpAddr, wanted: Wanted) -> Result<(), Refusal> {
        let fresh = SessionId(rand::random());
        let elsewhere = self.sink.known_sessions();
        let mut registry = self.registry();
        for command in registry.admit(Instant::now(), from, wanted, fresh, elsewhere)? {
            self.sink.send(command);
        }
        Ok(())
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn registry_limits(limits: &Limits) -> registry::Limits {
    registry::Limits { sessions: limits.sessions, per_client: limits.registrations_per_client }
}

impl std::fmt::Debug for Registrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registrar")
    }
}

impl Resource {
    /// Both are prefixes, as in the original.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            _ if path.starts_with("/webrtc/version") => Some(Resource::Version),
            _ if path.starts_with("/webrtc/request") => Some(Resource::Registration),
            _ => None,
        }
    }
}

impl Rest {
    /// The API as `service` has it; reads its database.
    pub(super) fn new(service: &config::Http, registrar: &Arc<Registrar>) -> Result<Self, CountriesError> {
        let file = service.geoip_db.as_deref().filter(|_| service.optimal == Optimal::GeoIp);
        let mut databases = registrar.databases.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Rest {
            registrar: registrar.clone(),
            optimal: service.optimal,
            countries: file.map(|file| databases.get(file)).transpose()?,
            trusted_proxies: service.trusted_proxies.clone(),
        })
    }

    /// Answers a request whose socket's other end is `peer`.
    pub(super) async fn respond(
        &self,
        resource: Resource,
        peer: IpAddr,
        request: hyper::Request<Received>,
    ) -> Result<Response<Body>, Fault> {
        match (resource, request.method()) {
            (Resource::Version, _) => Ok(answer::json(br#"{"version":"xrtc-agent"}"#.to_vec())),
            (Resource::Registration, &Method::OPTIONS) => Ok(answer::empty()),
            (Resource::Registration, &Method::POST) => {
                let (head, mut body) = request.into_parts();
                let sent = read_request(&mut body, MAX_BODY).await?;
                Ok(answer::json(self.register(peer, &head.headers, &sent)?))
            }
            (Resource::Registration, _) => Err(Refusal::NotPost.into()),
        }
    }

    /// Forgets the pair of a session that ended.
    pub(super) fn ended(&self, session: SessionId) {
        self.registrar.registry().ended(session);
    }

    fn register(&self, peer: IpAddr, headers: &HeaderMap, sent: &Bytes) -> Result<Vec<u8>, Fault> {
        let decoded = decode(headers, sent, MAX_BODY).map_err(Fault::Coding)?;
        let request = Request::parse(decoded.as_deref().unwrap_or(sent))?;
        let client = client_ip(peer, headers, &self.trusted_proxies);
        let decision = decide::decide(&request, &self.registrar.edge.load(), self.optimal, client, |ip| {
            self.country(ip)
        })?;
        if let Some(wanted) = decision.register {
            self.registrar.register(client, wanted)?;
        }
        Ok(decision.body)
    }

    fn country(&self, ip: IpAddr) -> Option<Country> {
        self.countries.as_ref()?.of(ip)
    }
}
