//! \[pure\] `limits:`, what the process and each stranger may cost. Every limit has a number and the reason for it.
//!
//! All of them are on without being asked for. They are wide: many users may share one address (an office, a mobile network's
//! NAT), and a limit that hits them hurts more than the flood it holds off.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::IpNet;
use super::addr::{self, A_BLOCK};
use super::durations::{A_SIZE, size};
use super::routes::at_least_one;
use super::section::{Findings, Section};
use crate::budget::Rate;

/// `limits:`, process-wide caps and budgets per source. A source is an IPv4 address or an IPv6 /64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `sessions`: live and registered sessions, default 100 000.
    pub sessions: usize,
    /// `session_packets`: packets per second that one session's client may send, default 20 000; 0: no limit.
    pub session_packets: u32,
    /// `session_bytes`: payload per second that one session's client may send, default 0: no limit.
    pub session_bytes: usize,
    /// `registrations_per_client`: sessions that one source may have registered through the REST API, default 75 000.
    pub registrations_per_client: usize,
    /// `http_connections`: open client connections, default 10 000.
    pub http_connections: usize,
    /// `connections_per_source`: how many of them one source may have, default 2 000.
    pub connections_per_source: usize,
    /// `signalling_body`: largest request or response body that a dialect reads, bytes, default 1 MiB.
    pub signalling_body: usize,
    /// `ws_message`: largest WebSocket message, bytes, default 1 MiB.
    pub ws_message: usize,
    /// `stun_rate` and `stun_burst`: checks of one source, per packet worker, that fail; `None`: no limit.
    pub stun: Option<Rate>,
    /// `http_rate` and `http_burst`: requests of one source; `None`: no limit.
    pub http: Option<Rate>,
    /// `registration_rate` and `registration_burst`: REST registrations of one source; `None`: no limit.
    pub registrations: Option<Rate>,
    /// `tracked_sources`: how many sources each table of budgets has room for, default 65 536.
    pub tracked_sources: usize,
    /// `exempt`: whose budgets and connections are not counted, default loopback.
    pub exempt: Vec<IpNet>,
}

impl Limits {
    /// Whether `ip` has no budgets.
    pub fn exempts(&self, ip: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(ip))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sessions: 100_000,
            // Twice what a screen share of 100 Mbit/s sends, and a tenth of what keeps a worker busy.
            session_packets: 20_000,
            session_bytes: 0,
            // Mostly one application server registers for all clients: 50 000 sessions and those that just ended must
            // fit, and still nobody takes the whole table.
            registrations_per_client: 75_000,
            http_connections: 10_000,
            // A fifth of all: a NAT with a thousand users, two connections each.
            connections_per_source: 2_000,
            signalling_body: 1 << 20,
            ws_message: 1 << 20,
            // A browser whose session is gone sends 2 failing checks per second for half a minute: 50 of them, and 500 at the
            // moment when all of them lose it. Checks that are valid cost nothing of it.
            stun: Some(Rate { per_second: 100, burst: 1_000 }),
            // A Janus client asks about once per second and ten times when a call begins: some hundred users of one NAT.
            http: Some(Rate { per_second: 1_000, burst: 5_000 }),
            // An application server whose 50 000 clients all come back after a network failure.
            registrations: Some(Rate { per_second: 25_000, burst: 50_000 }),
            // 1 MiB per table. One table for each budget, of STUN one per worker.
            tracked_sources: 65_536,
            // What runs on this machine is trusted, and a reverse proxy here is everybody as long as trusted_proxies is not set.
            exempt: vec![
                IpNet { addr: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), prefix: 8 },
                IpNet { addr: IpAddr::V6(Ipv6Addr::LOCALHOST), prefix: 128 },
            ],
        }
    }
}

/// Reads `limits:`.
pub(super) fn limits(root: &Section<'_>, findings: &mut Findings) -> Limits {
    let mut limits = Limits::default();
    let Some(section) = root.section(findings, "limits") else { return limits };
    for (key, value) in [
        ("sessions", &mut limits.sessions),
        ("registrations_per_client", &mut limits.registrations_per_client),
        ("http_connections", &mut limits.http_connections),
        ("connections_per_source", &mut limits.connections_per_source),
        ("tracked_sources", &mut limits.tracked_sources),
    ] {
        *value = at_least_one(&section, findings, key, *value);
    }
    let expected = "a whole number of packets per second, 0 for no limit";
    limits.session_packets =
        section.read(findings, "session_packets", expected, addr::number).unwrap_or(limits.session_packets);
    for (key, value) in [
        ("session_bytes", &mut limits.session_bytes),
        ("signalling_body", &mut limits.signalling_body),
        ("ws_message", &mut limits.ws_message),
    ] {
        *value = section.read(findings, key, A_SIZE, size).unwrap_or(*value);
    }
    for (rate, burst, value) in [
        ("stun_rate", "stun_burst", &mut limits.stun),
        ("http_rate", "http_burst", &mut limits.http),
        ("registration_rate", "registration_burst", &mut limits.registrations),
    ] {
        *value = budget(&section, findings, rate, burst, *value);
    }
    if section.item("exempt").is_some() {
        limits.exempt = section.list(findings, "exempt", A_BLOCK, addr::block);
    }
    limits
}

/// A rate of 0 is no limit. A rate that is given alone brings a burst of so many seconds as the default has.
fn budget(
    section: &Section<'_>,
    findings: &mut Findings,
    rate: &str,
    burst: &str,
    default: Option<Rate>,
) -> Option<Rate> {
    const A_RATE: &str = "a whole number per second, 0 for no limit";
    const A_BURST: &str = "a whole number from 1 on";
    let default = default.unwrap_or(Rate { per_second: 1, burst: 1 });
    let per_second = section.read(findings, rate, A_RATE, addr::number).unwrap_or(default.per_second);
    let seconds = default.burst.div_ceil(default.per_second);
    let burst = section.read(findings, burst, A_BURST, |text| addr::number(text).filter(|burst| *burst > 0));
    let burst = burst.unwrap_or(per_second.saturating_mul(seconds).max(1));
    (per_second > 0).then_some(Rate { per_second, burst })
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn budgets_are_on_by_default_and_loopback_has_none() {
        let limits = super::Limits::default();
        assert!(limits.stun.is_some() && limits.http.is_some() && limits.registrations.is_some());
        for (ip, exempt) in [("127.0.0.9", true), ("::1", true), ("10.0.0.1", false), ("::2", false)] {
            assert_eq!(limits.exempts(ip.parse().unwrap()), exempt, "{ip}");
        }
    }

    #[test]
    fn a_rate_alone_brings_its_burst_and_zero_is_no_limit() {
        let text = "services: {u: {proto: udp, net: {addr: \"127.0.0.1:6001\", enable_ice: true}}}\n\
                    limits: {http_rate: 10, stun_rate: 0, registration_rate: 5, registration_burst: 7, exempt: []}\n";
        let limits = Config::from_text(text).unwrap().config.limits;
        let http = limits.http.unwrap();
        assert_eq!((http.per_second, http.burst), (10, 50));
        assert_eq!(limits.stun, None);
        let registrations = limits.registrations.unwrap();
        assert_eq!((registrations.per_second, registrations.burst), (5, 7));
        assert!(!limits.exempts("127.0.0.1".parse().unwrap()));
    }
}
