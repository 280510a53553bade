//! \[pure\] `admin:` of a service as meant. Without a token it may only listen on loopback: everybody who reaches it may look
//! at sessions and end them.

use std::net::SocketAddr;

use super::section::{Findings, Section};
use super::{Admin, Secret};

/// A shorter token could be guessed over the network: 62¹⁶ takes longer than anybody has.
const SHORTEST_TOKEN: usize = 16;
const A_TOKEN: &str = "a token of at least 16 printable ASCII characters without spaces";

/// Reads it.
pub(super) fn admin(service: &Section<'_>, listen: Option<SocketAddr>, findings: &mut Findings) -> Admin {
    let admin = service.section(findings, "admin");
    // An empty one is none: that is what `${XRTC_ADMIN_TOKEN:-}` says.
    let item =
        admin.as_ref().and_then(|admin| admin.item("token")).filter(|item| item.node.text() != Some(""));
    let Some(item) = item else {
        refuse_public_address(service, listen, findings);
        return Admin::default();
    };
    Admin { token: item.read(findings, A_TOKEN, token) }
}

fn token(text: &str) -> Option<Secret> {
    let fits = text.len() >= SHORTEST_TOKEN && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Secret::new(text.to_owned()))
}

fn refuse_public_address(service: &Section<'_>, listen: Option<SocketAddr>, findings: &mut Findings) {
    let Some(listen) = listen.filter(|listen| !listen.ip().to_canonical().is_loopback()) else { return };
    let at = service.section(findings, "net").map_or(service.at, |net| net.place("addr"));
    let message =
        format!("expected a loopback address or an admin.token, found \"{listen}\" without a token");
    findings.error(at, &format!("{}.net.addr", service.path), message);
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ServiceKind};

    fn load(addr: &str, admin: &str) -> Result<Option<String>, String> {
        let text = format!("services:\n  a:\n    proto: admin\n    net: {{addr: \"{addr}\"}}\n{admin}");
        let loaded = Config::from_text(&text).map_err(|error| error.to_string())?;
        let ServiceKind::Admin(admin) = &loaded.config.services[0].kind else { panic!("no admin") };
        assert!(!format!("{:?}", loaded.config).contains("sixteen-characters"));
        Ok(admin.token.as_ref().map(|token| token.expose().to_owned()))
    }

    #[test]
    fn without_a_token_it_stays_on_loopback() {
        for addr in ["127.0.0.1:9090", "[::1]:9090", "127.9.9.9:0"] {
            assert_eq!(load(addr, "").unwrap(), None, "{addr}");
            assert_eq!(load(addr, "    admin: {token: \"\"}\n").unwrap(), None, "{addr}");
        }
        for addr in [":9090", "192.0.2.1:9090", "[::]:9090"] {
            let error = load(addr, "").unwrap_err();
            assert!(error.contains(":4:17: error: services.a.net.addr: expected a loopback"), "{error}");
            assert!(load(addr, "    admin: {token: \"\"}\n").is_err(), "{addr}");
        }
    }

    #[test]
    fn a_token_opens_every_address_and_is_never_shown() {
        let token = "    admin: {token: sixteen-characters}\n";
        assert_eq!(load("0.0.0.0:9090", token).unwrap().as_deref(), Some("sixteen-characters"));
        for bad in ["short", "sixteen characters with spaces", "[a, b]"] {
            let error = load(":9090", &format!("    admin: {{token: {bad}}}\n")).unwrap_err();
            assert!(error.contains("services.a.admin.token: expected a token of at least 16"), "{error}");
            assert!(!error.contains("short") && !error.contains("with spaces"), "{error}");
        }
    }
}
