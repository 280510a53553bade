//! \[pure\] The whole file as meant: services, upstream groups, `media:`, `limits:`. Reports everything that is wrong
//! in one pass.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::addr::{self, A_CANDIDATE_HOST, A_LISTEN_ADDRESS};
use super::blocked_ports;
use super::durations::{A_DURATION, duration};
use super::groups::group;
use super::known::EVERY;
use super::limits::limits;
use super::media::media;
use super::outline::Outline;
use super::raw::Node;
use super::routes::{self, Inherited, Policy, file};
use super::section::{Findings, Section};
use super::{CandidateHost, Config, Ice, Service, ServiceKind, TlsFiles, turn};

/// Turns the tree into a [`Config`]. What it returns is of use only if no error was found on the way.
pub(super) fn config(path: &Path, root: &Node, cores: usize, findings: &mut Findings) -> Option<Config> {
    let outline = Outline::of(root);
    let root = Section::root(root, findings)?;
    let services = services(&root, findings);
    let groups: HashMap<&str, usize> = services
        .iter()
        .filter(|(_, proto, _)| *proto == "upstream")
        .enumerate()
        .map(|(index, (name, ..))| (*name, index))
        .collect();
    let inherited = Inherited { groups: &groups, policy: Policy::default().with(&root, findings) };
    let mut upstreams = Vec::new();
    let mut listening = Vec::new();
    for (name, proto, section) in &services {
        match *proto {
            "upstream" => upstreams.push(group(name, section, findings)),
            proto => listening.extend(service(name, proto, section, &inherited, findings)),
        }
    }
    refuse_shared_addresses(&listening, &root, findings);
    expect_turn_service(&listening, &root, findings);
    Some(Config {
        file: path.to_owned(),
        services: listening,
        upstreams,
        media: media(&root, cores, findings),
        limits: limits(&root, findings),
        drain_timeout: root
            .read(findings, "drain_timeout", A_DURATION, duration)
            .unwrap_or(Duration::from_secs(30)),
        watch: root.flag(findings, "watch", false),
        outline,
    })
}

/// Name, `proto` and section of every service that this program knows, in file order.
fn services<'n>(root: &Section<'n>, findings: &mut Findings) -> Vec<(&'n str, &'static str, Section<'n>)> {
    let Some(services) = root.section(findings, "services") else {
        // A `services` that is no map was reported already.
        if root.item("services").is_none() {
            findings.error(
                root.place("services"),
                "services",
                "expected a map of services, found nothing; the key is required",
            );
        }
        return Vec::new();
    };
    let sections = services.sections(findings);
    if sections.is_empty() && services.node.entries().is_empty() {
        findings.error(services.at, "services", "expected at least one service, found none");
    }
    let mut known = Vec::new();
    for (name, section) in sections {
        if let Some(proto) = proto(&section, findings) {
            known.push((name, proto, section));
        }
    }
    known
}

fn proto(section: &Section<'_>, findings: &mut Findings) -> Option<&'static str> {
    const PROTOS: &str = "udp, tcp, http, upstream, turn or admin";
    let path = super::section::join(&section.path, "proto");
    let Some(item) = section.item("proto") else {
        let message = format!("expected {PROTOS}, found nothing; the key is required");
        let finding = findings.error(section.place("proto"), &path, message);
        if section.item("addrs").is_some() || section.path == "services.common" {
            finding.help = Some(
                "this is the layout with `addrs`; write one service per address, with `proto` and `net.addr`"
                    .into(),
            );
        }
        return None;
    };
    let Some(text) = item.node.text() else {
        findings.expected(&item, PROTOS);
        return None;
    };
    let known = EVERY.iter().copied().find(|known| *known == text);
    if known.is_none() {
        let message = format!("unknown proto {text:?}, the service is skipped; expected {PROTOS}");
        let finding = findings.warn(item.node.at, &path, message);
        let near = super::known::near(text, EVERY.iter().copied());
        finding.help = near.map(|near| format!("did you mean `{near}`?"));
    }
    known
}

fn service(
    name: &str,
    proto: &str,
    section: &Section<'_>,
    inherited: &Inherited<'_>,
    findings: &mut Findings,
) -> Option<Service> {
    let empty = Node { at: section.at, value: super::raw::Value::Map(Vec::new()) };
    let net = section.section(findings, "net").unwrap_or(Section {
        path: super::section::join(&section.path, "net"),
        at: section.at,
        node: &empty,
    });
    let listen = net.require(findings, "addr", A_LISTEN_ADDRESS, addr::listen);
    // Read even where it is not served, so that what is wrong in it is found.
    let http = matches!(proto, "tcp" | "http").then(|| routes::http(section, inherited, findings));
    let trusted = http.as_ref().map_or(Vec::new(), |http| http.trusted_proxies.clone());
    let kind = match (proto, http) {
        ("udp", _) => ServiceKind::Udp { ice: ice(&net, listen, findings) },
        ("tcp", Some(http)) => tcp(section, &net, listen, http, findings),
        ("http", Some(http)) => ServiceKind::Http(http),
        ("turn", _) => ServiceKind::Turn(turn::turn(section, findings)),
        _ => ServiceKind::Admin(super::admin::admin(section, listen, findings)),
    };
    if let ServiceKind::Udp { ice: None } = kind
        && net.is_off("enable_ice")
    {
        findings.warn(section.at, &section.path, "does nothing without net.enable_ice: true");
    }
    // On UDP there is no TLS, whatever the file says.
    let tls = if proto == "udp" { None } else { tls(&net, findings) };
    let has_header = matches!(proto, "tcp" | "http") && net.flag(findings, "proxy_protocol", false);
    let proxies = has_header.then_some(trusted);
    let carries_turn = proto == "tcp" && net.flag(findings, "enable_turn", false);
    Some(Service { name: Arc::from(name), listen: listen?, tls, proxies, carries_turn, kind })
}

fn tcp(
    section: &Section<'_>,
    net: &Section<'_>,
    listen: Option<SocketAddr>,
    http: super::Http,
    findings: &mut Findings,
) -> ServiceKind {
    let ice = ice(net, listen, findings);
    let enabled = section.flag(findings, "enable_http", false);
    if section.is_off("enable_http") && section.item("http").is_some() {
        let path = super::section::join(&section.path, "http");
        findings.warn(section.place("http"), &path, "has no effect without enable_http: true");
    }
    if net.is_off("enable_ice") && net.is_off("enable_turn") && section.is_off("enable_http") {
        findings.warn(
            section.at,
            &section.path,
            "does nothing without net.enable_ice: true, net.enable_turn: true or enable_http: true",
        );
    }
    ServiceKind::Tcp { ice, http: enabled.then_some(http) }
}

fn ice(net: &Section<'_>, listen: Option<SocketAddr>, findings: &mut Findings) -> Option<Ice> {
    let enabled = net.flag(findings, "enable_ice", false);
    let candidate_ips = net.list(findings, "candidate_ips", A_CANDIDATE_HOST, addr::candidate_host);
    let given = net.item("candidate_ips");
    let candidate_ports = candidate_ports(net, findings);
    let stun = net.flag(findings, "enable_stun", false);
    if !enabled {
        let idle = [given, net.item("candidate_ports"), net.item("enable_stun")];
        for item in idle.into_iter().flatten().filter(|_| net.is_off("enable_ice")) {
            findings.warn(item.node.at, &item.path, "has no effect without enable_ice: true");
        }
        return None;
    }
    // A list of which nothing could be read has its error already.
    let none_given = given.is_none_or(|item| item.node.value == super::raw::Value::List(Vec::new()));
    if let Some(listen) = listen.filter(|listen| none_given && listen.ip().is_unspecified()) {
        let path = super::section::join(&net.path, "candidate_ips");
        let message = format!(
            "expected the addresses to publish, found none, and \"{listen}\" is no address to publish"
        );
        findings.error(net.place("addr"), &path, message).help = Some(
            "write candidate_ips: [203.0.113.7] with the address that clients reach, or [candidate_host_ip] for the \
             first address of this host"
                .into(),
        );
    }
    let key = if candidate_ports.is_empty() { "addr" } else { "candidate_ports" };
    let own = listen.map(|listen| listen.port()).filter(|_| candidate_ports.is_empty());
    let private = |host: &CandidateHost| matches!(host, CandidateHost::Ip(IpAddr::V4(ip)) if ip.is_private());
    let is_private = candidate_ips.iter().any(private);
    for port in candidate_ports.iter().copied().chain(own) {
        warn_of_port(net, key, port, is_private, findings);
    }
    Some(Ice { candidate_ips, candidate_ports, stun })
}

/// One port for all published addresses, or a list with one for each.
fn candidate_ports(net: &Section<'_>, findings: &mut Findings) -> Vec<u16> {
    const A_PORT: &str = "a port from 1 to 65535, or a list with one for each of candidate_ips";
    let port = |text: &str| addr::number(text).filter(|port| *port != 0_u16);
    let Some(item) = net.item("candidate_ports") else { return Vec::new() };
    if item.node.text().is_some() {
        return item.read(findings, A_PORT, port).into_iter().collect();
    }
    let ports = net.list(findings, "candidate_ports", A_PORT, port);
    // As many as stand there, read or not. What should be a list and is none has its error.
    let ips =
        net.item("candidate_ips").map_or(0, |ips| ips.node.text().map_or(ips.node.items().len(), |_| 1));
    let given = item.node.items().len();
    if given != 0 && given != 1 && given != ips.max(1) {
        let message = format!("expected one port, or one for each of candidate_ips ({ips}), found {given}");
        findings.error(item.node.at, &item.path, message);
    }
    ports
}

/// What browsers do not connect to, though it is a fine port otherwise.
fn warn_of_port(net: &Section<'_>, key: &str, port: u16, is_private: bool, findings: &mut Findings) {
    let objection = blocked_ports::objection(port, is_private);
    if let Some(objection) = objection.filter(|_| port != 0) {
        let path = super::section::join(&net.path, key);
        let message = format!("port {port}: {objection}");
        findings.warn(net.place(key), &path, message).help =
            Some("take another one, such as 3478 or 6001".into());
    }
}

fn tls(net: &Section<'_>, findings: &mut Findings) -> Option<TlsFiles> {
    let cert = file(net, findings, "tls_crt_file");
    let key = file(net, findings, "tls_key_file");
    let missing = match (&cert, &key) {
        (Some(_), None) if net.item("tls_key_file").is_none() => Some(("tls_crt_file", "tls_key_file")),
        (None, Some(_)) if net.item("tls_crt_file").is_none() => Some(("tls_key_file", "tls_crt_file")),
        _ => None,
    };
    if let Some((given, missing)) = missing {
        let path = super::section::join(&net.path, missing);
        findings.error(net.place(given), &path, format!("expected a path, found nothing; {given} needs it"));
    }
    Some(TlsFiles { cert: cert?, key: key? })
}

/// Two services cannot have one port; the second would fail to start.
fn refuse_shared_addresses(services: &[Service], root: &Section<'_>, findings: &mut Findings) {
    let mut owners: HashMap<(Transport, SocketAddr), &str> = HashMap::new();
    for service in services.iter().filter(|service| service.listen.port() != 0) {
        let taken = transports(&service.kind).iter().find_map(|transport| {
            let owner = *owners.entry((*transport, service.listen)).or_insert(&service.name);
            (owner != &*service.name).then_some(owner)
        });
        if let Some(owner) = taken {
            let net = root.node.get("services").and_then(|s| s.get(&service.name)).and_then(|s| s.get("net"));
            let at = net.and_then(|net| net.get("addr")).map_or(root.at, |addr| addr.at);
            let listen = service.listen;
            let message =
                format!("expected an address of its own, found \"{listen}\", which services.{owner} has");
            findings.error(at, &format!("services.{}.net.addr", service.name), message);
        }
    }
}

/// A shared port that carries TURN needs a service that says who may have a relay.
fn expect_turn_service(services: &[Service], root: &Section<'_>, findings: &mut Findings) {
    if services.iter().any(|service| matches!(service.kind, ServiceKind::Turn(_))) {
        return;
    }
    for service in services.iter().filter(|service| service.carries_turn) {
        let net = root.node.get("services").and_then(|s| s.get(&service.name)).and_then(|s| s.get("net"));
        let at = net.and_then(|net| net.get("enable_turn")).map_or(root.at, |node| node.at);
        let message = "expected a service with proto: turn, which says who may have a relay, found none";
        findings.error(at, &format!("services.{}.net.enable_turn", service.name), message);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Transport {
    Udp,
    Tcp,
}

fn transports(kind: &ServiceKind) -> &'static [Transport] {
    match kind {
        ServiceKind::Udp { .. } => &[Transport::Udp],
        ServiceKind::Turn(_) => &[Transport::Udp, Transport::Tcp],
        _ => &[Transport::Tcp],
    }
}
