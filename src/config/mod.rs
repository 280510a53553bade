//! \[pure, but for reading the file\] `routes.yml` as meant: every value parsed, every default filled in.
//!
//! `raw` holds the file as typed; this module turns it into what the rest of the program uses. Nothing behind it
//! sees a string that still needs parsing.

mod addr;
mod admin;
mod auth;
pub(crate) mod blocked_ports;
mod durations;
mod env;
mod finding;
mod groups;
mod known;
mod limits;
mod live;
mod load;
mod media;
mod outline;
mod raw;
pub mod report;
pub mod resolve;
mod routes;
mod section;
mod services;
mod signalling;
mod turn;
mod urls;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use auth::{Auth, Secret};
pub use finding::{ConfigError, Finding, Invalid, Position, Severity, Source};
pub use limits::Limits;
pub use live::{LiveBroker, LiveEvents, LiveJanus, LiveMode, LiveRules, LiveVideo};
pub use load::{Loaded, Surroundings, fuzz, known_keys};
pub use media::Media;
pub use outline::Outline;
pub use signalling::{
    BlueprintsRules, GstRules, RoomLimits, RoomRules, RoomWebhook, Signalling, TurnCredentials,
    WebrtcServerRules,
};
pub use turn::{ExternalIp, Turn, TurnMinting};

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read from.
    pub file: PathBuf,
    /// All services that listen, in file order.
    pub services: Vec<Service>,
    /// `proto: upstream` services, in file order.
    pub upstreams: Vec<UpstreamGroup>,
    /// `media:`.
    pub media: Media,
    /// `limits:`.
    pub limits: Limits,
    /// `drain_timeout`, default 30 s.
    pub drain_timeout: Duration,
    /// `watch`: a changed file is loaded by itself, default false.
    pub watch: bool,
    /// What the file says, for telling what another one says differently.
    pub outline: Outline,
}

/// One listening service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its key under `services:`.
    pub name: Arc<str>,
    /// `net.addr`.
    pub listen: SocketAddr,
    /// `net.tls_crt_file` and `net.tls_key_file`.
    pub tls: Option<TlsFiles>,
    /// `net.proxy_protocol`: connections from these addresses start with a PROXY header; an empty list means all.
    pub proxies: Option<Vec<IpNet>>,
    /// `net.enable_turn`: `proto: tcp` that carries TURN too, of the first TURN service.
    pub carries_turn: bool,
    /// What it does.
    pub kind: ServiceKind,
}

impl Service {
    /// Its HTTP part, if it serves HTTP.
    pub fn http(&self) -> Option<&Http> {
        match &self.kind {
            ServiceKind::Http(http) | ServiceKind::Tcp { http: Some(http), .. } => Some(http),
            _ => None,
        }
    }

    /// Its ICE part, if it carries ICE.
    pub fn ice(&self) -> Option<&Ice> {
        match &self.kind {
            ServiceKind::Udp { ice } | ServiceKind::Tcp { ice, .. } => ice.as_ref(),
            _ => None,
        }
    }
}

/// Certificate and key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// What a service does.
#[derive(Clone, Debug)]
pub enum ServiceKind {
    /// `proto: udp`.
    Udp {
        /// With `enable_ice`.
        ice: Option<Ice>,
    },
    /// `proto: tcp`: the shared port.
    Tcp {
        /// With `enable_ice`.
        ice: Option<Ice>,
        /// With `enable_http`.
        http: Option<Http>,
    },
    /// `proto: http`.
    Http(Http),
    /// `proto: turn`.
    Turn(Turn),
    /// `proto: admin`.
    Admin(Admin),
}

/// The admin service.
#[derive(Clone, Debug, Default)]
pub struct Admin {
    /// `admin.token`; `None`: whoever reaches the port, which then is on loopback.
    pub token: Option<Secret>,
}

/// ICE on a listener.
#[derive(Clone, Debug)]
pub struct Ice {
    /// `net.candidate_ips`; empty: the address of `net.addr`.
    pub candidate_ips: Vec<CandidateHost>,
    /// `net.candidate_ports`: the published port of each of them, or one for all; empty: the port of `net.addr`.
    pub candidate_ports: Vec<u16>,
    /// `net.enable_stun`: strangers are told their address.
    pub stun: bool,
}

/// One entry of `candidate_ips`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateHost {
    /// A literal address.
    Ip(IpAddr),
    /// A name, resolved at load: first global-unicast IPv4, else IPv6.
    Name(String),
    /// `candidate_host_ip`: the first non-loopback interface address.
    HostInterface,
}

/// HTTP on a listener.
#[derive(Clone, Debug)]
pub struct Http {
    /// `servername`; `None` for `_`, any Host.
    pub servername: Option<String>,
    /// `root`.
    pub root: Option<PathBuf>,
    /// `root_index`: a path that names nothing gives the root's `index.html`; default where rooms are found by path.
    pub root_index: bool,
    /// `rest`, default true.
    pub rest: bool,
    /// Routes in file order.
    pub routes: Vec<Route>,
    /// Timeouts and pool of upstream connections.
    pub upstream: UpstreamTuning,
    /// `turn_credentials`.
    pub turn_credentials: Option<TurnMinting>,
    /// `trusted_proxies`.
    pub trusted_proxies: Vec<IpNet>,
    /// `optimal`.
    pub optimal: Optimal,
    /// `geoip_db`.
    pub geoip_db: Option<PathBuf>,
}

/// How upstream connections behave (xrtc.md §1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTuning {
    /// `max_conns`, idle connections per host, default 100.
    pub max_idle: usize,
    /// `idle_conn_timeout`, default 30 s.
    pub idle_timeout: Duration,
    /// `dial_timeout`, default 10 s.
    pub dial_timeout: Duration,
    /// `response_header_timeout`, default 300 s.
    pub response_header_timeout: Duration,
    /// `keepalive_timeout`, TCP keep-alive period, default 1200 s.
    pub keepalive: Duration,
    /// `flush_interval`, default 100 ms.
    pub flush_interval: Duration,
    /// `global_flush_interval`, default 100 ms.
    pub global_flush_interval: Duration,
    /// `upstream_tls_verify`, default true.
    pub tls_verify: bool,
    /// `upstream_ca_file`.
    pub ca_file: Option<PathBuf>,
}

/// REST registration policy (xrtc.md §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Optimal {
    /// The edge's candidates, always.
    #[default]
    Always,
    /// The backend's candidates, always.
    Never,
    /// By country.
    GeoIp,
}

/// An address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    /// Network address.
    pub addr: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

impl IpNet {
    /// Whether `ip` lies in this block. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let bits = u32::from(net) ^ u32::from(ip);
                self.prefix == 0 || bits >> (32 - u32::from(self.prefix.min(32))) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let bits = u128::from(net) ^ u128::from(ip);
                self.prefix == 0 || bits >> (128 - u32::from(self.prefix.min(128))) == 0
            }
            _ => false,
        }
    }
}

/// One route of an HTTP service.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its key under `routes:`.
    pub name: Arc<str>,
    /// How it carries SDP; `None`: plain proxying.
    pub dialect: Option<DialectKind>,
    /// Where it goes.
    pub upstream: RouteUpstream,
    /// `icetcp`.
    pub ice_tcp: bool,
    /// `icedirect`.
    pub ice_direct: bool,
    /// `hosts`, lower case, without port.
    pub hosts: Vec<String>,
    /// `protos`: the part behind `ws@`.
    pub ws_protocols: Vec<String>,
    /// `paths`, in file order.
    pub paths: Vec<PathRule>,
}

/// Which dialect a route speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialectKind {
    /// The Janus API.
    Janus,
    /// `ums`.
    Ums,
    /// WHIP and WHEP.
    Whip {
        /// `whip.strict`: a PATCH must have a condition.
        strict: bool,
    },
    /// JSON with the places of offer and answer given as JSON pointers.
    Json {
        /// Pointer to the offer in a request.
        offer: String,
        /// Pointer to the answer in a response.
        answer: String,
        /// Pointer to what names a session, in requests and responses.
        session: Option<String>,
    },
}

/// Where a route goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteUpstream {
    /// One server; `ws`/`wss` upgrades go to the same host and port.
    Server(ServerUrl),
    /// Index into [`Config::upstreams`].
    Group(usize),
    /// Nowhere: the edge serves rooms itself.
    Rooms(Box<Signalling>),
}

/// `paths` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// Matched by characters against the raw path.
    pub prefix: String,
    /// Put in place of `prefix` once.
    pub replacement: Option<String>,
}

/// A group of servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamGroup {
    /// Its key under `services:`.
    pub name: Arc<str>,
    /// `mode`.
    pub mode: Balance,
    /// `servers`, in file order.
    pub servers: Vec<ServerUrl>,
    /// `health`; `None`: servers are not checked, what requests meet there counts all the same.
    pub health: Option<HealthCheck>,
}

/// How the servers of a group are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `path`, asked of http and https servers; `None`, and for ws and wss servers: whether they take a connection.
    pub path: Option<String>,
    /// `interval`, default 5 s.
    pub interval: Duration,
    /// `timeout`, default 2 s.
    pub timeout: Duration,
    /// `fall`: failures in a row that take a server out, default 2.
    pub fall: u32,
    /// `rise`: successes in a row that bring it back, default 1.
    pub rise: u32,
}

/// Choice within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// In turn, from the first on.
    #[default]
    RoundRobin,
    /// At random.
    Random,
}

/// An upstream server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// http, https, ws or wss.
    pub scheme: Scheme,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Port, the scheme's default filled in.
    pub port: u16,
    /// Path prefix, without trailing slash; mostly empty.
    pub path: String,
    /// Query, joined with the request's by `&`; mostly empty.
    pub query: String,
}

/// Scheme of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP requests, plain.
    Http,
    /// HTTP requests, TLS.
    Https,
    /// Upgrades, plain.
    Ws,
    /// Upgrades, TLS.
    Wss,
}
