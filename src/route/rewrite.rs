//! \[pure\] The path and query that an upstream is asked for (xrtc.md §2). Never decodes or normalizes: the path stays
//! the raw path, except for the one prefix that a rule replaces.

use crate::config::{PathRule, ServerUrl};

/// The server's own path, then the request's with `rule` applied once; both queries joined by `&`.
pub(super) fn target(server: &ServerUrl, rule: Option<&PathRule>, path: &str, query: Option<&str>) -> String {
    let mut target = server.path.clone();
    match replaced(rule, path) {
        Some((replacement, rest)) => {
            target.push_str(replacement);
            target.push_str(rest);
        }
        None => target.push_str(path),
    }
    if !target.starts_with('/') {
        target.insert(0, '/');
    }
    let mut separator = '?';
    for query in [server.query.as_str(), query.unwrap_or_default()] {
        if !query.is_empty() {
            target.push(separator);
            target.push_str(query);
            separator = '&';
        }
    }
    target
}

fn replaced<'a>(rule: Option<&'a PathRule>, path: &'a str) -> Option<(&'a str, &'a str)> {
    let rule = rule?;
    Some((rule.replacement.as_deref()?, path.strip_prefix(&rule.prefix)?))
}
