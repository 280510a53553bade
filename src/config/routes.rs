//! \[pure\] The `http:` part of a service as meant: its routes in file order, and how its upstream connections behave.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::addr::{self, A_BLOCK};
use super::durations::{A_DURATION, duration, timeout};
use super::section::{Findings, Item, Section, count};
use super::urls::server_url;
use super::{
    DialectKind, Http, IpNet, Optimal, PathRule, RoomRules, Route, RouteUpstream, ServerUrl, UpstreamTuning,
    signalling,
};

/// What a service inherits from the file it stands in.
pub(super) struct Inherited<'a> {
    /// Upstream services by name.
    pub(super) groups: &'a HashMap<&'a str, usize>,
    /// `optimal`, `geoip_db`, `trusted_proxies` beside `services:`.
    pub(super) policy: Policy,
}

/// The three keys that may stand beside `services:`, in a service, or in its `http:`; the innermost one holds.
#[derive(Clone, Default)]
pub(super) struct Policy {
    optimal: Optimal,
    geoip_db: Option<PathBuf>,
    trusted_proxies: Vec<IpNet>,
}

impl Policy {
    /// This policy, changed by what `section` says.
    pub(super) fn with(&self, section: &Section<'_>, findings: &mut Findings) -> Policy {
        let trusted = section.list(findings, "trusted_proxies", A_BLOCK, addr::block);
        let optimal = section.read(findings, "optimal", "always, never or geoip", |text| match text {
            "always" => Some(Optimal::Always),
            "never" => Some(Optimal::Never),
            "geoip" => Some(Optimal::GeoIp),
            _ => None,
        });
        Policy {
            optimal: optimal.unwrap_or(self.optimal),
            geoip_db: file(section, findings, "geoip_db").or_else(|| self.geoip_db.clone()),
            trusted_proxies: if section.item("trusted_proxies").is_some() {
                trusted
            } else {
                self.trusted_proxies.clone()
            },
        }
    }
}

/// Reads a service's `http:`; `service` is the section around it.
pub(super) fn http(service: &Section<'_>, inherited: &Inherited<'_>, findings: &mut Findings) -> Http {
    let policy = inherited.policy.with(service, findings);
    let Some(section) = service.section(findings, "http") else {
        check_geoip(&policy, service, findings);
        return Http {
            servername: None,
            root: None,
            root_index: false,
            rest: true,
            routes: Vec::new(),
            upstream: UpstreamTuning::default(),
            turn_credentials: None,
            trusted_proxies: policy.trusted_proxies,
            optimal: policy.optimal,
            geoip_db: policy.geoip_db,
        };
    };
    let policy = policy.with(&section, findings);
    check_geoip(&policy, &section, findings);
    let servername = section.read(findings, "servername", "a host name, or _ for any", |text| match text {
        "_" => Some(None),
        name => addr::host_name(name).map(Some),
    });
    let routes = routes(&section, inherited, findings);
    // The pages of that protocol have the name of their room as path.
    let has_rooms_by_path = routes.iter().any(|route| match &route.upstream {
        RouteUpstream::Rooms(signalling) => matches!(signalling.rules, RoomRules::WebrtcServer(_)),
        _ => false,
    });
    Http {
        servername: servername.flatten(),
        root: file(&section, findings, "root"),
        root_index: section.flag(findings, "root_index", has_rooms_by_path),
        rest: section.flag(findings, "rest", true),
        routes,
        upstream: tuning(&section, findings),
        turn_credentials: super::turn::credentials(&section, findings),
        trusted_proxies: policy.trusted_proxies,
        optimal: policy.optimal,
        geoip_db: policy.geoip_db,
    }
}

pub(super) fn file(section: &Section<'_>, findings: &mut Findings, key: &str) -> Option<PathBuf> {
    section.text(findings, key, "a path").map(PathBuf::from)
}

fn check_geoip(policy: &Policy, section: &Section<'_>, findings: &mut Findings) {
    if policy.optimal == Optimal::GeoIp && policy.geoip_db.is_none() {
        let path = super::section::join(&section.path, "geoip_db");
        let message = "expected the path of a GeoLite2-City database, found nothing; optimal: geoip needs it";
        findings.error(section.place("optimal"), &path, message);
    }
}

impl Default for UpstreamTuning {
    fn default() -> Self {
        UpstreamTuning {
            max_idle: 100,
            idle_timeout: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(10),
            response_header_timeout: Duration::from_secs(300),
            keepalive: Duration::from_secs(1200),
            flush_interval: Duration::from_millis(100),
            global_flush_interval: Duration::from_millis(100),
            tls_verify: true,
            ca_file: None,
        }
    }
}

fn tuning(section: &Section<'_>, findings: &mut Findings) -> UpstreamTuning {
    let usual = UpstreamTuning::default();
    let tls_verify = section.flag(findings, "upstream_tls_verify", usual.tls_verify);
    if !tls_verify {
        findings.warn(
            section.place("upstream_tls_verify"),
            &super::section::join(&section.path, "upstream_tls_verify"),
            "upstreams are not verified: whoever sits on the way to them can read and change everything",
        );
    }
    let mut time = |key, usual, read: fn(&str) -> Option<Duration>| {
        section.read(findings, key, A_DURATION, read).unwrap_or(usual)
    };
    UpstreamTuning {
        idle_timeout: time("idle_conn_timeout", usual.idle_timeout, timeout),
        dial_timeout: time("dial_timeout", usual.dial_timeout, timeout),
        response_header_timeout: time("response_header_timeout", usual.response_header_timeout, timeout),
        keepalive: time("keepalive_timeout", usual.keepalive, timeout),
        flush_interval: time("flush_interval", usual.flush_interval, duration),
        global_flush_interval: time("global_flush_interval", usual.global_flush_interval, duration),
        max_idle: section
            .read(findings, "max_conns", "a whole number, 0 or more", addr::number)
            .unwrap_or(usual.max_idle),
        tls_verify,
        ca_file: file(section, findings, "upstream_ca_file"),
    }
}

fn routes(http: &Section<'_>, inherited: &Inherited<'_>, findings: &mut Findings) -> Vec<Route> {
    let Some(section) = http.section(findings, "routes") else { return Vec::new() };
    let sections = section.sections(findings);
    sections.iter().filter_map(|(name, section)| route(name, section, inherited, findings)).collect()
}

/// One route; `None` where it goes nowhere, because of an error or because its rooms are not served yet.
fn route(
    name: &str,
    section: &Section<'_>,
    inherited: &Inherited<'_>,
    findings: &mut Findings,
) -> Option<Route> {
    let rooms = section.section(findings, "signalling");
    let signalling = rooms.as_ref().and_then(|rooms| signalling::signalling(rooms, inherited, findings));
    let hosts = section.list(findings, "hosts", "a host name without port", host);
    let ws_protocols = section.list(findings, "protos", "ws@ and a WebSocket subprotocol", |text| {
        text.strip_prefix("ws@").filter(|token| is_token(token)).map(str::to_owned)
    });
    let paths = section.items(findings, "paths", A_PATH);
    let mut paths: Vec<_> = paths.iter().filter_map(|item| path_rule(item, findings)).collect();
    let dialect = if rooms.is_some() { None } else { dialect(name, section, findings) };
    let ice_tcp = section.flag(findings, "icetcp", false);
    let ice_direct = section.flag(findings, "icedirect", false);
    let matches_nothing = ["hosts", "protos", "paths"].iter().all(|key| section.item(key).is_none());
    if let Some(signalling) = signalling.as_ref().filter(|_| matches_nothing) {
        paths = signalling::usual_paths(signalling);
    } else if matches_nothing && rooms.is_none() {
        findings.warn(
            section.at,
            &section.path,
            "has no hosts, protos or paths, so no request ever takes this route",
        );
    }
    let upstream = match (rooms, signalling) {
        (None, _) => upstream(section, "upstream", inherited, findings)?,
        (Some(_), Some(signalling)) => {
            warn_beside_rooms(section, findings);
            RouteUpstream::Rooms(Box::new(signalling))
        }
        (Some(_), None) => return None,
    };
    Some(Route { name: Arc::from(name), dialect, upstream, ice_tcp, ice_direct, hosts, ws_protocols, paths })
}

/// What is for routes that go somewhere else.
fn warn_beside_rooms(section: &Section<'_>, findings: &mut Findings) {
    for key in ["upstream", "dialect", "offer", "answer", "session", "whip", "icetcp", "icedirect"] {
        if section.item(key).is_some() {
            let path = super::section::join(&section.path, key);
            findings.warn(section.place(key), &path, "has no effect beside signalling");
        }
    }
}

fn dialect(name: &str, section: &Section<'_>, findings: &mut Findings) -> Option<DialectKind> {
    const NAMES: [&str; 5] = ["janus", "ums", "whip", "json", "plain"];
    let named = |text: &str| NAMES.into_iter().find(|known| *known == text);
    let given = section.read(findings, "dialect", "janus, ums, whip, json or plain", named);
    // A route named json says nothing yet about where its offer stands.
    let kind =
        given.or_else(|| named(name).filter(|name| *name != "json" && section.item("dialect").is_none()));
    let pointer = "a JSON pointer such as /sdp";
    let mut place = |key| match kind {
        Some("json") => section.require(findings, key, pointer, json_pointer),
        _ => without_effect(section, findings, key, "json"),
    };
    let (offer, answer) = (place("offer"), place("answer"));
    let session = match kind {
        Some("json") => section.read(findings, "session", pointer, json_pointer),
        _ => without_effect(section, findings, "session", "json"),
    };
    let strict = match kind {
        Some("whip") => {
            section.section(findings, "whip").is_some_and(|whip| whip.flag(findings, "strict", false))
        }
        _ => without_effect(section, findings, "whip", "whip").unwrap_or(false),
    };
    match kind? {
        "janus" => Some(DialectKind::Janus),
        "ums" => Some(DialectKind::Ums),
        "whip" => Some(DialectKind::Whip { strict }),
        "json" => Some(DialectKind::Json { offer: offer?, answer: answer?, session }),
        _ => None,
    }
}

/// A key that only counts with another dialect.
fn without_effect<T>(section: &Section<'_>, findings: &mut Findings, key: &str, dialect: &str) -> Option<T> {
    if section.item(key).is_some() {
        let message = format!("has no effect without dialect: {dialect}");
        findings.warn(section.place(key), &format!("{}.{key}", section.path), message);
    }
    None
}

/// RFC 6901, section 3.
fn json_pointer(text: &str) -> Option<String> {
    let escapes = text.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    (text.starts_with('/') && escapes).then(|| text.to_owned())
}

const AN_UPSTREAM: &str = "http://host[:port], https://host[:port] or http://<upstream service>";

/// Where a route, or a signalling dialect with a media server, goes.
pub(super) fn upstream(
    section: &Section<'_>,
    key: &str,
    inherited: &Inherited<'_>,
    findings: &mut Findings,
) -> Option<RouteUpstream> {
    let Some(parsed) = section.require(findings, key, AN_UPSTREAM, server_url) else {
        help_with_bare_name(section, key, inherited, findings);
        return None;
    };
    let item = section.item(key)?;
    if parsed.url.scheme.is_websocket() {
        findings.expected(&item, AN_UPSTREAM).help =
            Some("upgrades go to the same host and port; to send them elsewhere, list the ws:// URL in a service with proto: upstream".into());
        return None;
    }
    let typed_host = item.node.text().and_then(|text| text.split("://").nth(1)).unwrap_or_default();
    let typed_host = typed_host.split(['/', ':', '?']).next().unwrap_or_default();
    match inherited.groups.get(typed_host) {
        Some(index) => group(&item, &parsed.url, parsed.port_given, *index, findings),
        None => {
            hint_at_group(&item, &parsed.url, parsed.port_given, inherited, findings);
            Some(RouteUpstream::Server(parsed.url))
        }
    }
}

/// `janus_pool` where `http://janus_pool` is meant.
fn help_with_bare_name(section: &Section<'_>, key: &str, inherited: &Inherited<'_>, findings: &mut Findings) {
    let Some(item) = section.item(key) else { return };
    let named = item.node.text().filter(|text| inherited.groups.contains_key(*text));
    if let (Some(name), Some(finding)) = (named, findings.0.last_mut()) {
        finding.help = Some(format!("the upstream service of that name is written `http://{name}`"));
    }
}

fn group(
    item: &Item<'_>,
    url: &ServerUrl,
    port_given: bool,
    index: usize,
    findings: &mut Findings,
) -> Option<RouteUpstream> {
    let plain =
        url.scheme == super::Scheme::Http && !port_given && url.path.is_empty() && url.query.is_empty();
    if plain {
        return Some(RouteUpstream::Group(index));
    }
    let expected = format!("http://{} alone, because {} is an upstream service", url.host, url.host);
    findings.expected(item, &expected).help =
        Some("scheme, port and path stand in the service's `servers`".into());
    None
}

/// `http://janus_pol` is a valid host, but hardly what was meant beside an upstream service `janus_pool`.
fn hint_at_group(
    item: &Item<'_>,
    url: &ServerUrl,
    port_given: bool,
    inherited: &Inherited<'_>,
    findings: &mut Findings,
) {
    if port_given || url.host.contains(['.', ':']) {
        return;
    }
    let mut names: Vec<&str> = inherited.groups.keys().copied().collect();
    names.sort_unstable();
    if let Some(near) = super::known::near(&url.host, names.into_iter()) {
        findings
            .warn(
                item.node.at,
                &item.path,
                format!("no upstream service is named {}, so this is a host", url.host),
            )
            .help = Some(format!("did you mean `http://{near}`?"));
    }
}

const A_PATH: &str = "/prefix or {/prefix: /replacement}";

fn path_rule(item: &Item<'_>, findings: &mut Findings) -> Option<PathRule> {
    let rule = match item.node.entries() {
        [] => item.node.text().map(|prefix| (prefix, None)),
        [entry] => match (&entry.node.value, entry.node.text()) {
            (super::raw::Value::Null, _) => Some((entry.key.as_str(), None)),
            (_, Some(replacement)) => Some((entry.key.as_str(), Some(replacement))),
            _ => None,
        },
        _ => None,
    };
    let rule = rule.filter(|(prefix, replacement)| is_path(prefix) && replacement.is_none_or(is_path));
    let Some((prefix, replacement)) = rule else {
        findings.expected(item, A_PATH);
        return None;
    };
    Some(PathRule { prefix: prefix.to_owned(), replacement: replacement.map(str::to_owned) })
}

/// A raw path as it stands in a request line: no query, nothing that would need escaping.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && !b"?#:\"<>\\{}".contains(&b))
}

fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<std::net::IpAddr>() {
        // As it stands in a Host header.
        Ok(std::net::IpAddr::V6(ip)) => Some(format!("[{ip}]")),
        Ok(ip) => Some(ip.to_string()),
        Err(_) => addr::host_name(text),
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// `limits:` and `media:` count from 1.
pub(super) fn at_least_one(section: &Section<'_>, findings: &mut Findings, key: &str, usual: usize) -> usize {
    section.read(findings, key, "a whole number, 1 or more", count).unwrap_or(usual)
}
