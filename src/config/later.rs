//! \[pure\] Keys of features that this version reads and checks but does not serve: TURN, admin.
//! What is read here goes nowhere yet; a file that is accepted today stays valid when the feature comes.

use std::net::SocketAddr;

use super::addr::{self, A_BLOCK, A_LISTEN_ADDRESS, A_PORT_RANGE};
use super::auth::auth;
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

/// `admin:` of a service. Without a token it may only listen on loopback.
pub(super) fn admin(service: &Section<'_>, listen: Option<SocketAddr>, findings: &mut Findings) {
    let admin = service.section(findings, "admin");
    let token = admin.as_ref().and_then(|admin| admin.item("token"));
    if let Some(item) = token.as_ref().filter(|item| item.node.text().is_none()) {
        findings.expected(item, "a token");
    }
    // An empty one is none: that is what `${XRTC_ADMIN_TOKEN:-}` says.
    let has_token = token.is_some_and(|item| item.node.text() != Some(""));
    if let Some(listen) = listen.filter(|listen| !has_token && !listen.ip().to_canonical().is_loopback()) {
        let net = service.section(findings, "net");
        let at = net.map_or(service.at, |net| net.place("addr"));
        let message =
            format!("expected a loopback address or an admin.token, found \"{listen}\" without a token");
        findings.error(at, &format!("{}.net.addr", service.path), message);
    }
}
