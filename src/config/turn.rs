//! \[pure\] `turn:` of a service, `net.tls_addr`, and what a route or an HTTP service says about TURN.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::IpNet;
use super::addr::{self, A_BLOCK, A_LISTEN_ADDRESS, A_PORT_RANGE};
use super::auth::{Auth, Secret, auth};
use super::durations::{A_DURATION, A_SIZE, duration, size};
use super::routes::at_least_one;
use super::section::{Findings, Section, join};

/// A TURN service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// `net.tls_addr`.
    pub tls_listen: Option<SocketAddr>,
    /// `realm`, default `xrtc`.
    pub realm: String,
    /// `external_ips`; empty: the address of `net.addr`, or the first one of this host.
    pub external_ips: Vec<ExternalIp>,
    /// `relay_ports`, default 49152–65535.
    pub relay_ports: RangeInclusive<u16>,
    /// `auth`.
    pub auth: Auth,
    /// `allow_peers`.
    pub allow_peers: Vec<IpNet>,
    /// `deny_peers`.
    pub deny_peers: Vec<IpNet>,
    /// `allocations`, default 10 000.
    pub allocations: usize,
    /// `allocations_per_user`, default 1000.
    pub allocations_per_user: usize,
    /// `allocations_per_client`, default 1000.
    pub allocations_per_client: usize,
    /// `bandwidth`: bytes per second and direction of one allocation; 0: any. Default 0.
    pub bandwidth: usize,
    /// `max_lifetime`, default 1 h.
    pub max_lifetime: Duration,
    /// `stranger_answers`: answers per second to one address that has shown no credential, default 50.
    pub stranger_answers: usize,
}

/// An address of relayed candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalIp {
    /// As peers see it.
    pub public: IpAddr,
    /// The address of this host behind it, where a NAT stands between them.
    pub private: Option<IpAddr>,
}

/// Where an HTTP service hands out TURN credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnMinting {
    /// `path`, default `/turn/credentials`.
    pub path: String,
    /// `uris` that go with them.
    pub uris: Vec<String>,
    /// `ttl`, default 1 h.
    pub ttl: Duration,
    /// `secret` that signs them: one of a TURN service's `auth.secrets`.
    pub secret: Secret,
    /// `token` that who asks must bring; without one anybody gets credentials.
    pub token: Option<Secret>,
}

/// Longest realm (RFC 8489 §14.9).
const LONGEST_REALM: usize = 127;
const AN_EXTERNAL_IP: &str = "an IP address, or public/private such as 203.0.113.7/10.0.0.5";

/// Reads `turn:` and what of `net:` belongs to it.
pub(super) fn turn(service: &Section<'_>, findings: &mut Findings) -> Turn {
    let net = service.section(findings, "net");
    let tls_listen =
        net.as_ref().and_then(|net| net.read(findings, "tls_addr", A_LISTEN_ADDRESS, addr::listen));
    if let Some(net) = net.filter(|net| tls_listen.is_some() && net.item("tls_crt_file").is_none()) {
        let path = join(&net.path, "tls_crt_file");
        findings.error(net.place("tls_addr"), &path, "expected a path, found nothing; tls_addr needs it");
    }
    let usual = Turn { tls_listen, ..Turn::default() };
    let Some(section) = service.section(findings, "turn") else {
        warn_of_nobody(service, findings);
        return usual;
    };
    let turn = read(&section, usual, findings);
    if turn.auth.is_empty() {
        warn_of_nobody(&section, findings);
    }
    turn
}

fn read(section: &Section<'_>, usual: Turn, findings: &mut Findings) -> Turn {
    let realm = |text: &str| {
        let fits = (1..=LONGEST_REALM).contains(&text.len()) && !text.contains(['"', '\\']);
        (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
    };
    let expected = "a realm of 1 to 127 bytes, mostly a domain name";
    let count = |findings: &mut Findings, key, usual| at_least_one(section, findings, key, usual);
    Turn {
        realm: section.read(findings, "realm", expected, realm).unwrap_or(usual.realm),
        external_ips: section.list(findings, "external_ips", AN_EXTERNAL_IP, external_ip),
        relay_ports: section
            .read(findings, "relay_ports", A_PORT_RANGE, addr::ports)
            .unwrap_or(usual.relay_ports),
        auth: auth(section, findings),
        allow_peers: section.list(findings, "allow_peers", A_BLOCK, addr::block),
        deny_peers: section.list(findings, "deny_peers", A_BLOCK, addr::block),
        allocations: count(findings, "allocations", usual.allocations),
        allocations_per_user: count(findings, "allocations_per_user", usual.allocations_per_user),
        allocations_per_client: count(findings, "allocations_per_client", usual.allocations_per_client),
        bandwidth: section
            .read(findings, "bandwidth", A_SIZE, |text| match text {
                "0" => Some(0),
                text => size(text),
            })
            .unwrap_or(usual.bandwidth),
        max_lifetime: section
            .read(findings, "max_lifetime", "a duration from 1m to 1d", |text| {
                let minute = Duration::from_secs(60);
                duration(text).filter(|time| (minute..=1440 * minute).contains(time))
            })
            .unwrap_or(usual.max_lifetime),
        stranger_answers: count(findings, "stranger_answers", usual.stranger_answers),
        tls_listen: usual.tls_listen,
    }
}

fn warn_of_nobody(section: &Section<'_>, findings: &mut Findings) {
    let message = "nobody can get a relay: auth has no users, password, secrets or webhook";
    findings.warn(section.at, &section.path, message);
}

fn external_ip(text: &str) -> Option<ExternalIp> {
    let ip = |text: &str| {
        let ip: IpAddr = text.parse().ok()?;
        (!ip.is_unspecified() && !ip.is_multicast()).then_some(ip)
    };
    let Some((public, private)) = text.split_once('/') else {
        return Some(ExternalIp { public: ip(text)?, private: None });
    };
    let (public, private) = (ip(public)?, ip(private)?);
    (public.is_ipv4() == private.is_ipv4()).then_some(ExternalIp { public, private: Some(private) })
}

impl Default for Turn {
    fn default() -> Self {
        Turn {
            tls_listen: None,
            realm: "xrtc".into(),
            external_ips: Vec::new(),
            relay_ports: 49_152..=65_535,
            auth: Auth::default(),
            allow_peers: Vec::new(),
            deny_peers: Vec::new(),
            // Each has a socket, so this is also a number of descriptors; the usual port range has 16 384.
            allocations: 10_000,
            // A user may be everybody (one static name in a page), a client an office behind one address: these two limits
            // are for who takes everything.
            allocations_per_user: 1_000,
            allocations_per_client: 1_000,
            bandwidth: 0,
            max_lifetime: Duration::from_secs(3600),
            stranger_answers: 50,
        }
    }
}

/// `turn_credentials:` of an HTTP service.
pub(super) fn credentials(http: &Section<'_>, findings: &mut Findings) -> Option<TurnMinting> {
    let section = http.section(findings, "turn_credentials")?;
    let secret = |text: &str| (!text.is_empty()).then(|| Secret::new(text));
    let uri = |text: &str| {
        let is_uri = ["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| text.starts_with(scheme));
        let is_plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"\\".contains(&b));
        (is_uri && is_plain).then(|| text.to_owned())
    };
    let path = section.read(findings, "path", "a path such as /turn/credentials", |text| {
        let is_plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b));
        (text.starts_with('/') && is_plain).then(|| text.to_owned())
    });
    let uris = section.list(findings, "uris", "a URI such as turn:turn.example.org:3478?transport=udp", uri);
    if section.item("uris").is_none() {
        let expected = "expected the URIs of the TURN service, found nothing; the key is required";
        findings.error(section.at, &join(&section.path, "uris"), expected);
    }
    let ttl = section.read(findings, "ttl", A_DURATION, duration).filter(|ttl| !ttl.is_zero());
    Some(TurnMinting {
        path: path.unwrap_or_else(|| "/turn/credentials".into()),
        uris,
        ttl: ttl.unwrap_or(Duration::from_secs(3600)),
        secret: section.require(findings, "secret", "a secret of the TURN service", secret)?,
        token: section.read(findings, "token", "a token", |text| Some(secret(text))).flatten(),
    })
}
