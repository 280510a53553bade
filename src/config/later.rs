//! \[pure\] Keys of features that this version reads and checks but does not serve: TURN.
//! What is read here goes nowhere yet; a file that is accepted today stays valid when the feature comes.

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
