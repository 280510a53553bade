//! \[pure\] Keys of features that this version reads and checks but does not serve: admin.
//! What is read here goes nowhere yet; a file that is accepted today stays valid when the feature comes.

use std::net::SocketAddr;

use super::section::{Findings, Section};

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
