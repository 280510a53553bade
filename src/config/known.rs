//! \[pure\] Every key that `routes.yml` knows, and what to say about one that it does not know. `docs/routes.md` has
//! the same list with types and meanings; a test compares the two.

use super::finding::{Finding, Severity};
use super::raw::Node;
use super::section::join;

/// Keys as paths; `<…>` stands for any name. Behind each key of a service: the `proto`s that use it.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("services.<service>.proto", EVERY),
    ("services.<service>.net.addr", LISTENING),
    ("services.<service>.net.tls_addr", &["turn"]),
    ("services.<service>.net.tls_crt_file", TLS),
    ("services.<service>.net.tls_key_file", TLS),
    ("services.<service>.net.enable_ice", ICE),
    ("services.<service>.net.candidate_ips", ICE),
    ("services.<service>.net.candidate_ports", ICE),
    ("services.<service>.net.enable_stun", ICE),
    ("services.<service>.net.enable_turn", &["tcp"]),
    ("services.<service>.net.proxy_protocol", HTTP),
    ("services.<service>.enable_http", &["tcp"]),
    ("services.<service>.optimal", HTTP),
    ("services.<service>.geoip_db", HTTP),
    ("services.<service>.trusted_proxies", HTTP),
    ("services.<service>.mode", &["upstream"]),
    ("services.<service>.servers", &["upstream"]),
    ("services.<service>.health.path", &["upstream"]),
    ("services.<service>.health.interval", &["upstream"]),
    ("services.<service>.health.timeout", &["upstream"]),
    ("services.<service>.health.fall", &["upstream"]),
    ("services.<service>.health.rise", &["upstream"]),
    ("services.<service>.http.turn_credentials.path", HTTP),
    ("services.<service>.http.turn_credentials.uris", HTTP),
    ("services.<service>.http.turn_credentials.ttl", HTTP),
    ("services.<service>.http.turn_credentials.secret", HTTP),
    ("services.<service>.http.turn_credentials.token", HTTP),
    ("services.<service>.http.servername", HTTP),
    ("services.<service>.http.root", HTTP),
    ("services.<service>.http.root_index", HTTP),
    ("services.<service>.http.rest", HTTP),
    ("services.<service>.http.max_conns", HTTP),
    ("services.<service>.http.idle_conn_timeout", HTTP),
    ("services.<service>.http.dial_timeout", HTTP),
    ("services.<service>.http.response_header_timeout", HTTP),
    ("services.<service>.http.keepalive_timeout", HTTP),
    ("services.<service>.http.flush_interval", HTTP),
    ("services.<service>.http.global_flush_interval", HTTP),
    ("services.<service>.http.upstream_tls_verify", HTTP),
    ("services.<service>.http.upstream_ca_file", HTTP),
    ("services.<service>.http.optimal", HTTP),
    ("services.<service>.http.geoip_db", HTTP),
    ("services.<service>.http.trusted_proxies", HTTP),
    ("services.<service>.http.routes.<route>.upstream", HTTP),
    ("services.<service>.http.routes.<route>.dialect", HTTP),
    ("services.<service>.http.routes.<route>.offer", HTTP),
    ("services.<service>.http.routes.<route>.answer", HTTP),
    ("services.<service>.http.routes.<route>.session", HTTP),
    ("services.<service>.http.routes.<route>.whip.strict", HTTP),
    ("services.<service>.http.routes.<route>.icetcp", HTTP),
    ("services.<service>.http.routes.<route>.icedirect", HTTP),
    ("services.<service>.http.routes.<route>.hosts", HTTP),
    ("services.<service>.http.routes.<route>.protos", HTTP),
    ("services.<service>.http.routes.<route>.paths", HTTP),
    ("services.<service>.http.routes.<route>.signalling.protocol", HTTP),
    ("services.<service>.http.routes.<route>.signalling.auth.users.<user>", HTTP),
    ("services.<service>.http.routes.<route>.signalling.auth.password", HTTP),
    ("services.<service>.http.routes.<route>.signalling.auth.secrets", HTTP),
    ("services.<service>.http.routes.<route>.signalling.auth.webhook", HTTP),
    ("services.<service>.http.routes.<route>.signalling.auth_timeout", HTTP),
    ("services.<service>.http.routes.<route>.signalling.idle_timeout", HTTP),
    ("services.<service>.http.routes.<route>.signalling.keepalive_timeout", HTTP),
    ("services.<service>.http.routes.<route>.signalling.token", HTTP),
    ("services.<service>.http.routes.<route>.signalling.webhook.url", HTTP),
    ("services.<service>.http.routes.<route>.signalling.webhook.secret", HTTP),
    ("services.<service>.http.routes.<route>.signalling.turn.url", HTTP),
    ("services.<service>.http.routes.<route>.signalling.turn.secret", HTTP),
    ("services.<service>.http.routes.<route>.signalling.turn.lifetime", HTTP),
    ("services.<service>.http.routes.<route>.signalling.health", HTTP),
    ("services.<service>.http.routes.<route>.signalling.max_message", HTTP),
    ("services.<service>.http.routes.<route>.signalling.max_queue", HTTP),
    ("services.<service>.http.routes.<route>.signalling.max_peers", HTTP),
    ("services.<service>.http.routes.<route>.signalling.max_rooms", HTTP),
    ("services.<service>.http.routes.<route>.signalling.max_connects", HTTP),
    ("services.<service>.http.routes.<route>.signalling.jwt_secret", HTTP),
    ("services.<service>.http.routes.<route>.signalling.mode", HTTP),
    ("services.<service>.http.routes.<route>.signalling.upstream", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.amqp", HTTP),
    ("services.<service>.http.routes.<route>.signalling.rooms.<room>", HTTP),
    ("services.<service>.http.routes.<route>.signalling.reconnect_timeout", HTTP),
    ("services.<service>.http.routes.<route>.signalling.janus.string_ids", HTTP),
    ("services.<service>.http.routes.<route>.signalling.janus.audiobridge", HTTP),
    ("services.<service>.http.routes.<route>.signalling.janus.api_secret", HTTP),
    ("services.<service>.http.routes.<route>.signalling.janus.admin_key", HTTP),
    ("services.<service>.http.routes.<route>.signalling.video.width", HTTP),
    ("services.<service>.http.routes.<route>.signalling.video.height", HTTP),
    ("services.<service>.http.routes.<route>.signalling.video.crowd_width", HTTP),
    ("services.<service>.http.routes.<route>.signalling.video.crowd_from", HTTP),
    ("services.<service>.http.routes.<route>.signalling.video.min_frame_rate", HTTP),
    ("services.<service>.http.routes.<route>.signalling.video.max_frame_rate", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.exchange", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.exchange_type", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.webhook.url", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.webhook.secret", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.file", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.ping", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.freeze", HTTP),
    ("services.<service>.http.routes.<route>.signalling.events.cpu", HTTP),
    ("services.<service>.turn.realm", &["turn"]),
    ("services.<service>.turn.external_ips", &["turn"]),
    ("services.<service>.turn.relay_ports", &["turn"]),
    ("services.<service>.turn.auth.users.<user>", &["turn"]),
    ("services.<service>.turn.auth.password", &["turn"]),
    ("services.<service>.turn.auth.secrets", &["turn"]),
    ("services.<service>.turn.auth.webhook", &["turn"]),
    ("services.<service>.turn.allow_peers", &["turn"]),
    ("services.<service>.turn.deny_peers", &["turn"]),
    ("services.<service>.turn.allocations", &["turn"]),
    ("services.<service>.turn.allocations_per_user", &["turn"]),
    ("services.<service>.turn.allocations_per_client", &["turn"]),
    ("services.<service>.turn.bandwidth", &["turn"]),
    ("services.<service>.turn.max_lifetime", &["turn"]),
    ("services.<service>.turn.stranger_answers", &["turn"]),
    ("services.<service>.admin.token", &["admin"]),
    ("optimal", &[]),
    ("geoip_db", &[]),
    ("trusted_proxies", &[]),
    ("media.workers", &[]),
    ("media.backend_ports", &[]),
    ("media.socket_buffer", &[]),
    ("media.offload", &[]),
    ("media.pin_workers", &[]),
    ("media.observe_rtp", &[]),
    ("media.coalesce", &[]),
    ("limits.sessions", &[]),
    ("limits.session_packets", &[]),
    ("limits.session_bytes", &[]),
    ("limits.registrations_per_client", &[]),
    ("limits.http_connections", &[]),
    ("limits.signalling_body", &[]),
    ("limits.ws_message", &[]),
    ("limits.connections_per_source", &[]),
    ("limits.stun_rate", &[]),
    ("limits.stun_burst", &[]),
    ("limits.http_rate", &[]),
    ("limits.http_burst", &[]),
    ("limits.registration_rate", &[]),
    ("limits.registration_burst", &[]),
    ("limits.tracked_sources", &[]),
    ("limits.exempt", &[]),
    ("watch", &[]),
    ("drain_timeout", &[]),
];

/// Every `proto`.
pub(super) const EVERY: &[&str] = &["udp", "tcp", "http", "upstream", "turn", "admin"];
const LISTENING: &[&str] = &["udp", "tcp", "http", "turn", "admin"];
const TLS: &[&str] = &["tcp", "http", "turn", "admin"];
const ICE: &[&str] = &["udp", "tcp"];
const HTTP: &[&str] = &["tcp", "http"];

/// Warns of every key that is not known, or does nothing where it stands. A service of unknown `proto` is
/// not looked into.
pub(super) fn check(root: &Node, findings: &mut Vec<Finding>) {
    check_map(root, "", "", None, findings);
}

fn check_map(node: &Node, path: &str, pattern: &str, proto: Option<&str>, findings: &mut Vec<Finding>) {
    for entry in node.entries() {
        let path = join(path, &entry.key);
        let Some(pattern) = known_child(pattern, &entry.key) else {
            let suggestion = if findings.len() < ENOUGH { nearest(&entry.key, pattern) } else { None };
            let finding = Finding::new(Severity::Warning, Some(entry.at), path, "unknown key, ignored");
            findings.push(Finding { help: suggestion, ..finding });
            continue;
        };
        let proto = match pattern.as_str() {
            "services.<service>" => match entry.node.get("proto").and_then(Node::text) {
                Some(proto) if EVERY.contains(&proto) => Some(proto),
                // Said already; nothing below it is looked at.
                _ => continue,
            },
            _ => proto,
        };
        if let Some(proto) = proto.filter(|proto| !serves(&pattern, proto)) {
            let message = format!("has no effect on a service with proto: {proto}");
            findings.push(Finding::new(Severity::Warning, Some(entry.at), path, message));
            continue;
        }
        // What stands below a key is its value, whatever it is; its reader judges it.
        if !children(&pattern).is_empty() {
            check_map(&entry.node, &path, &pattern, proto, findings);
        }
    }
}

/// So many findings that nobody reads suggestions any more; bounds the time that a hostile file takes.
const ENOUGH: usize = 200;

/// The pattern of `key` below `pattern`, if it is known there.
fn known_child(pattern: &str, key: &str) -> Option<String> {
    let names = children(pattern);
    let segment = names.iter().find(|name| **name == key || name.starts_with('<'))?;
    Some(join(pattern, segment))
}

/// What may stand directly below a pattern; nothing below a pattern that is a key itself.
fn children(pattern: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for (key, _) in KEYS {
        let below = match pattern {
            "" => Some(*key),
            _ => key.strip_prefix(pattern).and_then(|rest| rest.strip_prefix('.')),
        };
        let Some(name) = below.and_then(|below| below.split('.').next()) else { continue };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether any key at or below `pattern` is used by `proto`.
fn serves(pattern: &str, proto: &str) -> bool {
    KEYS.iter()
        .filter(|(key, _)| {
            key.strip_prefix(pattern).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .any(|(_, protos)| protos.contains(&proto))
}

/// The known key that was most likely meant.
fn nearest(key: &str, pattern: &str) -> Option<String> {
    let siblings = children(pattern);
    if let Some(near) = near(key, siblings.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let elsewhere =
        |known: &&(&str, &[&str])| known.0.rsplit('.').next().is_some_and(|last| is_near(key, last));
    if let Some((known, _)) = KEYS.iter().find(elsewhere) {
        return Some(format!("did you mean `{known}`?"));
    }
    let closest = siblings.iter().max_by(|a, b| likeness(key, a).total_cmp(&likeness(key, b)))?;
    Some(format!("the nearest known key is `{closest}`; known here: {}", siblings.join(", ")))
}

/// Of `words`, the one that is most like `word`, if it may have been meant.
pub(super) fn near<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    words.filter(|known| is_near(word, known)).max_by(|a, b| likeness(word, a).total_cmp(&likeness(word, b)))
}

/// Few enough typing errors apart, or alike from the start on, or one a part of the other, as `ips` of `candidate_ips`.
fn is_near(word: &str, known: &str) -> bool {
    let word = cut(word);
    let allowed = (word.chars().count().min(known.len()) / 3).max(1);
    let is_part = word.len() >= 3 && (known.contains(&word) || word.contains(known));
    is_part || strsim::damerau_levenshtein(&word, known) <= allowed || likeness(&word, known) >= ALIKE
}

fn likeness(word: &str, known: &str) -> f64 {
    strsim::jaro_winkler(&cut(word), known)
}

/// A hostile key of a megabyte must cost nothing.
fn cut(word: &str) -> String {
    word.chars().take(64).collect()
}

/// `response_timeout` is this close to `response_header_timeout`.
const ALIKE: f64 = 0.88;

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&super::super::raw::parse(text).expect("reads").0, &mut findings);
        let place = |f: &Finding| f.at.map_or(String::new(), |at| format!("{}:{}", at.line, at.column));
        findings.iter().map(|f| format!("{} {f}", place(f))).collect()
    }

    #[test]
    fn known_keys_are_quiet() {
        assert_eq!(
            warnings("drain_timeout: 1s\nservices: {a: {proto: udp, net: {addr: x, enable_ice: y}}}"),
            [""; 0]
        );
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_one() {
        assert_eq!(
            warnings(
                "services:\n  a:\n    proto: udp\n    net: {adr: x}\n    enable_ice: true\ndrain_timeot: 1s\n"
            ),
            [
                "4:11 services.a.net.adr: unknown key, ignored (did you mean `addr`?)",
                "5:5 services.a.enable_ice: unknown key, ignored (did you mean `services.<service>.net.enable_ice`?)",
                "6:1 drain_timeot: unknown key, ignored (did you mean `drain_timeout`?)",
            ]
        );
        assert_eq!(
            warnings("media: {quux: 1}"),
            ["1:9 media.quux: unknown key, ignored (the nearest known key is `coalesce`; \
              known here: workers, backend_ports, socket_buffer, offload, pin_workers, observe_rtp, coalesce)"]
        );
    }

    #[test]
    fn a_key_of_another_kind_of_service_has_no_effect() {
        assert_eq!(
            warnings("services:\n  u: {proto: udp, net: {addr: x, tls_crt_file: c}, http: {root: /}}\n"),
            [
                "2:34 services.u.net.tls_crt_file: has no effect on a service with proto: udp",
                "2:52 services.u.http: has no effect on a service with proto: udp",
            ]
        );
    }

    #[test]
    fn a_service_of_unknown_kind_is_not_looked_into() {
        assert_eq!(warnings("services: {a: {proto: srt, whatever: 1}, b: {also: 2}}"), [""; 0]);
    }
}
