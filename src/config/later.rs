//! \[pure\] Keys of features that this version reads and checks but does not serve: TURN, signalling routes.
//! What is read here goes nowhere yet; a file that is accepted today stays valid when the feature comes.

use super::addr::{self, A_BLOCK, A_LISTEN_ADDRESS, A_PORT_RANGE};
use super::auth::auth;
use super::durations::{A_DURATION, timeout};
use super::routes::{Inherited, upstream};
use super::section::{Findings, Section};

/// `turn:` of a service.
pub(super) fn turn(service: &Section<'_>, findings: &mut Findings) {
    if let Some(net) = service.section(findings, "net") {
        net.read(findings, "tls_addr", A_LISTEN_ADDRESS, addr::listen);
    }
    let Some(turn) = service.section(findings, "turn") else { return };
    turn.text(findings, "realm", "a realm, mostly a domain name");
    turn.list(findings, "external_ips", "an IP address", |text| text.parse::<std::net::IpAddr>().ok());
    turn.read(findings, "relay_ports", A_PORT_RANGE, addr::ports);
    turn.list(findings, "allow_peers", A_BLOCK, addr::block);
    turn.list(findings, "deny_peers", A_BLOCK, addr::block);
    auth(&turn, findings);
}

/// `signalling:` of a route.
pub(super) fn signalling(section: &Section<'_>, inherited: &Inherited<'_>, findings: &mut Findings) {
    const PROTOCOLS: [&str; 4] = ["webrtc-server", "blueprints", "live", "gst"];
    section.require(findings, "protocol", "webrtc-server, blueprints, live or gst", |text| {
        PROTOCOLS.into_iter().find(|known| *known == text)
    });
    for key in ["auth_timeout", "idle_timeout", "keepalive_timeout"] {
        section.read(findings, key, A_DURATION, timeout);
    }
    section.text(findings, "jwt_secret", "a secret");
    section.read(findings, "mode", "p2p or routed", |text| ["p2p", "routed"].contains(&text).then_some(()));
    if section.item("upstream").is_some() {
        upstream(section, "upstream", inherited, findings);
    }
    auth(section, findings);
    if let Some(events) = section.section(findings, "events") {
        events.read(findings, "amqp", "an amqp:// or amqps:// URL", |text| {
            (text.starts_with("amqp://") || text.starts_with("amqps://")).then_some(())
        });
    }
}
