//! \[pure\] Keys of features that this version reads and checks but does not serve: admin, signalling routes.
//! What is read here goes nowhere yet; a file that is accepted today stays valid when the feature comes.

use std::net::SocketAddr;

use super::auth::auth;
use super::durations::{A_DURATION, timeout};
use super::routes::{Inherited, upstream};
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
