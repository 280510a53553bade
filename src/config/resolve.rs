//! Which addresses the edge publishes. The rules are pure; looking up names and interfaces is I/O and comes in as
//! [`Lookup`].

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::{CandidateHost, Config, Finding, Ice, Service, ServiceKind};

/// A candidate of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The service that serves it.
    pub service: Arc<str>,
    /// Where clients send to.
    pub addr: SocketAddr,
    /// Whether it is TCP.
    pub tcp: bool,
}

/// Why there is no candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A name has no usable address.
    #[error("expected a name with an address, found {name:?}: {reason}")]
    NoAddress {
        /// Service.
        service: Arc<str>,
        /// Which of its `candidate_ips`.
        index: usize,
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The host has only loopback and link-local addresses.
    #[error(
        "expected candidate_host_ip to find an address, found none on this host's interfaces; write the address that \
         clients reach instead"
    )]
    NoInterface {
        /// Service.
        service: Arc<str>,
        /// Which of its `candidate_ips`.
        index: usize,
    },
}

impl ResolveError {
    /// As what is wrong with the file.
    pub fn finding(&self) -> Finding {
        let (ResolveError::NoAddress { service, index, .. } | ResolveError::NoInterface { service, index }) =
            self;
        Finding::error(format!("services.{service}.net.candidate_ips[{index}]"), self.to_string())
    }
}

/// What has to be asked of the system.
pub trait Lookup {
    /// Addresses of a name.
    fn name(&self, name: &str) -> Result<Vec<IpAddr>, String>;
    /// Addresses of this host's interfaces, in the system's order.
    fn interfaces(&self) -> Vec<IpAddr>;
}

/// The real system.
pub struct System;

impl Lookup for System {
    fn name(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        let found = (name, 0).to_socket_addrs().map_err(|error| error.to_string())?;
        Ok(found.map(|addr| addr.ip()).collect())
    }

    fn interfaces(&self) -> Vec<IpAddr> {
        if_addrs::get_if_addrs().unwrap_or_default().iter().map(|interface| interface.ip()).collect()
    }
}

/// The candidates of all services that carry ICE, in the order of publication: UDP before TCP, then file
/// order, each address once.
pub fn candidates(config: &Config, lookup: &dyn Lookup) -> Result<Vec<Candidate>, ResolveError> {
    let mut found: Vec<Candidate> = Vec::new();
    for service in &config.services {
        let (ice, tcp) = match &service.kind {
            ServiceKind::Udp { ice: Some(ice) } => (ice, false),
            ServiceKind::Tcp { ice: Some(ice), .. } => (ice, true),
            _ => continue,
        };
        for (index, ip) in published_ips(service, ice, lookup)?.into_iter().enumerate() {
            let port = ice.candidate_ports.get(index).or(ice.candidate_ports.first());
            let port = port.copied().unwrap_or(service.listen.port());
            let candidate = Candidate { service: service.name.clone(), addr: (ip, port).into(), tcp };
            if !found.iter().any(|other| (other.addr, other.tcp) == (candidate.addr, candidate.tcp)) {
                found.push(candidate);
            }
        }
    }
    found.sort_by_key(|candidate| candidate.tcp);
    Ok(found)
}

fn published_ips(service: &Service, ice: &Ice, lookup: &dyn Lookup) -> Result<Vec<IpAddr>, ResolveError> {
    if ice.candidate_ips.is_empty() {
        return Ok(vec![service.listen.ip()]);
    }
    let hosts = ice.candidate_ips.iter().enumerate();
    hosts.map(|(index, host)| published_ip(service, index, host, lookup)).collect()
}

fn published_ip(
    service: &Service,
    index: usize,
    host: &CandidateHost,
    lookup: &dyn Lookup,
) -> Result<IpAddr, ResolveError> {
    match host {
        CandidateHost::Ip(ip) => Ok(*ip),
        CandidateHost::HostInterface => choose(&lookup.interfaces())
            .ok_or_else(|| ResolveError::NoInterface { service: service.name.clone(), index }),
        CandidateHost::Name(name) => {
            let failed = |reason| ResolveError::NoAddress {
                service: service.name.clone(),
                index,
                name: name.clone(),
                reason,
            };
            let found = lookup.name(name).map_err(failed)?;
            choose(&found).ok_or_else(|| failed("no global or private unicast address".into()))
        }
    }
}

/// Addresses of this host that others may reach, in the system's order: no loopback, no link-local.
pub fn usable(lookup: &dyn Lookup) -> Vec<IpAddr> {
    lookup.interfaces().iter().map(IpAddr::to_canonical).filter(is_usable).collect()
}

/// First global-unicast IPv4, private ranges count; else the first such IPv6.
fn choose(ips: &[IpAddr]) -> Option<IpAddr> {
    let mut usable = ips.iter().map(IpAddr::to_canonical).filter(is_usable);
    let v4 = usable.clone().find(IpAddr::is_ipv4);
    v4.or_else(|| usable.next())
}

fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast())
        }
    }
}

/// The candidate lines that go into descriptions, without `a=` and line end (xrtc.md §6).
pub fn lines(candidates: &[Candidate]) -> Arc<[Box<str>]> {
    candidates.iter().zip(1..).map(|(candidate, foundation)| line(candidate, foundation)).collect()
}

fn line(candidate: &Candidate, foundation: usize) -> Box<str> {
    let (ip, port) = (candidate.addr.ip(), candidate.addr.port());
    match candidate.tcp {
        false => format!("candidate:{foundation} 1 udp 2013266431 {ip} {port} typ host").into(),
        true => {
            format!("candidate:{foundation} 1 tcp 1010827775 {ip} {port} typ host tcptype passive").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake;

    impl Lookup for Fake {
        fn name(&self, name: &str) -> Result<Vec<IpAddr>, String> {
            match name {
                "both.example" => Ok(ips(&["2001:db8::7", "127.0.0.1", "198.51.100.7", "198.51.100.8"])),
                "six.example" => Ok(ips(&["fe80::1", "2001:db8::6"])),
                "local.example" => Ok(ips(&["127.0.0.1", "::1"])),
                _ => Err("unknown name".into()),
            }
        }

        fn interfaces(&self) -> Vec<IpAddr> {
            ips(&["127.0.0.1", "::1", "169.254.3.4", "2001:db8::9", "10.0.0.9", "172.17.0.1"])
        }
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn resolve(services: &str) -> Result<Vec<String>, String> {
        let loaded = Config::from_text(&format!("services:\n{services}")).expect("loads");
        let found = candidates(&loaded.config, &Fake).map_err(|error| error.finding().to_string())?;
        Ok(lines(&found).iter().map(|line| line.to_string()).collect())
    }

    #[test]
    fn each_kind_of_host_is_published_in_file_order_with_a_running_foundation() {
        let services = "
  b: {proto: udp, net: {addr: '0.0.0.0:6000', enable_ice: true, candidate_ips: [203.0.113.1, both.example, six.example]}}
  t: {proto: tcp, net: {addr: '0.0.0.0:6000', enable_ice: true, candidate_ips: [203.0.113.1]}}
  a: {proto: udp, net: {addr: ':6001', enable_ice: true, candidate_ips: [candidate_host_ip]}}
  o: {proto: udp, net: {addr: '[2001:db8::5]:6002', enable_ice: true}}
  off: {proto: udp, net: {addr: ':6003'}}
";
        assert_eq!(
            resolve(services).expect("resolves"),
            [
                "candidate:1 1 udp 2013266431 203.0.113.1 6000 typ host",
                "candidate:2 1 udp 2013266431 198.51.100.7 6000 typ host",
                "candidate:3 1 udp 2013266431 2001:db8::6 6000 typ host",
                "candidate:4 1 udp 2013266431 10.0.0.9 6001 typ host",
                "candidate:5 1 udp 2013266431 2001:db8::5 6002 typ host",
                "candidate:6 1 tcp 1010827775 203.0.113.1 6000 typ host tcptype passive",
            ]
        );
    }

    #[test]
    fn the_published_port_may_differ_from_the_one_listened_on() {
        let services = "
  u: {proto: udp, net: {addr: ':7001', enable_ice: true, candidate_ips: [203.0.113.1, 203.0.113.2], candidate_ports: [443, 3478]}}
  t: {proto: tcp, net: {addr: ':7002', enable_ice: true, candidate_ips: [203.0.113.1, 203.0.113.2], candidate_ports: 8443}}
";
        assert_eq!(
            resolve(services).expect("resolves"),
            [
                "candidate:1 1 udp 2013266431 203.0.113.1 443 typ host",
                "candidate:2 1 udp 2013266431 203.0.113.2 3478 typ host",
                "candidate:3 1 tcp 1010827775 203.0.113.1 8443 typ host tcptype passive",
                "candidate:4 1 tcp 1010827775 203.0.113.2 8443 typ host tcptype passive",
            ]
        );
    }

    #[test]
    fn as_many_ports_as_addresses_or_one() {
        for (ports, good) in
            [("[1, 2]", true), ("[1]", true), ("1", true), ("[]", true), ("[1, 2, 3]", false), ("0", false)]
        {
            let services = format!(
                "services:\n  u: {{proto: udp, net: {{addr: ':7001', enable_ice: true, candidate_ips: [192.0.2.1, 192.0.2.2], candidate_ports: {ports}}}}}"
            );
            assert_eq!(Config::from_text(&services).is_ok(), good, "{ports}");
        }
    }

    #[test]
    fn an_address_is_published_once() {
        let services =
            "  a: {proto: udp, net: {addr: ':1', enable_ice: true, candidate_ips: [auto, 10.0.0.9]}}";
        assert_eq!(resolve(services).expect("resolves").len(), 1);
    }

    #[test]
    fn a_name_without_a_usable_address_is_an_error_that_names_it() {
        for (name, part) in [("nowhere.example", "unknown name"), ("local.example", "no global")] {
            let services = format!(
                "  a: {{proto: udp, net: {{addr: ':1', enable_ice: true, candidate_ips: [{name}]}}}}"
            );
            let error = resolve(&services).expect_err("fails");
            assert!(
                error.contains("services.a.net.candidate_ips[0]: ")
                    && error.contains(name)
                    && error.contains(part),
                "{error}"
            );
        }
    }

    #[test]
    fn tcp_lines_are_passive() {
        let tcp = Candidate { service: "t".into(), addr: ([192, 0, 2, 1], 443).into(), tcp: true };
        assert_eq!(&*lines(&[tcp])[0], "candidate:1 1 tcp 1010827775 192.0.2.1 443 typ host tcptype passive");
    }

    #[test]
    fn this_host_can_be_asked() {
        assert!(System.interfaces().iter().any(IpAddr::is_loopback));
        assert!(System.name("localhost").is_ok_and(|found| found.iter().any(IpAddr::is_loopback)));
    }
}
