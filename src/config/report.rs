//! \[pure\] What a configuration does, in a few lines: what listens, what is published, what goes where. `xrtc check`
//! prints it, the start-up log has the same lines.

use std::fmt;

use super::resolve::Candidate;
use super::{
    Balance, CandidateHost, Config, DialectKind, Http, Ice, Route, RouteUpstream, Service, ServiceKind, Turn,
};

/// The summary of a [`Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What would listen.
    pub listeners: Vec<Listener>,
    /// Where routes would forward, per service in file order.
    pub forwards: Vec<Forward>,
}

/// One listening service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Service.
    pub service: String,
    /// `udp`, `tcp`, `http`, …
    pub proto: &'static str,
    /// Listen address.
    pub address: String,
    /// What it does, with the published candidates.
    pub does: String,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Service.
    pub service: String,
    /// Route.
    pub route: String,
    /// What it matches.
    pub matches: String,
    /// Where it goes.
    pub upstream: String,
    /// Its dialect, and the mode of its sessions.
    pub dialect: String,
}

impl Report {
    /// Summarises `config`; `candidates` are what [`super::resolve::candidates`] found.
    pub fn new(config: &Config, candidates: &[Candidate]) -> Self {
        Report {
            listeners: config.services.iter().map(|service| listener(service, candidates)).collect(),
            forwards: config
                .services
                .iter()
                .filter_map(|service| Some((service, service.http()?)))
                .flat_map(|(service, http)| http.routes.iter().map(|route| forward(config, service, route)))
                .collect(),
        }
    }
}

fn listener(service: &Service, candidates: &[Candidate]) -> Listener {
    let (proto, does) = match &service.kind {
        ServiceKind::Udp { ice } => (
            "udp",
            ice.as_ref().map_or("nothing".into(), |ice| {
                format!(
                    "{}, publishes {}",
                    carries(ice, "ICE"),
                    published(service, &ice.candidate_ips, candidates)
                )
            }),
        ),
        ServiceKind::Tcp { ice, http } => {
            let ice = ice.as_ref().map(|ice| {
                let published = published(service, &ice.candidate_ips, candidates);
                format!("{}, publishes {published}", carries(ice, "ICE over TCP"))
            });
            let turn = service.carries_turn.then(|| "TURN over TCP".to_owned());
            let does: Vec<_> = http.as_ref().map(serves).into_iter().chain(ice).chain(turn).collect();
            ("tcp", if does.is_empty() { "nothing".into() } else { with_tls(service, does.join("; ")) })
        }
        ServiceKind::Http(http) => ("http", with_tls(service, serves(http))),
        ServiceKind::Turn(turn) => ("turn", relays(service, turn)),
        ServiceKind::Admin(admin) => {
            let whom = if admin.token.is_some() { "with a token" } else { "for this host, without a token" };
            ("admin", with_tls(service, format!("dashboard, metrics, sessions; {whom}")))
        }
    };
    Listener { service: service.name.to_string(), proto, address: service.listen.to_string(), does }
}

fn carries(ice: &Ice, what: &str) -> String {
    if ice.stun { format!("{what} and STUN") } else { what.to_owned() }
}

fn relays(service: &Service, turn: &Turn) -> String {
    let ips: Vec<String> = turn.external_ips.iter().map(|ip| ip.public.to_string()).collect();
    let at = if ips.is_empty() { String::new() } else { format!(" at {}", ips.join(", ")) };
    let (first, last) = (turn.relay_ports.start(), turn.relay_ports.end());
    let tls = turn.tls_listen.filter(|_| service.tls.is_some());
    let tls = tls.map_or(String::new(), |addr| format!("; TLS on {addr}"));
    format!("STUN and TURN over UDP and TCP, relays{at} on ports {first}-{last}{tls}")
}

fn with_tls(service: &Service, does: String) -> String {
    if service.tls.is_some() { format!("{does}; plain and TLS") } else { does }
}

fn published(service: &Service, hosts: &[CandidateHost], candidates: &[Candidate]) -> String {
    let own = candidates.iter().filter(|candidate| candidate.service == service.name);
    let own: Vec<String> = own.map(|candidate| candidate.addr.to_string()).collect();
    if !own.is_empty() {
        return own.join(", ");
    }
    let hosts: Vec<String> = hosts
        .iter()
        .map(|host| match host {
            CandidateHost::Ip(ip) => ip.to_string(),
            CandidateHost::Name(name) => name.clone(),
            CandidateHost::HostInterface => "candidate_host_ip".into(),
        })
        .collect();
    if hosts.is_empty() { service.listen.to_string() } else { hosts.join(", ") }
}

fn serves(http: &Http) -> String {
    match &http.servername {
        Some(name) => format!("HTTP and WebSocket for {name}"),
        None => "HTTP and WebSocket".into(),
    }
}

fn forward(config: &Config, service: &Service, route: &Route) -> Forward {
    Forward {
        service: service.name.to_string(),
        route: route.name.to_string(),
        matches: matches(route),
        upstream: upstream(config, &route.upstream),
        dialect: match &route.dialect {
            None => served_here(route).unwrap_or("plain").into(),
            Some(dialect) => {
                let mode = if route.ice_direct { "transparent" } else { "half proxy" };
                let tcp = if route.ice_tcp { ", TCP first" } else { "" };
                format!("{}, {mode}{tcp}", dialect_name(dialect))
            }
        },
    }
}

/// The protocol of rooms that the edge serves itself.
fn served_here(route: &Route) -> Option<&'static str> {
    match &route.upstream {
        RouteUpstream::Rooms(signalling) => Some(signalling.rules.name()),
        _ => None,
    }
}

fn dialect_name(dialect: &DialectKind) -> String {
    match dialect {
        DialectKind::Janus => "janus".into(),
        DialectKind::Ums => "ums".into(),
        DialectKind::Whip { strict: false } => "whip".into(),
        DialectKind::Whip { strict: true } => "whip, strict".into(),
        DialectKind::Json { offer, answer, .. } => format!("json (offer {offer}, answer {answer})"),
    }
}

fn matches(route: &Route) -> String {
    let hosts = route.hosts.iter().map(|host| format!("host {host}"));
    let protos = route.ws_protocols.iter().map(|protocol| format!("ws@{protocol}"));
    let paths = route.paths.iter().map(|path| match &path.replacement {
        Some(replacement) => format!("{}→{replacement}", path.prefix),
        None => path.prefix.clone(),
    });
    let all: Vec<String> = hosts.chain(protos).chain(paths).collect();
    if all.is_empty() { "nothing".into() } else { all.join(", ") }
}

fn upstream(config: &Config, upstream: &RouteUpstream) -> String {
    let group = match upstream {
        RouteUpstream::Server(url) => return url.to_string(),
        RouteUpstream::Group(index) => config.upstreams.get(*index),
        RouteUpstream::Rooms(_) => return "rooms".into(),
    };
    let Some(group) = group else { return "nothing".into() };
    let servers: Vec<String> = group.servers.iter().map(ToString::to_string).collect();
    let mode = match group.mode {
        _ if servers.len() < 2 => "",
        Balance::RoundRobin => "rr ",
        Balance::Random => "random ",
    };
    format!("{} ({mode}{})", group.name, servers.join(", "))
}

/// Aligned lines: `listen …` and `route …`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners =
            self.listeners.iter().map(|l| [&l.service, l.proto, &l.address, &l.does].map(str::to_owned));
        let forwards = self.forwards.iter().map(|w| {
            let route = format!("{}.{}", w.service, w.route);
            [route, w.matches.clone(), format!("→ {}", w.upstream), w.dialect.clone()]
        });
        table(f, "listen", &listeners.collect::<Vec<_>>())?;
        table(f, "route", &forwards.collect::<Vec<_>>())
    }
}

fn table(f: &mut fmt::Formatter<'_>, label: &str, rows: &[[String; 4]]) -> fmt::Result {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for [a, b, c, d] in rows {
        writeln!(f, "{label:6}  {a:0$}  {b:1$}  {c:2$}  {d}", widths[0], widths[1], widths[2])?;
    }
    Ok(())
}
