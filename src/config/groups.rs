//! \[pure\] A `proto: upstream` service as meant: its servers, the choice among them, and how they are checked.

use std::sync::Arc;
use std::time::Duration;

use super::durations::{A_DURATION, duration, timeout};
use super::raw::Value;
use super::section::{Findings, Item, Section, count, join};
use super::urls::server_url;
use super::{Balance, HealthCheck, ServerUrl, UpstreamGroup};

/// One `proto: upstream` service.
pub(super) fn group(name: &str, section: &Section<'_>, findings: &mut Findings) -> UpstreamGroup {
    const A_SERVER: &str = "an http://, https://, ws:// or wss:// URL";
    let mode = section.read(findings, "mode", "rr or random", |text| match text {
        "rr" => Some(Balance::RoundRobin),
        "random" => Some(Balance::Random),
        _ => None,
    });
    let servers =
        section.list(findings, "servers", A_SERVER, |text| server_url(text).map(|parsed| parsed.url));
    let path = join(&section.path, "servers");
    match section.item("servers") {
        None => {
            let message =
                format!("expected a list, each entry {A_SERVER}, found nothing; the key is required");
            findings.error(section.place("servers"), &path, message);
        }
        Some(Item { node, .. }) if matches!(&node.value, Value::List(list) if list.is_empty()) => {
            findings.error(node.at, &path, "expected at least one server, found none");
        }
        // Where a server could not be read, nothing is known about the group.
        Some(Item { node, .. }) if node.items().len() == servers.len() => {
            let upgrades = servers.iter().filter(|server| server.scheme.is_websocket()).count();
            if upgrades == servers.len() {
                findings.warn(node.at, &path, "no http:// or https:// server: every HTTP request gets 502");
            } else if upgrades == 0 {
                findings.warn(node.at, &path, "no ws:// or wss:// server: every WebSocket upgrade gets 502");
            }
        }
        Some(_) => {}
    }
    let health = health(section, &servers, findings);
    UpstreamGroup { name: Arc::from(name), mode: mode.unwrap_or_default(), servers, health }
}

/// Without `health`, servers are checked where there is another one of their kind to take over.
fn health(group: &Section<'_>, servers: &[ServerUrl], findings: &mut Findings) -> Option<HealthCheck> {
    let mut check = HealthCheck {
        path: None,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: 2,
        rise: 1,
    };
    let Some(section) = group.section(findings, "health") else {
        let upgrades = servers.iter().filter(|server| server.scheme.is_websocket()).count();
        return (upgrades > 1 || servers.len() - upgrades > 1).then_some(check);
    };
    let times = "a whole number from 1 to 1000";
    let in_a_row = |text: &str| count(text).filter(|times| *times <= 1000)?.try_into().ok();
    check.path = section.read(findings, "path", "a path such as /janus/info", target).flatten();
    check.interval = section.read(findings, "interval", A_DURATION, duration).unwrap_or(check.interval);
    check.timeout = section.read(findings, "timeout", A_DURATION, timeout).unwrap_or(check.timeout);
    check.fall = section.read(findings, "fall", times, in_a_row).unwrap_or(check.fall);
    check.rise = section.read(findings, "rise", times, in_a_row).unwrap_or(check.rise);
    (!check.interval.is_zero()).then_some(check)
}

/// Path and query as they stand in a request line; an empty one is none.
fn target(text: &str) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_target = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    is_target.then(|| Some(text.to_owned()))
}
